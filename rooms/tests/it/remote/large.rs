//! Joining a room with many members.

use tokio::time::Instant;

use bytes::Bytes;
use events::EventTemplate;
use ruma::UserId;
use serde_json::{json, value::to_raw_value};

use super::{join_via, public_room};
use crate::wire::{Wire, key_of, name};

const MEMBERS: usize = 10_000;

/// Figure: 3 s. `cargo test --release -p rooms --test it -- --ignored ten_thousand --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn a_room_of_ten_thousand_members_is_joined() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let _many = wire.server("many.test");
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    let view = one.rooms.room(&room).await.unwrap().unwrap();
    let mut auth_events = Vec::new();
    for event_type in ["m.room.create", "m.room.power_levels", "m.room.join_rules"] {
        let event = one.rooms.state_get(view.state, event_type, "").await.unwrap().unwrap();
        auth_events.push(event.event_id().clone());
    }
    let (key, many) = (key_of("many.test"), name("many.test"));
    let content = to_raw_value(&json!({ "membership": "join" })).unwrap();
    let mut prev = view.extremities.clone();
    let mut pdus: Vec<Bytes> = Vec::new();
    for n in 0..MEMBERS {
        let user = UserId::parse(format!("@u{n}:many.test")).unwrap();
        let template = EventTemplate {
            room_id: Some(&room),
            sender: &user,
            event_type: "m.room.member",
            state_key: Some(user.as_str()),
            content: &content,
            prev_events: &prev,
            auth_events: &auth_events,
            depth: view.depth + 1 + n as u64,
            origin_server_ts: crate::world::START,
            redacts: None,
        };
        let pdu = events::sign_and_build(&template, &key, &many, view.version).unwrap();
        prev = vec![pdu.event_id().clone()];
        pdus.push(pdu.json().clone());
    }
    let start = Instant::now();
    for chunk in pdus.chunks(50) {
        for outcome in one.rooms.receive(&many, &room, chunk.to_vec()).await {
            outcome.result.unwrap();
        }
    }
    println!("{MEMBERS} joins received in {:?}", start.elapsed());
    let start = Instant::now();
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    println!("joined in {:?}, both sides", start.elapsed());
    let view = two.rooms.room(&room).await.unwrap().unwrap();
    assert_eq!(view.joined_members, MEMBERS as u64 + 2);
}
