//! History for servers that are behind: bounds, order, and what they may see of it.

use rooms::{Error, peers::MissingQuery};
use ruma::{OwnedEventId, OwnedRoomId, api::Direction};
use serde_json::{Value, json};

use super::{come_in, public};
use crate::{
    wire::{Wire, name},
    world::{START, World, change},
};

async fn shared_room(wire: &Wire) -> (World, World, OwnedRoomId) {
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let room = public(&one, &one.user("ada"), "11").await;
    come_in(&two, &two.user("bob"), &room, &one).await;
    (one, two, room)
}

async fn say(world: &World, room: &OwnedRoomId, count: usize) -> Vec<OwnedEventId> {
    let mut ids = Vec::with_capacity(count);
    for n in 0..count {
        ids.push(world.send(&world.user("ada"), room, &format!("message {n}")).await.unwrap());
    }
    ids
}

fn bodies(pdus: &[bytes::Bytes]) -> Vec<Option<String>> {
    let body = |pdu: &bytes::Bytes| {
        let pdu: Value = serde_json::from_slice(pdu).expect("JSON");
        pdu["content"]["body"].as_str().map(str::to_owned)
    };
    pdus.iter().map(body).collect()
}

fn messages(numbers: impl Iterator<Item = usize>) -> Vec<Option<String>> {
    numbers.map(|n| Some(format!("message {n}"))).collect()
}

#[tokio::test]
async fn backfill_begins_with_what_was_named_and_keeps_within_its_bounds() {
    let (one, _two, room) = shared_room(&Wire::default()).await;
    let ids = say(&one, &room, 130).await;
    let two = name("two.test");
    let from = async |ids: Vec<OwnedEventId>, limit| {
        one.rooms.peer_backfill(&two, &room, ids, limit).await.unwrap()
    };
    let last = vec![ids[129].clone()];
    assert_eq!(bodies(&from(last.clone(), 3).await), messages((127..130).rev()));
    assert_eq!(from(last.clone(), 100_000).await.len(), 100);
    assert_eq!(from(last.clone(), 0).await.len(), 0);
    assert_eq!(from(vec![], 10).await.len(), 0);
    let twice = vec![ids[9].clone(), ids[9].clone(), ids[8].clone()];
    assert_eq!(bodies(&from(twice, 4).await), messages((6..10).rev()));
    let all = from(vec![ids[5].clone()], 100).await;
    let first: Value = serde_json::from_slice(all.last().unwrap()).unwrap();
    assert_eq!(first["type"], "m.room.create", "it ends where the room begins");
}

#[tokio::test]
async fn missing_events_lie_between_what_was_named_the_oldest_first() {
    let (one, _two, room) = shared_room(&Wire::default()).await;
    let ids = say(&one, &room, 60).await;
    let two = name("two.test");
    let ask = async |earliest: &[usize], latest: &[usize], limit, min_depth| {
        let named = |numbers: &[usize]| numbers.iter().map(|n| ids[*n].clone()).collect();
        let (earliest, latest) = (named(earliest), named(latest));
        let query = MissingQuery { earliest, latest, limit, min_depth };
        bodies(&one.rooms.peer_missing_events(&two, &room, query).await.unwrap())
    };
    assert_eq!(ask(&[50], &[56], 10, 0).await, messages(51..56));
    assert_eq!(ask(&[50], &[51], 10, 0).await, messages(0..0));
    assert_eq!(ask(&[], &[59], 3, 0).await, messages(56..59));
    assert_eq!(ask(&[], &[59], 100_000, 0).await, messages(39..59));
    assert_eq!(ask(&[], &[59], 0, 0).await, messages(0..0));
    assert_eq!(ask(&[], &[], 10, 0).await, messages(0..0));
    let depth = one.rooms.event_by_id(&ids[55]).await.unwrap().unwrap().pdu.depth();
    assert_eq!(ask(&[], &[58], 20, depth).await, messages(55..58));
    assert_eq!(ask(&[], &[58], 20, u64::MAX).await, messages(0..0));
}

/// What the server sees of a message before anybody of it is invited, while invited, while joined,
/// and of one sent after its last user left and before they came back.
#[tokio::test]
async fn a_server_reads_what_its_users_may_have_read() {
    let table = [
        ("world_readable", [true, true, true, true]),
        ("shared", [true, true, true, true]),
        ("invited", [false, true, true, false]),
        ("joined", [false, false, true, false]),
        ("nonsense", [true, true, true, true]),
    ];
    let versions = ["6", "11", "12"];
    let cells = versions.into_iter().flat_map(|version| table.map(|row| (version, row)));
    for (version, (visibility, expected)) in cells {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public(&one, &ada, version).await;
        let setting = json!({ "history_visibility": visibility });
        if visibility == "nonsense" {
            // Clients may not set it; an event of another server may.
            let kind = "m.room.history_visibility";
            let event = super::Forged::state(&one, &room, &ada, kind, "", setting).await;
            let verdict = super::receive(&one, "two.test", &event.pdu()).await.result;
            assert!(verdict.is_ok(), "{verdict:?}");
        } else {
            one.set(&ada, &room, "m.room.history_visibility", "", setting).await.unwrap();
        }
        let before = one.send(&ada, &room, "secret").await.unwrap();
        one.invite(&ada, &room, &bob).await.unwrap();
        let invited = one.send(&ada, &room, "secret").await.unwrap();
        come_in(&two, &bob, &room, &one).await;
        wire.deliver(&[&one, &two]).await;
        let joined = one.send(&ada, &room, "secret").await.unwrap();
        wire.deliver(&[&one, &two]).await;
        two.rooms.leave(&room, &bob, None).await.unwrap();
        wire.deliver(&[&one, &two]).await;
        let left = one.send(&ada, &room, "secret").await.unwrap();
        come_in(&two, &bob, &room, &one).await;
        let events = [before, invited, joined, left];
        let server = name("two.test");
        let id_of = |json: &bytes::Bytes| {
            let version = events::RoomVersion::parse(version).unwrap();
            events::Pdu::from_json(json.clone(), version).unwrap().event_id().clone()
        };
        let latest = one.rooms.room(&room).await.unwrap().unwrap().extremities.clone();
        let query = MissingQuery { earliest: Vec::new(), latest, limit: 20, min_depth: 0 };
        let missing = one.rooms.peer_missing_events(&server, &room, query).await.unwrap();
        for (event, visible) in events.iter().zip(expected) {
            let from = vec![event.clone()];
            let among_missing = missing.iter().find(|json| id_of(json) == *event);
            let answers = [
                one.rooms.peer_event(&server, event).await.unwrap(),
                one.rooms.peer_backfill(&server, &room, from, 1).await.unwrap().remove(0),
                among_missing.expect("it is among the last twenty").clone(),
            ];
            for answer in answers {
                let shown = String::from_utf8_lossy(&answer).contains("secret");
                assert_eq!(shown, visible, "{visibility}: {event}, version {version}");
                assert_eq!(id_of(&answer), *event, "redaction changes no id");
            }
        }
    }
}

#[tokio::test]
async fn a_server_sees_its_own_users_come_and_the_setting_that_lets_it_see() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public(&one, &ada, "11").await;
    let set = async |visibility| {
        let setting = json!({ "history_visibility": visibility });
        one.set(&ada, &room, "m.room.history_visibility", "", setting).await.unwrap()
    };
    set("joined").await;
    let opened = set("shared").await;
    let closed = set("joined").await;
    one.invite(&ada, &room, &bob).await.unwrap();
    come_in(&two, &bob, &room, &one).await;
    let server = name("two.test");
    let view = one.rooms.room(&room).await.unwrap().unwrap();
    let join = one.rooms.state_get(view.state, "m.room.member", bob.as_str()).await.unwrap();
    let join = join.unwrap();
    let told = one.rooms.peer_event(&server, join.event_id()).await.unwrap();
    assert_eq!(told, *join.pdu.json(), "its own join");
    for event in [opened, closed] {
        let stored = one.rooms.event_by_id(&event).await.unwrap().unwrap();
        let told = one.rooms.peer_event(&server, &event).await.unwrap();
        assert_eq!(told, *stored.pdu.json(), "shared before or after it");
    }
    let kicked = wire.server("three.test");
    let refused = one.rooms.peer_event(&name(&kicked.server), join.event_id()).await;
    assert!(refused.is_err());
    one.rooms.kick(change(&ada, &room, &bob)).await.unwrap();
    assert!(one.rooms.peer_event(&server, join.event_id()).await.is_err(), "it was put out");
}

#[tokio::test]
async fn the_event_closest_to_a_time_is_one_of_the_room() {
    let (one, _two, room) = shared_room(&Wire::default()).await;
    let ada = one.user("ada");
    let elsewhere = public(&one, &ada, "11").await;
    let mut said = Vec::new();
    for n in 1..=3 {
        one.clock.advance(100_000);
        said.push(one.send(&ada, &room, &format!("at {n}")).await.unwrap());
        one.clock.advance(1000);
        one.send(&ada, &elsewhere, "elsewhere").await.unwrap();
    }
    let times = [1, 2, 3].map(|n| START + n * 100_000 + (n - 1) * 1000);
    let server = name("two.test");
    let ask = async |ts, dir| one.rooms.peer_timestamp_to_event(&server, &room, ts, dir).await;
    let middle = (said[1].clone(), times[1]);
    assert_eq!(ask(times[0] + 1, Direction::Forward).await.unwrap(), middle);
    assert_eq!(ask(times[2] - 1, Direction::Backward).await.unwrap(), middle);
    assert!(matches!(ask(times[2] + 1, Direction::Forward).await, Err(Error::NotFound(_))));
    assert!(matches!(ask(START - 1, Direction::Backward).await, Err(Error::NotFound(_))));
}
