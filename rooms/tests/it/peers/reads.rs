//! Who may read what: nine questions, and those who have no right to an answer.

use futures_util::{FutureExt as _, future::BoxFuture};
use rooms::{Error, ReceiveError, Received, peers::MissingQuery};
use ruma::{EventId, OwnedEventId, RoomId, ServerName, api::Direction};
use serde_json::json;

use super::{Forged, come_in, is_refused, public, receive, room_of};
use crate::{
    wire::{Wire, name},
    world::{START, World, change},
};

/// A question about an event of a room. Answers with what it was told, as text.
type Question = for<'a> fn(
    &'a World,
    &'a ServerName,
    &'a RoomId,
    &'a EventId,
) -> BoxFuture<'a, Result<String, Error>>;

const QUESTIONS: [(&str, Question); 5] = [
    ("event_auth", |world, server, room, event| {
        async move {
            let chain = world.rooms.peer_event_auth(server, room, event).await?;
            Ok(format!("{chain:?}"))
        }
        .boxed()
    }),
    ("state", |world, server, room, event| {
        async move {
            let found = world.rooms.peer_state(server, room, event).await?;
            let events = found.state.iter().chain(&found.auth_chain);
            Ok(format!("{:?}", events.map(|event| event.pdu.json()).collect::<Vec<_>>()))
        }
        .boxed()
    }),
    ("backfill", |world, server, room, event| {
        async move {
            let from = vec![event.to_owned()];
            Ok(format!("{:?}", world.rooms.peer_backfill(server, room, from, 100).await?))
        }
        .boxed()
    }),
    ("missing_events", |world, server, room, event| {
        async move {
            let (earliest, latest) = (Vec::new(), vec![event.to_owned()]);
            let query = MissingQuery { earliest, latest, limit: 20, min_depth: 0 };
            Ok(format!("{:?}", world.rooms.peer_missing_events(server, room, query).await?))
        }
        .boxed()
    }),
    ("event", |world, server, _room, event| {
        async move { Ok(format!("{:?}", world.rooms.peer_event(server, event).await?)) }.boxed()
    }),
];

struct Scene {
    wire: Wire,
    one: World,
    /// Who is in the room.
    two: World,
    room: ruma::OwnedRoomId,
    event: OwnedEventId,
}

const OUTSIDERS: [&str; 4] = ["never.test", "left.test", "banned.test", "denied.test"];

/// A room of one.test that two.test is in, and that others have been in.
async fn scene(version: &str) -> Scene {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let ada = one.user("ada");
    let room = public(&one, &ada, version).await;
    come_in(&two, &two.user("bob"), &room, &one).await;
    let [_, left, banned, denied] = OUTSIDERS.map(|server| wire.server(server));
    let worlds = [&one, &two, &left, &banned, &denied];
    for world in [&left, &banned, &denied] {
        come_in(world, &world.user("eve"), &room, &one).await;
        wire.deliver(&worlds).await;
    }
    left.rooms.leave(&room, &left.user("eve"), None).await.unwrap();
    wire.deliver(&worlds).await;
    one.rooms.ban(change(&ada, &room, &banned.user("eve"))).await.unwrap();
    let acl = json!({ "allow": ["*"], "deny": ["denied.test"], "allow_ip_literals": true });
    one.set(&ada, &room, "m.room.server_acl", "", acl).await.unwrap();
    let event = one.send(&ada, &room, "for those in the room").await.unwrap();
    Scene { wire, one, two, room, event }
}

#[tokio::test]
async fn servers_that_are_not_in_the_room_are_told_nothing() {
    for version in ["1", "11", "12"] {
        let Scene { one, room, event, .. } = scene(version).await;
        for (question, ask) in QUESTIONS {
            let told = ask(&one, &name("two.test"), &room, &event).await;
            assert!(told.is_ok_and(|told| told.len() > 100), "{question} in version {version}");
            for server in OUTSIDERS {
                let told = ask(&one, &name(server), &room, &event).await;
                assert!(is_refused(&told), "{question} by {server}: {told:?}");
            }
        }
        for server in OUTSIDERS {
            let server = name(server);
            let told =
                one.rooms.peer_timestamp_to_event(&server, &room, START, Direction::Forward).await;
            assert!(is_refused(&told), "timestamp_to_event by {server}: {told:?}");
        }
        let disguised = ["DENIED.test", "denied.test:8448"];
        for server in disguised {
            assert!(!one.rooms.allows_server(&name(server), &room).await.unwrap(), "{server}");
        }
    }
}

#[tokio::test]
async fn a_room_that_all_local_users_left_is_answered_for_no_more() {
    let Scene { wire, one, two, room, event } = scene("11").await;
    wire.deliver(&[&one, &two]).await;
    one.rooms.leave(&room, &one.user("ada"), None).await.unwrap();
    for (question, ask) in QUESTIONS {
        let told = ask(&one, &name("two.test"), &room, &event).await;
        assert!(matches!(told, Err(Error::NotFound(_))), "{question}: {told:?}");
        let told = ask(&two, &name("one.test"), &room, &event).await;
        assert!(told.is_ok() || is_refused(&told), "{question}");
    }
}

/// Room binding: the event must be one of the room that is named, or everybody in one room could
/// read all others.
#[tokio::test]
async fn events_of_another_room_are_as_unknown_as_those_that_do_not_exist() {
    for version in ["1", "6", "11", "12"] {
        let Scene { one, room, .. } = scene(version).await;
        let ada = one.user("ada");
        let secret = room_of(&one, &ada, version, json!({ "join_rule": "invite" })).await;
        let foreign = one.send(&ada, &secret, "secret").await.unwrap();
        let nothing: OwnedEventId = match version {
            "1" => "$nothing:one.test".try_into().unwrap(),
            _ => "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".try_into().unwrap(),
        };
        for (question, ask) in QUESTIONS {
            let two = name("two.test");
            let about_foreign = ask(&one, &two, &room, &foreign).await;
            let about_nothing = ask(&one, &two, &room, &nothing).await;
            assert_eq!(
                format!("{about_foreign:?}"),
                format!("{about_nothing:?}"),
                "{question} in version {version}"
            );
            assert!(!format!("{about_foreign:?}").contains("secret"), "{question}");
            let outside = ask(&one, &two, &secret, &foreign).await;
            assert!(is_refused(&outside), "{question} in version {version}: {outside:?}");
        }
    }
}

/// An event that refers to another room is rejected, and what it refers to stays where it is.
#[tokio::test]
async fn an_event_that_refers_to_another_room_opens_no_way_into_it() {
    for version in ["1", "6", "11", "12"] {
        let Scene { one, two, room, .. } = scene(version).await;
        let ada = one.user("ada");
        let secret = room_of(&one, &ada, version, json!({ "join_rule": "invite" })).await;
        let topic = json!({ "topic": "the secret word" });
        let topic = one.set(&ada, &secret, "m.room.topic", "", topic).await.unwrap();
        let last = one.send(&ada, &secret, "the secret word").await.unwrap();
        let bob = two.user("bob");
        let state = one.rooms.room(&room).await.unwrap().unwrap().state;
        let content = json!({ "topic": "bob's" });
        let honest = || {
            Forged::state(&one, &room, &bob, "m.room.member", bob.as_str(), {
                json!({ "membership": "join", "displayname": "Bob" })
            })
        };
        let variants = [
            ("auth", honest().await.with(|event| event.auth_events.push(topic.clone()))),
            ("auth only", honest().await.with(|event| event.auth_events = vec![topic.clone()])),
            ("prev", honest().await.with(|event| event.prev_events = vec![last.clone()])),
            ("prev too", honest().await.with(|event| event.prev_events.push(last.clone()))),
            (
                "state",
                Forged::state(&one, &room, &bob, "m.room.topic", "", content)
                    .await
                    .with(|event| event.prev_events = vec![last.clone()]),
            ),
        ];
        for (what, event) in variants {
            let pdu = event.pdu();
            let verdict = receive(&one, "two.test", &pdu).await.result;
            let accepted = matches!(verdict, Ok(Received::Accepted));
            assert!(!accepted, "{what} in version {version}");
            let kept = one.rooms.event_by_id(pdu.event_id()).await.unwrap();
            if let Err(error) = verdict {
                assert!(!matches!(error, ReceiveError::Internal(_)), "{what}: {error}");
                assert!(kept.is_none(), "{what}");
            }
            for (question, ask) in QUESTIONS {
                let told = ask(&one, &name("two.test"), &room, pdu.event_id()).await;
                assert!(!format!("{told:?}").contains("the secret word"), "{question}, {what}");
            }
            let now = one.rooms.room(&room).await.unwrap().unwrap().state;
            assert_eq!(now, state, "{what} in version {version}");
        }
    }
}

#[tokio::test]
async fn what_was_rejected_is_handed_to_nobody_and_what_soft_failed_to_who_names_it() {
    let Scene { wire, one, two, room, .. } = scene("11").await;
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let topic = json!({ "topic": "hush" });
    let rejected = Forged::state(&one, &room, &bob, "m.room.topic", "", topic).await.pdu();
    let message = json!({ "body": "hush", "msgtype": "m.text" });
    let soft_failed = Forged::state(&one, &room, &bob, "m.room.message", "", message).await;
    let soft_failed = soft_failed.with(|event| event.state_key = None).pdu();
    one.rooms.ban(change(&ada, &room, &bob)).await.unwrap();
    let rejection = receive(&one, "two.test", &rejected).await.result;
    assert!(matches!(rejection, Ok(Received::Rejected(_))), "{rejection:?}");
    let failure = receive(&one, "two.test", &soft_failed).await.result;
    assert!(matches!(failure, Ok(Received::SoftFailed(_))), "{failure:?}");

    let three = wire.server("three.test");
    come_in(&three, &three.user("eve"), &room, &one).await;
    let last = one.send(&ada, &room, "later").await.unwrap();
    for (question, ask) in QUESTIONS {
        for event in [rejected.event_id(), &last] {
            let told = ask(&one, &name("three.test"), &room, event).await;
            assert!(!format!("{told:?}").contains("hush"), "{question}: {told:?}");
        }
    }
    let three = name("three.test");
    let told = one.rooms.peer_event(&three, soft_failed.event_id()).await.unwrap();
    assert_eq!(told, *soft_failed.json());
    let before = one.rooms.peer_state(&three, &room, soft_failed.event_id()).await.unwrap();
    assert!(before.state.iter().any(|event| event.pdu.event_type() == "m.room.create"));
}

#[tokio::test]
async fn the_state_is_that_before_the_event_and_all_that_authorises_it() {
    for version in ["1", "10", "12"] {
        let Scene { one, room, .. } = scene(version).await;
        let ada = one.user("ada");
        let topic = json!({ "topic": "new" });
        let event = one.set(&ada, &room, "m.room.topic", "", topic).await.unwrap();
        let found = one.rooms.peer_state(&name("two.test"), &room, &event).await.unwrap();
        let has = |kind: &str| found.state.iter().any(|event| event.pdu.event_type() == kind);
        assert!(has("m.room.create") && has("m.room.server_acl") && !has("m.room.topic"));
        let known: std::collections::HashSet<_> =
            found.state.iter().chain(&found.auth_chain).map(|event| event.event_id()).collect();
        for event in found.state.iter().chain(&found.auth_chain) {
            assert!(event.pdu.auth_events().iter().all(|id| known.contains(id)), "{version}");
        }
        let chain = one.rooms.peer_event_auth(&name("two.test"), &room, &event).await.unwrap();
        let stored = one.rooms.event_by_id(&event).await.unwrap().unwrap();
        assert!(chain.len() >= stored.pdu.auth_events().len());
    }
}

#[tokio::test]
async fn a_list_that_was_redacted_says_the_same_after_a_restart() {
    let Scene { wire, one, two, room, .. } = scene("11").await;
    wire.deliver(&[&one, &two]).await;
    let ada = one.user("ada");
    let view = one.rooms.room(&room).await.unwrap().unwrap();
    let list = one.rooms.state_get(view.state, "m.room.server_acl", "").await.unwrap().unwrap();
    assert!(one.rooms.allows_server(&name("two.test"), &room).await.unwrap());
    // A server that keeps to no rules redacts it: nobody's own client could.
    let redaction = Forged::state(&one, &room, &ada, "m.room.redaction", "", {
        json!({ "redacts": list.event_id() })
    })
    .await
    .with(|event| event.state_key = None);
    let verdict = receive(&two, "one.test", &redaction.pdu()).await.result;
    assert!(matches!(verdict, Ok(Received::Accepted)), "{verdict:?}");
    for server in ["one.test", "denied.test"] {
        let before = two.rooms.allows_server(&name(server), &room).await.unwrap();
        let restarted = wire.restarted(&two);
        let after = restarted.rooms.allows_server(&name(server), &room).await.unwrap();
        assert_eq!(before, after, "{server}");
    }
}

#[tokio::test]
async fn no_server_gets_what_an_erased_user_said() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, eve, bob) = (one.user("ada"), one.user("eve"), two.user("bob"));
    let room = public(&one, &ada, "11").await;
    one.join(&eve, &room).await.expect("joined");
    come_in(&two, &bob, &room, &one).await;
    let secret = one.send(&eve, &room, "a secret").await.expect("sent");
    let last = one.send(&ada, &room, "no secret").await.expect("sent");
    let ask = async |question: Question| {
        question(&one, &name("two.test"), &room, &secret).await.expect("answered")
    };
    let of_events: Vec<Question> = QUESTIONS
        .into_iter()
        .filter(|(question, _)| matches!(*question, "backfill" | "event"))
        .map(|(_, question)| question)
        .collect();
    for question in &of_events {
        assert!(ask(*question).await.contains("a secret"), "before");
    }
    one.rooms.erase_user(&eve).await.expect("erased");
    for question in &of_events {
        let told = ask(*question).await;
        assert!(!told.contains("a secret") && told.contains("m.room.message"), "{told}");
    }
    let other = one.rooms.peer_event(&name("two.test"), &last).await.expect("answered");
    assert!(format!("{other:?}").contains("no secret"), "others are not erased");
}
