//! Receipts and typing.

use std::time::Duration;

use rooms::{Error, NewReceipt, ReceiptFact, TypingChange, stream};
use ruma::{EventId, RoomId, UserId};
use serde_json::{json, value::to_raw_value};

use crate::world::{World, is_forbidden, new_event};

fn receipt<'a>(user: &'a UserId, room_id: &'a RoomId, event_id: &'a EventId) -> NewReceipt<'a> {
    NewReceipt { room_id, user, kind: "m.read", event_id, thread: None }
}

#[tokio::test]
async fn a_receipt_moves_forward_only() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let first = world.send(&ada, &room, "1").await.unwrap();
    let second = world.send(&ada, &room, "2").await.unwrap();
    let start = world.store.log().position();
    world.rooms.set_receipt(receipt(&bob, &room, &second)).await.unwrap();
    let moved = world.store.log().position();
    assert!(moved > start);
    for older in [&first, &second] {
        world.rooms.set_receipt(receipt(&bob, &room, older)).await.unwrap();
    }
    assert_eq!(world.store.log().position(), moved, "nothing was written");
    let receipts = world.rooms.receipts(&room).await.unwrap();
    assert_eq!(receipts.len(), 1);
    assert_eq!((&receipts[0].event_id, &receipts[0].user_id), (&second, &bob));
    assert_eq!(receipts[0].position, moved);
    let facts = world.store.facts(start, moved, 10).await.unwrap();
    assert_eq!((facts.len(), facts[0].fact.stream), (1, stream::RECEIPT));
    assert_eq!(&*facts[0].fact.subject, room.as_str());
    let fact = ReceiptFact::from_fact(&facts[0].fact).unwrap();
    assert_eq!((fact.user_id, fact.kind.as_str(), fact.event_id), (bob, "m.read", second));
}

#[tokio::test]
async fn news_of_receipts_is_the_newest_of_each() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let mut sent = Vec::new();
    for number in 0..20 {
        sent.push(world.send(&ada, &room, &number.to_string()).await.unwrap());
    }
    let start = world.store.log().position();
    for event in &sent[..10] {
        world.rooms.set_receipt(receipt(&bob, &room, event)).await.unwrap();
    }
    let middle = world.store.log().position();
    world.rooms.set_receipt(receipt(&ada, &room, &sent[19])).await.unwrap();
    let end = world.store.log().position();
    let news = world.rooms.receipts_since(&room, start, end).await.unwrap();
    assert_eq!(news.len(), 2);
    assert_eq!(news[0].event_id, sent[9]);
    let later = world.rooms.receipts_since(&room, middle, end).await.unwrap();
    assert_eq!(later.len(), 1);
    assert_eq!(later[0].user_id, ada);
    assert!(world.rooms.receipts_since(&room, end, u64::MAX).await.unwrap().is_empty());
    // They outlive the process.
    assert_eq!(world.reopened().rooms.receipts(&room).await.unwrap().len(), 2);
}

#[tokio::test]
async fn kinds_and_threads_have_receipts_of_their_own() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let root = world.send(&ada, &room, "root").await.unwrap();
    let content = json!({
        "body": "reply",
        "m.relates_to": { "rel_type": "m.thread", "event_id": root },
    });
    let content = to_raw_value(&content).unwrap();
    let reply =
        world.rooms.send(new_event(&ada, &room, "m.room.message", None, &content)).await.unwrap();
    let unthreaded = receipt(&ada, &room, &reply);
    world.rooms.set_receipt(unthreaded).await.unwrap();
    world.rooms.set_receipt(NewReceipt { kind: "m.read.private", ..unthreaded }).await.unwrap();
    let threaded = NewReceipt { thread: Some(root.as_str()), ..unthreaded };
    world.rooms.set_receipt(threaded).await.unwrap();
    let main = NewReceipt { thread: Some("main"), event_id: &root, ..unthreaded };
    world.rooms.set_receipt(main).await.unwrap();
    let mut own = world.rooms.own_receipts(&ada, &room).await.unwrap();
    own.sort_by_key(|receipt| receipt.position);
    let own: Vec<_> =
        own.iter().map(|receipt| (receipt.kind.as_str(), receipt.thread.as_deref())).collect();
    let expected = [
        ("m.read", None),
        ("m.read.private", None),
        ("m.read", Some(root.as_str())),
        ("m.read", Some("main")),
    ];
    assert_eq!(own, expected);
    for wrong in ["main", "", "$other"] {
        let outcome =
            world.rooms.set_receipt(NewReceipt { thread: Some(wrong), ..unthreaded }).await;
        assert!(matches!(outcome, Err(Error::InvalidParam(_))), "{wrong}");
    }
}

#[tokio::test]
async fn only_members_read_and_only_what_is_in_the_room() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let (room, other) = (world.room(&ada, &[]).await, world.room(&ada, &[]).await);
    let event = world.send(&ada, &room, "1").await.unwrap();
    assert!(is_forbidden(world.rooms.set_receipt(receipt(&bob, &room, &event)).await));
    let elsewhere = world.rooms.set_receipt(receipt(&ada, &other, &event)).await;
    assert!(matches!(elsewhere, Err(Error::NotFound(_))));
    assert!(world.rooms.receipts(&room).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_racing_receipts_the_newest_stays() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let mut sent = Vec::new();
    for number in 0..8 {
        sent.push(world.send(&ada, &room, &number.to_string()).await.unwrap());
    }
    let racing = sent.iter().map(|event| world.rooms.set_receipt(receipt(&ada, &room, event)));
    for outcome in futures_util::future::join_all(racing).await {
        outcome.unwrap();
    }
    let receipts = world.rooms.receipts(&room).await.unwrap();
    assert_eq!((receipts.len(), &receipts[0].event_id), (1, &sent[7]));
    assert_eq!(world.rooms.receipts_since(&room, 0, u64::MAX).await.unwrap(), receipts);
}

#[tokio::test(start_paused = true)]
async fn typing_ends_by_itself_and_everybody_hears_of_it() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let tasks = stdx::Tasks::new();
    tasks.spawn_until_stopped("typing", world.rooms.clone().expire_typing());
    let mut changes = world.rooms.typing_changes();
    assert_eq!(world.rooms.typing(&room), (0, vec![]));
    let minute = Duration::from_secs(60);
    world.rooms.start_typing(&room, &bob, minute).await.unwrap();
    let change = |sequence| TypingChange { room_id: room.clone(), sequence };
    assert_eq!(changes.recv().await.unwrap(), change(1));
    assert_eq!(world.rooms.typing(&room), (1, vec![bob.clone()]));
    // Saying so again is no change, but moves the end.
    tokio::time::advance(Duration::from_secs(40)).await;
    world.rooms.start_typing(&room, &bob, minute).await.unwrap();
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(world.rooms.typing(&room), (1, vec![bob.clone()]));
    let renewed = tokio::time::Instant::now();
    assert_eq!(changes.recv().await.unwrap(), change(2));
    assert!(renewed.elapsed() <= Duration::from_secs(21));
    assert_eq!(world.rooms.typing(&room), (2, vec![]));
    // However long somebody claims to type, it ends.
    world.rooms.start_typing(&room, &ada, Duration::from_secs(1 << 30)).await.unwrap();
    world.rooms.start_typing(&room, &bob, minute).await.unwrap();
    world.rooms.stop_typing(&room, &bob).await.unwrap();
    assert_eq!(world.rooms.typing(&room), (5, vec![ada.clone()]));
    tokio::time::advance(Duration::from_secs(121)).await;
    assert_eq!(world.rooms.typing(&room), (6, vec![]));
    assert_eq!(world.rooms.typing_sequence(), 6);
    let eve = world.user("eve");
    assert!(is_forbidden(world.rooms.start_typing(&room, &eve, minute).await));
    tasks.shutdown().await;
}

#[tokio::test]
async fn who_leaves_types_no_longer() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    for user in [&ada, &bob] {
        world.rooms.start_typing(&room, user, Duration::from_secs(60)).await.unwrap();
    }
    world.rooms.leave(&room, &bob, None).await.unwrap();
    assert_eq!(world.rooms.typing(&room), (3, vec![ada]));
}
