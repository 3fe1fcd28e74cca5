//! Templates that are not for what was asked for: hazard A2. Whoever signs one signs an event of the
//! attacker's.

use rooms::{
    Error, KnockRequest, Profile,
    ports::{Handshake, Template},
};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, events::room::member::MembershipState};
use serde_json::{Value, json, value::to_raw_value};

use super::{join_via, knows, public_room};
use crate::{
    wire::{Answer, Wire, name},
    world::World,
};

type Alter = fn(&mut Value);

/// None of these may be signed, whatever was asked for.
const HOSTILE: [(&str, Alter); 45] = [
    ("another type", |event| event["type"] = "m.room.power_levels".into()),
    ("a message", |event| event["type"] = "m.room.message".into()),
    ("an empty type", |event| event["type"] = "".into()),
    ("a type that is a number", |event| event["type"] = 1.into()),
    ("no type", |event| remove(event, "type")),
    ("another room", |event| event["room_id"] = "!other:one.test".into()),
    ("a room of ours", |event| event["room_id"] = "!ours:two.test".into()),
    ("the room in capitals", |event| {
        event["room_id"] = event["room_id"].as_str().unwrap().to_uppercase().into();
    }),
    ("a list of rooms", |event| event["room_id"] = json!([event["room_id"].take()])),
    ("no room", |event| remove(event, "room_id")),
    ("another local sender", |event| event["sender"] = "@admin:two.test".into()),
    ("a sender of theirs", |event| event["sender"] = "@mallory:one.test".into()),
    ("a sender who is none", |event| event["sender"] = "bob".into()),
    ("a sender of null", |event| event["sender"] = Value::Null),
    ("no sender", |event| remove(event, "sender")),
    ("another local target", |event| event["state_key"] = "@admin:two.test".into()),
    ("a target of theirs", |event| event["state_key"] = "@mallory:one.test".into()),
    ("an empty state key", |event| event["state_key"] = "".into()),
    ("a state key of null", |event| event["state_key"] = Value::Null),
    ("no state key", |event| remove(event, "state_key")),
    ("sender and target of ours", |event| {
        event["sender"] = "@admin:two.test".into();
        event["state_key"] = "@admin:two.test".into();
    }),
    ("a ban", |event| event["content"]["membership"] = "ban".into()),
    ("an invite", |event| event["content"]["membership"] = "invite".into()),
    ("a membership in capitals", |event| {
        let membership = event["content"]["membership"].as_str().unwrap().to_uppercase();
        event["content"]["membership"] = membership.into();
    }),
    ("a membership with a space", |event| {
        let membership = format!("{} ", event["content"]["membership"].as_str().unwrap());
        event["content"]["membership"] = membership.into();
    }),
    ("a membership that is a list", |event| {
        event["content"]["membership"] = json!([event["content"]["membership"].take()]);
    }),
    ("no membership", |event| event["content"] = json!({})),
    ("no content", |event| remove(event, "content")),
    ("a content of text", |event| event["content"] = "{\"membership\":\"join\"}".into()),
    ("a content of null", |event| event["content"] = Value::Null),
    ("no prev_events", |event| remove(event, "prev_events")),
    ("empty prev_events", |event| event["prev_events"] = json!([])),
    ("prev_events of text", |event| event["prev_events"] = "$a".into()),
    ("prev_events of numbers", |event| event["prev_events"] = json!([1, 2])),
    ("prev_events of null", |event| event["prev_events"] = json!([null])),
    ("too many prev_events", |event| {
        let prev = event["prev_events"][0].clone();
        event["prev_events"] = vec![prev; 21].into();
    }),
    ("no auth_events", |event| remove(event, "auth_events")),
    ("auth_events of text", |event| event["auth_events"] = "$a".into()),
    ("too many auth_events", |event| {
        let auth = event["auth_events"][0].clone();
        event["auth_events"] = vec![auth; 11].into();
    }),
    ("no depth", |event| remove(event, "depth")),
    ("a depth of text", |event| event["depth"] = "5".into()),
    ("a negative depth", |event| event["depth"] = (-1).into()),
    ("a depth with a fraction", |event| event["depth"] = json!(1.5)),
    ("an infinite depth", |event| event["depth"] = json!(1e300)),
    ("a list", |event| *event = json!([event.take()])),
];

fn remove(event: &mut Value, key: &str) {
    event.as_object_mut().unwrap().remove(key);
}

/// `two.test` asks `one.test` for something.
struct Scene {
    wire: Wire,
    one: World,
    two: World,
    bob: OwnedUserId,
    room: OwnedRoomId,
}

impl Scene {
    async fn new(handshake: Handshake, version: &str) -> Self {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        match handshake {
            Handshake::Join => {}
            Handshake::Leave => one.invite(&ada, &room, &bob).await.unwrap(),
            Handshake::Knock => {
                let rule = json!({ "join_rule": "knock" });
                one.set(&ada, &room, "m.room.join_rules", "", rule).await.unwrap();
            }
        }
        wire.take_calls();
        Self { wire, one, two, bob, room }
    }

    async fn ask(&self, handshake: Handshake) -> Result<(), Error> {
        let Self { two, bob, room, .. } = self;
        match handshake {
            Handshake::Join => join_via(two, bob, room, &["one.test"]).await,
            Handshake::Leave => two.rooms.leave(room, bob, None).await,
            Handshake::Knock => knock(two, bob, room).await,
        }
    }

    fn corrupt(&self, alter: impl Fn(&mut Template) + Send + Sync + 'static) {
        self.wire.corrupt("one.test", move |answer| {
            if let Answer::Made(template) = answer {
                alter(template);
            }
        });
    }

    /// The one place where a signature could have gone.
    fn nothing_was_sent(&self) -> bool {
        self.wire.take_calls().iter().all(|(call, _)| *call == "make")
    }
}

async fn knock(world: &World, user: &OwnedUserId, room: &RoomId) -> Result<(), Error> {
    let (profile, via) = (Profile::default(), vec![name("one.test")]);
    let knock = KnockRequest { room_id: room, user, profile, reason: None, via };
    world.rooms.knock(knock).await
}

fn alter_event(template: &mut Template, alter: Alter) {
    let mut event: Value = serde_json::from_str(template.event.get()).unwrap();
    alter(&mut event);
    template.event = to_raw_value(&event).unwrap();
}

const ALL: [Handshake; 3] = [Handshake::Join, Handshake::Leave, Handshake::Knock];

#[tokio::test]
async fn no_template_is_signed_but_the_one_that_was_asked_for() {
    for handshake in ALL {
        for version in ["7", "11", "12"] {
            for (case, alter) in HOSTILE {
                let scene = Scene::new(handshake, version).await;
                scene.corrupt(move |template| alter_event(template, alter));
                let outcome = scene.ask(handshake).await;
                let case = format!("{handshake:?}, version {version}, {case}");
                assert!(scene.nothing_was_sent(), "{case}");
                if handshake == Handshake::Leave {
                    outcome.expect("the user is rid of the invite");
                    continue;
                }
                assert!(matches!(outcome, Err(Error::Remote(_))), "{case}: {outcome:?}");
                assert!(!knows(&scene.two, &scene.room, &scene.bob).await, "{case}");
                let membership = scene.one.membership(&scene.bob, &scene.room).await;
                assert_eq!(membership, None, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn templates_of_the_other_handshakes_are_not_signed() {
    for handshake in ALL {
        for other in ["join", "leave", "knock"] {
            let own = format!("{handshake:?}").to_lowercase();
            if own == other {
                continue;
            }
            let scene = Scene::new(handshake, "11").await;
            scene.corrupt(move |template| {
                let mut event: Value = serde_json::from_str(template.event.get()).unwrap();
                event["content"]["membership"] = other.into();
                template.event = to_raw_value(&event).unwrap();
            });
            let _refused_or_forgotten = scene.ask(handshake).await;
            assert!(scene.nothing_was_sent(), "{handshake:?} as {other}");
        }
    }
}

#[tokio::test]
async fn a_version_that_was_not_offered_is_not_signed_for() {
    for handshake in ALL {
        for version in ["", "0", "13", "12 ", "org.example.12", "999999999999999999999"] {
            let scene = Scene::new(handshake, "11").await;
            scene.corrupt(move |template| template.room_version = version.to_owned());
            let _refused_or_forgotten = scene.ask(handshake).await;
            assert!(scene.nothing_was_sent(), "{handshake:?}, {version:?}");
        }
    }
}

/// What the template says besides does not get into the event.
#[tokio::test]
async fn only_its_place_in_the_room_is_taken_from_a_template() {
    for handshake in ALL {
        let scene = Scene::new(handshake, "11").await;
        scene.corrupt(|template| {
            alter_event(template, |event| {
                event["content"]["displayname"] = "Mallory".into();
                event["content"]["reason"] = "because".into();
                event["content"]["org.example"] = json!({ "a": 1 });
                event["redacts"] = "$other".into();
                event["origin_server_ts"] = 1.into();
                event["unsigned"] = json!({ "age": 1 });
                event["hashes"] = json!({ "sha256": "AAAA" });
                event["signatures"] = json!({ "two.test": { "ed25519:wire": "AAAA" } });
                event["org.example"] = true.into();
            });
        });
        scene.ask(handshake).await.unwrap();
        let view = scene.one.rooms.room(&scene.room).await.unwrap().unwrap();
        let rooms = &scene.one.rooms;
        let member = rooms.state_get(view.state, "m.room.member", scene.bob.as_str()).await;
        let member = member.unwrap().expect("the event arrived");
        let event: Value = serde_json::from_slice(member.pdu.json()).unwrap();
        let membership = format!("{handshake:?}").to_lowercase();
        assert_eq!(event["content"], json!({ "membership": membership }));
        assert_eq!(event["origin_server_ts"], crate::world::START);
        for key in ["redacts", "unsigned", "org.example"] {
            assert_eq!(event.get(key), None, "{handshake:?}, {key}");
        }
        let expected = MembershipState::from(membership);
        assert_eq!(scene.two.membership_of(&scene.bob, &scene.room).await, Some(expected));
    }
}

/// Our signature on a join is also that of an authoriser of ours.
#[tokio::test]
async fn nobody_of_ours_vouches_for_a_join_without_being_asked() {
    let authorisers = [json!("@admin:two.test"), json!("@bob:two.test"), json!("x"), json!(1)];
    for authoriser in authorisers {
        let scene = Scene::new(Handshake::Join, "11").await;
        let said = authoriser.clone();
        scene.corrupt(move |template| {
            let mut event: Value = serde_json::from_str(template.event.get()).unwrap();
            event["content"]["join_authorised_via_users_server"] = said.clone();
            template.event = to_raw_value(&event).unwrap();
        });
        assert!(scene.ask(Handshake::Join).await.is_err(), "{authoriser}");
        assert!(scene.nothing_was_sent(), "{authoriser}");
    }
}

/// A template may name events that do not exist, or that are not of the room.
#[tokio::test]
async fn a_join_that_stands_on_nothing_makes_no_room() {
    let scene = Scene::new(Handshake::Join, "11").await;
    let unknown = format!("${}", "A".repeat(43));
    scene.corrupt(move |template| {
        let mut event: Value = serde_json::from_str(template.event.get()).unwrap();
        event["auth_events"] = json!([unknown]);
        event["prev_events"] = json!([unknown]);
        template.event = to_raw_value(&event).unwrap();
    });
    let outcome = scene.ask(Handshake::Join).await;
    assert!(matches!(outcome, Err(Error::Remote(_))), "{outcome:?}");
    assert!(!knows(&scene.two, &scene.room, &scene.bob).await);
}
