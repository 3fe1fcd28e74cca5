//! Joins through servers that lie.

use bytes::Bytes;
use events::{EventTemplate, RoomVersion};
use rooms::{Error, JoinRequest, Profile, ports::SentJoin};
use ruma::{OwnedEventId, RoomId, UserId};
use serde_json::{Value, json, value::to_raw_value};

use super::{JOIN, altered, is_of_type, join_via, knows, public_room, with_bad_signature};
use crate::{
    wire::{Answer, Wire, key_of, name},
    world::{World, join_request},
};

/// An event that `one.test` has signed, whatever it says.
struct Forged<'a> {
    room: &'a RoomId,
    version: &'static RoomVersion,
    sender: &'a str,
    event_type: &'a str,
    state_key: &'a str,
    content: Value,
    auth_events: Vec<OwnedEventId>,
}

impl Forged<'_> {
    fn sign(self) -> Bytes {
        let is_create = self.event_type == "m.room.create";
        let content = to_raw_value(&self.content).unwrap();
        let template = EventTemplate {
            room_id: (!is_create || !self.version.room_id_is_create_hash()).then_some(self.room),
            sender: <&UserId>::try_from(self.sender).unwrap(),
            event_type: self.event_type,
            state_key: Some(self.state_key),
            content: &content,
            prev_events: if is_create { &[] } else { &self.auth_events },
            auth_events: &self.auth_events,
            depth: 5,
            origin_server_ts: 1_700_000_000_000,
            redacts: None,
        };
        let key = key_of("one.test");
        let pdu = events::sign_and_build(&template, &key, &name("one.test"), self.version);
        pdu.unwrap().json().clone()
    }
}

/// `two.test` joins a room of `one.test`, where ada and carl are.
struct Scene {
    wire: Wire,
    one: World,
    two: World,
    room: ruma::OwnedRoomId,
    version: &'static RoomVersion,
}

impl Scene {
    async fn new(version: &str) -> Self {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, carl) = (one.user("ada"), one.user("carl"));
        let room = public_room(&one, &ada, version).await;
        one.join(&carl, &room).await.unwrap();
        one.set(&ada, &room, "m.room.topic", "", json!({ "topic": "t" })).await.unwrap();
        let version = RoomVersion::parse(version).unwrap();
        Self { wire, one, two, room, version }
    }

    /// Joins with the answer altered.
    async fn join(
        &self,
        alter: impl Fn(&mut SentJoin) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.wire.corrupt("one.test", move |answer| {
            if let Answer::Joined(sent) = answer {
                alter(sent);
            }
        });
        join_via(&self.two, &self.two.user("bob"), &self.room, &["one.test"]).await
    }

    async fn id_of(&self, event_type: &str) -> OwnedEventId {
        let view = self.one.rooms.room(&self.room).await.unwrap().unwrap();
        let event = self.one.rooms.state_get(view.state, event_type, "").await.unwrap();
        event.unwrap().event_id().clone()
    }

    fn forged<'a>(&'a self, event_type: &'a str, auth_events: Vec<OwnedEventId>) -> Forged<'a> {
        Forged {
            room: &self.room,
            version: self.version,
            sender: "@mallory:one.test",
            event_type,
            state_key: "",
            content: json!({}),
            auth_events,
        }
    }
}

fn in_both(
    sent: &mut SentJoin,
    event_type: &str,
    state_key: &str,
    alter: impl Fn(&Bytes) -> Bytes,
) {
    for pdu in sent.state.iter_mut().chain(&mut sent.auth_chain) {
        if is_of_type(pdu, event_type, state_key) {
            *pdu = alter(pdu);
        }
    }
}

fn without(sent: &mut SentJoin, event_type: &str) {
    sent.state.retain(|pdu| !is_of_type(pdu, event_type, ""));
    sent.auth_chain.retain(|pdu| !is_of_type(pdu, event_type, ""));
}

const CARL: &str = "@carl:one.test";
const MEMBER: &str = "m.room.member";

type Alter = fn(&mut SentJoin);

type AlterJoin = fn(&Bytes) -> Option<Bytes>;

/// What makes no join fail, and whether carl is still seen in the room.
const HARMLESS: [(&str, Alter, bool); 10] = [
    ("a bad signature", |sent| in_both(sent, MEMBER, CARL, with_bad_signature), false),
    (
        "no signature",
        |sent| in_both(sent, MEMBER, CARL, |pdu| altered(pdu, |pdu| pdu["signatures"] = json!({}))),
        false,
    ),
    (
        "another server's signature",
        |sent| {
            in_both(sent, MEMBER, CARL, |pdu| {
                altered(pdu, |pdu| {
                    let keys = pdu["signatures"]["one.test"].take();
                    pdu["signatures"] = json!({ "two.test": keys });
                })
            });
        },
        false,
    ),
    (
        "an event of another room",
        |sent| {
            in_both(sent, MEMBER, CARL, |pdu| {
                altered(pdu, |pdu| pdu["room_id"] = "!other:one.test".into())
            });
        },
        false,
    ),
    (
        "events that are none",
        |sent| {
            let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
            for junk in ["", "{}", "null", "[", "\u{0}", deep.as_str()] {
                sent.state.insert(0, Bytes::from(junk.to_owned()));
                sent.auth_chain.push(Bytes::from(junk.to_owned()));
            }
        },
        true,
    ),
    (
        "everything twice",
        |sent| {
            sent.state.extend(sent.state.clone());
            sent.auth_chain.extend(sent.auth_chain.clone());
            sent.auth_chain.extend(sent.state.clone());
        },
        true,
    ),
    ("the state in the other order", |sent| sent.state.reverse(), true),
    ("no auth chain beyond the state", |sent| sent.auth_chain.clear(), true),
    ("no join", |sent| sent.event = None, true),
    (
        "another join",
        |sent| sent.event = sent.state.iter().find(|pdu| is_of_type(pdu, MEMBER, CARL)).cloned(),
        true,
    ),
];

#[tokio::test]
async fn one_bad_event_does_not_keep_a_user_out() {
    for version in ["2", "6", "10", "11", "12"] {
        for (case, alter, sees_carl) in HARMLESS {
            let scene = Scene::new(version).await;
            let joined = scene.join(alter).await;
            joined.unwrap_or_else(|error| panic!("{case}, version {version}: {error}"));
            let (two, room) = (&scene.two, &scene.room);
            assert_eq!(two.membership(&two.user("bob"), room).await, JOIN, "{case}, {version}");
            let carl = UserId::parse(CARL).unwrap();
            let carls = two.membership(&carl, room).await;
            assert_eq!(carls, JOIN.filter(|_| sees_carl), "{case}, version {version}");
            two.send(&two.user("bob"), room, "hello").await.expect("the room works");
        }
    }
}

/// What no room can be made of.
const FATAL: [(&str, Alter); 9] = [
    ("nothing", |sent| (sent.state.clear(), sent.auth_chain.clear()).0),
    ("no state", |sent| sent.state.clear()),
    ("no create event", |sent| without(sent, "m.room.create")),
    ("no join rules", |sent| without(sent, "m.room.join_rules")),
    ("a bad signature on the create event", |sent| {
        in_both(sent, "m.room.create", "", with_bad_signature);
    }),
    ("a bad signature on the join rules", |sent| {
        in_both(sent, "m.room.join_rules", "", with_bad_signature);
    }),
    ("a bad signature on the power levels", |sent| {
        in_both(sent, "m.room.power_levels", "", with_bad_signature);
    }),
    ("only events of other rooms", |sent| {
        for pdu in sent.state.iter_mut().chain(&mut sent.auth_chain) {
            *pdu = altered(pdu, |pdu| pdu["room_id"] = "!other:one.test".into());
        }
    }),
    ("the join rules of another content", |sent| {
        in_both(sent, "m.room.join_rules", "", |pdu| {
            altered(pdu, |pdu| pdu["content"]["join_rule"] = "invite".into())
        });
    }),
];

#[tokio::test]
async fn an_answer_that_makes_no_room_leaves_nothing_and_the_next_server_is_asked() {
    for version in ["2", "6", "10", "11", "12"] {
        for (case, alter) in FATAL {
            let scene = Scene::new(version).await;
            let bob = scene.two.user("bob");
            let joined = scene.join(alter).await;
            assert!(
                matches!(joined, Err(Error::Remote(_))),
                "{case}, version {version}: {joined:?}"
            );
            assert!(!knows(&scene.two, &scene.room, &bob).await, "{case}, version {version}");

            let three = scene.wire.server("three.test");
            let dora = three.user("dora");
            scene.wire.mend("one.test");
            join_via(&three, &dora, &scene.room, &["one.test"]).await.unwrap();
            scene.wire.deliver(&[&scene.one, &three]).await;
            scene.wire.corrupt("one.test", move |answer| {
                if let Answer::Joined(sent) = answer {
                    alter(sent);
                }
            });
            let via = ["one.test", "three.test"];
            let joined = join_via(&scene.two, &bob, &scene.room, &via).await;
            joined.unwrap_or_else(|error| panic!("{case}, version {version}: {error}"));
            assert_eq!(scene.two.membership(&bob, &scene.room).await, JOIN);
        }
    }
}

#[tokio::test]
async fn state_that_nobody_was_allowed_to_set_does_not_count() {
    for version in ["6", "10", "11", "12"] {
        let scene = Scene::new(version).await;
        let mut auth = vec![scene.id_of("m.room.power_levels").await];
        if version != "12" {
            auth.push(scene.id_of("m.room.create").await);
        }
        let levels = json!({ "users": { "@mallory:one.test": 100 } });
        let forged = Forged { content: levels, ..scene.forged("m.room.power_levels", auth) };
        let forged = forged.sign();
        let joined = scene.join(move |sent| {
            sent.state.push(forged.clone());
        });
        joined.await.unwrap_or_else(|error| panic!("version {version}: {error}"));
        let levels = scene.two.current(&scene.room, "m.room.power_levels", "").await.unwrap();
        assert_eq!(levels["users"].get("@mallory:one.test"), None, "version {version}");
    }
}

/// Hazard A9: where the room's id is not the create event's, who is in it decides what it is.
#[tokio::test]
async fn a_second_create_event_does_not_take_a_room_over() {
    for version in ["6", "10", "11"] {
        let scene = Scene::new(version).await;
        let content = json!({ "creator": "@mallory:one.test", "room_version": version });
        let forged = Forged { content, ..scene.forged("m.room.create", Vec::new()) }.sign();
        let join_with = |replace: bool| {
            let forged = forged.clone();
            scene.join(move |sent| {
                if replace {
                    sent.state.retain(|pdu| !is_of_type(pdu, "m.room.create", ""));
                }
                sent.state.push(forged.clone());
            })
        };
        for replace in [true, false] {
            assert!(join_with(replace).await.is_err(), "version {version}, {replace}");
            assert!(!knows(&scene.two, &scene.room, &scene.two.user("bob")).await);
        }
        scene.wire.mend("one.test");
        let (bob, room) = (scene.two.user("bob"), &scene.room);
        join_via(&scene.two, &bob, room, &["one.test"]).await.unwrap();
        scene.two.rooms.leave(room, &bob, None).await.unwrap();
        scene.wire.deliver(&[&scene.one, &scene.two]).await;
        let before = scene.two.rooms.room(room).await.unwrap().unwrap();
        assert!(join_with(true).await.is_err(), "version {version}, later");
        let after = scene.two.rooms.room(room).await.unwrap().unwrap();
        assert_eq!(before.state, after.state, "version {version}");
    }
}

/// A room id of version 12 is the hash of its create event; one of another version names a server.
#[tokio::test]
async fn a_room_id_that_does_not_fit_its_version_is_not_joined() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    for (real, claimed) in [("12", "11"), ("12", "3"), ("11", "12"), ("6", "12"), ("1", "12")] {
        let room = public_room(&one, &ada, real).await;
        wire.corrupt("one.test", move |answer| {
            if let Answer::Made(template) = answer {
                template.room_version = claimed.to_owned();
            }
        });
        let joined = join_via(&two, &bob, &room, &["one.test"]).await;
        assert!(joined.is_err(), "version {real} as {claimed}");
        assert!(!knows(&two, &room, &bob).await, "version {real} as {claimed}");
    }
}

#[tokio::test]
async fn the_word_of_a_resident_server_must_be_on_a_restricted_join_and_nothing_else() {
    let cases: [(&str, AlterJoin); 5] = [
        ("no join", |_| None),
        ("a join that only we signed", |join| {
            Some(altered(join, |join| {
                join["signatures"].as_object_mut().unwrap().remove("one.test");
            }))
        }),
        ("a bad signature", |join| Some(with_bad_signature(join))),
        ("another name", |join| {
            Some(altered(join, |join| join["content"]["displayname"] = "Mallory".into()))
        }),
        ("another event", |join| Some(altered(join, |join| join["depth"] = 99.into()))),
    ];
    for (case, alter) in cases {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let lobby = public_room(&one, &ada, "11").await;
        join_via(&two, &bob, &lobby, &["one.test"]).await.unwrap();
        let room = public_room(&one, &ada, "11").await;
        let allow = json!([{ "type": "m.room_membership", "room_id": lobby }]);
        let rule = json!({ "join_rule": "restricted", "allow": allow });
        one.set(&ada, &room, "m.room.join_rules", "", rule).await.unwrap();
        wire.deliver(&[&one, &two]).await;
        wire.corrupt("one.test", move |answer| {
            if let Answer::Joined(sent) = answer {
                sent.event = alter(sent.event.as_ref().unwrap());
            }
        });
        let profile = Profile { displayname: Some("Bob".to_owned()), avatar_url: None };
        let via = vec![name("one.test")];
        let request = JoinRequest { via, profile, ..join_request(&bob, &room) };
        let joined = two.rooms.join(request).await;
        assert!(matches!(joined, Err(Error::Remote(_))), "{case}: {joined:?}");
        assert!(!knows(&two, &room, &bob).await, "{case}");
        wire.mend("one.test");
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    }
}
