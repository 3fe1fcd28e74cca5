//! Who sees which event, against tables and against a slow reading of the specification.

use std::sync::Arc;

use rooms::StoredEvent;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Value, json};
use stdx::Rng;

use crate::world::{World, change};

const VISIBILITIES: [&str; 4] = ["world_readable", "shared", "invited", "joined"];

async fn room_with(world: &World, ada: &UserId, visibility: &str) -> OwnedRoomId {
    let room = world.room(ada, &[]).await;
    set_visibility(world, ada, &room, visibility).await;
    room
}

async fn set_visibility(world: &World, ada: &UserId, room: &RoomId, visibility: &str) {
    let content = json!({ "history_visibility": visibility });
    world.set(ada, room, "m.room.history_visibility", "", content).await.expect("sets");
}

/// All events, oldest first.
async fn history(world: &World, room: &RoomId) -> Vec<Arc<StoredEvent>> {
    let mut chain = world.chain(room).await;
    chain.reverse();
    chain
}

fn field(event: &StoredEvent, key: &str) -> Option<String> {
    let content: Value = event.pdu.content_as().expect("JSON");
    content[key].as_str().map(str::to_owned)
}

fn is_state(event: &StoredEvent, event_type: &str, state_key: &str) -> bool {
    event.pdu.event_type() == event_type && event.pdu.state_key() == Some(state_key)
}

/// The rules word by word, from the contents of the events alone.
fn model(history: &[Arc<StoredEvent>], viewer: &UserId) -> Vec<String> {
    let (mut visibility, mut membership) = ("shared".to_owned(), "leave".to_owned());
    let mut seen = Vec::new();
    for (index, event) in history.iter().enumerate() {
        let is_own = is_state(event, "m.room.member", viewer.as_str());
        let joins_later = history[index..].iter().any(|later| {
            is_state(later, "m.room.member", viewer.as_str())
                && field(later, "membership").as_deref() == Some("join")
        });
        let before = visibility.clone();
        if is_state(event, "m.room.history_visibility", "") {
            visibility = field(event, "history_visibility").expect("is set");
        }
        let allows = |visibility: &str| match visibility {
            "world_readable" => true,
            _ if membership == "join" => true,
            "shared" => joins_later,
            "invited" => membership == "invite",
            _ => false,
        };
        if is_own || allows(&before) || allows(&visibility) {
            seen.push(event.event_id().to_string());
        }
        if is_own {
            membership = field(event, "membership").expect("is set");
        }
    }
    seen
}

async fn assert_as_in_the_model(world: &World, room: &RoomId, viewer: &UserId) {
    let history = history(world, room).await;
    let visible = world.rooms.visible(viewer, room, &history).await.expect("reads");
    let visible: Vec<_> = visible.iter().map(|event| event.event_id().to_string()).collect();
    assert_eq!(visible, model(&history, viewer));
}

/// The bodies of the messages that the viewer may see.
async fn messages(world: &World, room: &RoomId, viewer: &UserId) -> String {
    let history = history(world, room).await;
    let visible = world.rooms.visible(viewer, room, &history).await.expect("reads");
    visible.iter().filter_map(|event| field(event, "body")).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn every_visibility_in_every_phase_of_a_membership() {
    // Per visibility, what is seen: while invited, after leaving, joined again, banned.
    let expected = [
        ["m0 m1", "m0 m1 m2 m3", "m0 m1 m2 m3 m4", "m0 m1 m2 m3 m4 m5"],
        ["", "m0 m1 m2", "m0 m1 m2 m3 m4", "m0 m1 m2 m3 m4"],
        ["m1", "m1 m2", "m1 m2 m4", "m1 m2 m4"],
        ["", "m2", "m2 m4", "m2 m4"],
    ];
    for (visibility, expected) in VISIBILITIES.into_iter().zip(expected) {
        let world = World::new();
        let (ada, bob) = (world.user("ada"), world.user("bob"));
        let room = room_with(&world, &ada, visibility).await;
        let say = |body: &'static str| {
            let (world, ada, room) = (&world, &ada, &room);
            async move { world.send(ada, room, body).await.expect("sends") }
        };
        say("m0").await;
        world.invite(&ada, &room, &bob).await.unwrap();
        say("m1").await;
        let invited = messages(&world, &room, &bob).await;
        assert_as_in_the_model(&world, &room, &bob).await;
        world.join(&bob, &room).await.unwrap();
        say("m2").await;
        world.rooms.leave(&room, &bob, None).await.unwrap();
        say("m3").await;
        let left = messages(&world, &room, &bob).await;
        assert_as_in_the_model(&world, &room, &bob).await;
        world.join(&bob, &room).await.unwrap();
        say("m4").await;
        let rejoined = messages(&world, &room, &bob).await;
        assert_as_in_the_model(&world, &room, &bob).await;
        world.rooms.ban(change(&ada, &room, &bob)).await.unwrap();
        say("m5").await;
        let banned = messages(&world, &room, &bob).await;
        assert_as_in_the_model(&world, &room, &bob).await;
        assert_eq!([&*invited, &*left, &*rejoined, &*banned], expected, "{visibility}");
        assert_eq!(messages(&world, &room, &ada).await, "m0 m1 m2 m3 m4 m5");
    }
}

#[tokio::test]
async fn random_histories_are_seen_as_in_the_model() {
    for seed in 0..6 {
        let world = World::new();
        let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
        let room = room_with(&world, &ada, "shared").await;
        let rng = Rng::from_seed(seed);
        for step in 0..120 {
            random_step(&world, &ada, &bob, &room, rng.below(12)).await;
            if step % 10 == 0 {
                for viewer in [&ada, &bob, &eve] {
                    assert_as_in_the_model(&world, &room, viewer).await;
                }
            }
        }
    }
}

/// What the rules refuse is no step.
async fn random_step(
    world: &World,
    ada: &OwnedUserId,
    bob: &OwnedUserId,
    room: &RoomId,
    draw: u64,
) {
    match draw {
        0 => drop(world.invite(ada, room, bob).await),
        1 | 2 => drop(world.join(bob, room).await),
        3 => drop(world.rooms.leave(room, bob, None).await),
        4 => drop(world.rooms.kick(change(ada, room, bob)).await),
        5 => drop(world.rooms.ban(change(ada, room, bob)).await),
        6 => drop(world.rooms.unban(change(ada, room, bob)).await),
        7..=9 => drop(world.send(ada, room, "hello").await),
        10 => drop(world.send(bob, room, "hello").await),
        _ => {
            let next = world.store.log().position() as usize % VISIBILITIES.len();
            set_visibility(world, ada, room, VISIBILITIES[next]).await;
        }
    }
}

#[tokio::test]
async fn an_unknown_visibility_counts_as_shared() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[]).await;
    world.set(&ada, &room, "m.room.history_visibility", "", json!({})).await.unwrap();
    world.send(&ada, &room, "early").await.unwrap();
    assert_eq!(messages(&world, &room, &bob).await, "");
    world.join(&bob, &room).await.unwrap();
    assert_eq!(messages(&world, &room, &bob).await, "early");
}
