//! History that a server missed, read by its users.

use std::collections::BTreeSet;

use rooms::{Error, MessagesQuery};
use ruma::{
    OwnedEventId, RoomId, UserId,
    api::{Direction, client::filter::RoomEventFilter},
};
use serde_json::json;

use super::{VERSIONS, join_via, public_room};
use crate::{
    wire::Wire,
    world::{World, change},
};

/// A server with more history than one answer holds.
const MESSAGES: usize = 250;

pub(super) struct Read {
    /// The newest first.
    pub(super) events: Vec<OwnedEventId>,
    pub(super) bodies: Vec<String>,
    pub(super) requests: usize,
}

pub(super) async fn read_all(world: &World, viewer: &UserId, room: &RoomId) -> Result<Read, Error> {
    let filter = RoomEventFilter::default();
    let mut read = Read { events: Vec::new(), bodies: Vec::new(), requests: 0 };
    let mut from: Option<String> = None;
    loop {
        let (dir, limit) = (Direction::Backward, 40);
        let query = MessagesQuery { from: from.as_deref(), to: None, dir, limit, filter: &filter };
        let page = world.rooms.messages(viewer, room, query).await?;
        read.requests += 1;
        assert!(read.requests < 100, "the history has an end");
        for event in page.chunk {
            read.events.push(event.event_id().clone());
            let content: serde_json::Value = event.pdu.content_as().unwrap();
            read.bodies.extend(content["body"].as_str().map(str::to_owned));
        }
        match page.end {
            Some(end) => from = Some(end),
            None => return Ok(read),
        }
    }
}

pub(super) fn assert_no_twins(read: &Read) {
    let different: BTreeSet<_> = read.events.iter().collect();
    assert_eq!(different.len(), read.events.len(), "an event has one place");
}

pub(super) async fn messages(world: &World, user: &UserId, room: &RoomId, count: usize) {
    for n in 0..count {
        world.send(user, room, &format!("message {n}")).await.unwrap();
    }
}

#[tokio::test]
async fn the_history_before_a_join_is_read_back_to_its_creation() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        messages(&one, &ada, &room, MESSAGES).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
        let theirs = read_all(&one, &ada, &room).await.unwrap();
        let ours = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(theirs.events, ours.events, "version {version}");
        assert_eq!(theirs.bodies.len(), MESSAGES);
        let asked = wire.count("backfill");
        assert!(asked <= 6, "{asked} requests for {} events", ours.events.len());
        let again = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(again.events, ours.events);
        assert_eq!(wire.count("backfill"), asked, "what is there is not asked for again");
        let restarted = wire.restarted(&two);
        let again = read_all(&restarted, &bob, &room).await.unwrap();
        assert_eq!(again.events, ours.events);
        assert_eq!(wire.count("backfill"), asked);
    }
}

/// A client that has just joined pages back from where its first sync begins.
#[tokio::test]
async fn history_is_fetched_for_one_who_reads_on_from_the_join() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "12").await;
    messages(&one, &ada, &room, 30).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let view = two.rooms.room(&room).await.unwrap().unwrap();
    let join = two.rooms.event_by_id(&view.extremities[0]).await.unwrap().unwrap();
    let from = two.rooms.token_before(&join);
    let (dir, filter) = (Direction::Backward, RoomEventFilter::default());
    let query = MessagesQuery { from: Some(&from), to: None, dir, limit: 10, filter: &filter };
    let page = two.rooms.messages(&bob, &room, query).await.unwrap();
    let expected = read_all(&one, &ada, &room).await.unwrap().events;
    let found: Vec<_> = page.chunk.iter().map(|event| event.event_id().clone()).collect();
    assert_eq!(found, expected[1..=10]);
    assert!(page.end.is_some());
}

#[tokio::test]
async fn readers_at_the_same_time_find_one_place_for_each_event() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, MESSAGES).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    two.join(&eve, &room).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    let reads = tokio::join!(
        read_all(&two, &bob, &room),
        read_all(&two, &eve, &room),
        read_all(&two, &bob, &room),
    );
    let expected = read_all(&one, &ada, &room).await.unwrap();
    for read in [reads.0, reads.1, reads.2] {
        let read = read.unwrap();
        assert_no_twins(&read);
        assert_eq!(read.bodies, expected.bodies);
    }
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert_eq!(read.events, expected.events);
    assert!(wire.count("backfill") <= 6, "they share what is fetched");
}

#[tokio::test]
async fn what_was_missed_while_nobody_was_in_the_room_is_read_later() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    messages(&one, &ada, &room, 5).await;
    wire.deliver(&[&one, &two]).await;
    two.rooms.leave(&room, &bob, None).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    messages(&one, &ada, &room, 130).await;
    wire.deliver(&[&one, &two]).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let theirs = read_all(&one, &ada, &room).await.unwrap();
    let ours = read_all(&two, &bob, &room).await.unwrap();
    assert_eq!(theirs.events, ours.events);
    assert_eq!(ours.bodies.len(), 135);
}

#[tokio::test]
async fn the_history_is_shorter_while_nobody_answers_and_whole_later() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, 20).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    wire.set_down("one.test", true);
    for _ in 0..3 {
        let read = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(read.events.len(), 1, "the join");
    }
    assert_eq!(wire.count("backfill"), 1, "a dead server is not asked by every reader");
    wire.set_down("one.test", false);
    two.clock.advance(61_000);
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert_eq!(read.bodies.len(), 20);
}

#[tokio::test]
async fn a_newcomer_sees_of_the_past_what_the_room_lets_them() {
    for (setting, sees) in
        [("world_readable", true), ("shared", true), ("invited", false), ("joined", false)]
    {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, "11").await;
        let content = json!({ "history_visibility": setting });
        one.set(&ada, &room, "m.room.history_visibility", "", content).await.unwrap();
        let secret = one.send(&ada, &room, "secret").await.unwrap();
        messages(&one, &ada, &room, 120).await;
        join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
        let read = read_all(&two, &bob, &room).await.unwrap();
        assert_eq!(read.bodies.contains(&"secret".to_owned()), sees, "{setting}");
        assert_eq!(two.rooms.event(&bob, &room, &secret).await.is_ok(), sees, "{setting}");
    }
}

#[tokio::test]
async fn the_surroundings_of_an_event_are_fetched_too() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    messages(&one, &ada, &room, 20).await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let view = two.rooms.room(&room).await.unwrap().unwrap();
    let filter = RoomEventFilter::default();
    let context = two.rooms.context(&bob, &room, &view.extremities[0], 20, &filter).await.unwrap();
    assert_eq!(context.before.len(), 10);
}

#[tokio::test]
async fn a_moment_in_history_that_is_missing_is_found_and_can_be_read_from() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    let mut sent = Vec::new();
    for n in 0..300 {
        one.clock.advance(1000);
        sent.push(one.send(&ada, &room, &format!("message {n}")).await.unwrap());
    }
    two.clock.advance(400_000);
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    let at = |n: u64| crate::world::START + 1000 * (n + 1);
    let find = |ts, dir| two.rooms.timestamp_to_event(&bob, &room, ts, dir);
    let forward = find(at(50) - 1, Direction::Forward).await.unwrap();
    assert_eq!(forward, (sent[50].clone(), at(50)));
    let backward = find(at(60) + 1, Direction::Backward).await.unwrap();
    assert_eq!(backward, (sent[60].clone(), at(60)));
    let filter = RoomEventFilter::default();
    let context = two.rooms.context(&bob, &room, &sent[60], 11, &filter).await.unwrap();
    let before: Vec<_> = context.before.iter().map(|event| event.event_id().clone()).collect();
    let expected: Vec<_> = sent[55..60].iter().rev().cloned().collect();
    assert_eq!(before, expected);
    let ours = read_all(&two, &bob, &room).await.unwrap();
    assert_no_twins(&ours);
    assert_eq!(ours.events, read_all(&one, &ada, &room).await.unwrap().events);
    wire.take_calls();
    assert_eq!(find(at(70), Direction::Backward).await.unwrap().0, sent[70]);
    assert_eq!(wire.count("timestamp_to_event"), 0, "what is known needs no others");
}

#[tokio::test]
async fn one_who_left_does_not_read_what_came_later() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob, eve) = (one.user("ada"), two.user("bob"), two.user("eve"));
    let room = public_room(&one, &ada, "11").await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    one.rooms.kick(change(&ada, &room, &bob)).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    let secret = one.send(&ada, &room, "secret").await.unwrap();
    join_via(&two, &eve, &room, &["one.test"]).await.unwrap();
    let read = read_all(&two, &eve, &room).await.unwrap();
    assert!(read.bodies.contains(&"secret".to_owned()));
    let read = read_all(&two, &bob, &room).await.unwrap();
    assert!(!read.bodies.contains(&"secret".to_owned()));
    assert!(two.rooms.event(&bob, &room, &secret).await.is_err());
}
