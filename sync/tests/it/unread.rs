//! Unread counts, for a room and for each thread.

use ruma::EventId;
use serde_json::{Value, json};

use crate::world::{Ask, World, is_empty, joined, token_of};

const THREADS: &str = r#"{"room":{"timeline":{"unread_thread_notifications":true}}}"#;

fn counts(room: &Value) -> (u64, u64) {
    let counts = &room["unread_notifications"];
    let of = |key: &str| counts[key].as_u64().expect("a count");
    (of("notification_count"), of("highlight_count"))
}

fn reply(root: &EventId) -> Value {
    json!({
        "msgtype": "m.text", "body": "in the thread",
        "m.relates_to": {"rel_type": "m.thread", "event_id": root},
    })
}

#[tokio::test]
async fn messages_of_others_count_until_they_are_read() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.say(&room, &ada, "one").await;
    let second = world.say(&room, &ada, "two").await;
    world.topic(&room, &ada, "does not count").await;
    let mention = json!({
        "msgtype": "m.text", "body": "hello ben", "m.mentions": {"user_ids": [ben]},
    });
    world.event(&room, &ada, "m.room.message", None, &mention).await;
    let answer = world.next(&ben, &since).await;
    assert_eq!(counts(joined(&answer, &room)), (3, 1));
    // Own messages do not count, and ada has read what she wrote.
    assert_eq!(counts(joined(&world.initial(&ada).await, &room)), (0, 0));

    world.read(&room, &ben, "m.read", &second, None).await;
    let answer = world.next(&ben, &token_of(&answer)).await;
    assert_eq!(counts(joined(&answer, &room)), (1, 1));
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
    // Counted again from nothing, it is the same.
    let again = World::on(world.store.clone()).await;
    assert_eq!(counts(joined(&again.initial(&ben).await, &room)), (1, 1));
}

#[tokio::test]
async fn a_private_receipt_counts_as_well_and_alone_makes_the_room_appear() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let event = world.say(&room, &ada, "one").await;
    let no_ephemeral = Ask::filtered(r#"{"room":{"ephemeral":{"types":[]}}}"#);
    let answer = world.ask(&ben, None, &no_ephemeral).await;
    assert_eq!(counts(joined(&answer, &room)), (1, 0));
    world.read(&room, &ben, "m.read.private", &event, None).await;
    let answer = world.ask(&ben, Some(&token_of(&answer)), &no_ephemeral).await;
    assert_eq!(counts(joined(&answer, &room)), (0, 0));
}

#[tokio::test]
async fn sending_reads_what_was_before() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.say(&room, &ada, "one").await;
    let answer = world.initial(&ben).await;
    assert_eq!(counts(joined(&answer, &room)), (1, 0));
    world.say(&room, &ben, "answer").await;
    let answer = world.next(&ben, &token_of(&answer)).await;
    assert_eq!(counts(joined(&answer, &room)), (0, 0));
}

#[tokio::test]
async fn threads_are_counted_and_read_by_themselves() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let root = world.say(&room, &ada, "root").await;
    let inside = world.event(&room, &ada, "m.room.message", None, &reply(&root)).await;
    let main = world.say(&room, &ada, "main").await;

    let answer = world.ask(&ben, None, &Ask::filtered(THREADS)).await;
    let told = joined(&answer, &room);
    assert_eq!(counts(told), (2, 0));
    let thread = json!({root.as_str(): {"notification_count": 1, "highlight_count": 0}});
    assert_eq!(told["unread_thread_notifications"], thread);
    // Without the filter, the room's count has everything.
    assert_eq!(counts(joined(&world.initial(&ben).await, &room)), (3, 0));

    world.read(&room, &ben, "m.read", &main, Some("main")).await;
    let answer = world.ask(&ben, Some(&token_of(&answer)), &Ask::filtered(THREADS)).await;
    let told = joined(&answer, &room);
    assert_eq!(counts(told), (0, 0));
    assert_eq!(told["unread_thread_notifications"], thread);

    world.read(&room, &ben, "m.read", &inside, Some(root.as_str())).await;
    let answer = world.ask(&ben, Some(&token_of(&answer)), &Ask::filtered(THREADS)).await;
    assert!(joined(&answer, &room).get("unread_thread_notifications").is_none());
}

#[tokio::test]
async fn a_redacted_message_does_not_count() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let target = world.say(&room, &ada, "one").await;
    let answer = world.initial(&ben).await;
    let redaction =
        rooms::Redaction { room_id: &room, sender: &ada, target: &target, reason: None, txn: None };
    world.rooms.redact(redaction).await.expect("ada may redact");
    let answer = world.next(&ben, &token_of(&answer)).await;
    assert_eq!(counts(joined(&answer, &room)), (0, 0));
}

#[tokio::test]
async fn what_the_timeline_filter_leaves_out_still_counts() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let none = Ask::filtered(r#"{"room":{"timeline":{"types":[]}}}"#);
    let since = token_of(&world.ask(&ben, None, &none).await);
    world.say(&room, &ada, "one").await;
    let answer = world.ask(&ben, Some(&since), &none).await;
    assert_eq!(counts(joined(&answer, &room)), (1, 0));
}
