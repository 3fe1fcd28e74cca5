//! Sliding sync as a stream of batches.

use std::{collections::BTreeMap, time::Duration};

use devices::SendToDevice;
use ruma::{RoomId, UserId, device_id, presence::PresenceState, to_device::DeviceIdOrAllDevices};
use serde_json::{Value, json, value::RawValue};
use sync::{Batch, Dialect, SlidingBody, SlidingConnection, SlidingUpdate, SyncError};
use tokio::time::timeout;

use crate::{
    slide::{Slide, bodies, room, told, with},
    world::World,
};

fn list(last: u64) -> Value {
    json!({"range": [0, last], "timeline_limit": 3, "required_state": {}})
}

fn body(last: u64) -> Value {
    json!({"conn_id": "main", "lists": {"all": list(last)}})
}

fn with_messages(last: u64) -> Value {
    with(body(last), "to_device", &json!({"enabled": true}))
}

async fn try_open(
    world: &World,
    user: &UserId,
    pos: Option<&str>,
    mut body: Value,
) -> Result<SlidingConnection, SyncError> {
    body["pos"] = pos.into();
    let body = SlidingBody::parse(Dialect::Stable, user, body.to_string().as_bytes());
    let presence = PresenceState::Offline;
    let device = device_id!("PHONE");
    world.sync.sliding_connection(user, device, &presence, body.expect("valid")).await
}

async fn open(world: &World, user: &UserId, pos: Option<&str>, body: Value) -> SlidingConnection {
    try_open(world, user, pos, body).await.expect("it opens")
}

fn change(connection: &mut SlidingConnection, user: &UserId, update: &Value) {
    let update = SlidingUpdate::parse(Dialect::Stable, user, update.to_string().as_bytes());
    connection.update(update.expect("valid")).expect("taken");
}

async fn next(connection: &mut SlidingConnection) -> (Batch, Value) {
    let batch = connection.next().await.expect("a batch");
    let answer: Value = serde_json::from_slice(&batch.body).expect("the body is JSON");
    assert_eq!(answer["pos"], batch.pos.as_str());
    (batch, answer)
}

/// Nothing comes, however long one waits.
async fn is_silent(connection: &mut SlidingConnection) {
    tokio::time::pause();
    timeout(Duration::from_secs(60), connection.next()).await.expect_err("nothing to tell");
    tokio::time::resume();
}

async fn to_device(world: &World, target: &UserId, event_type: &str) {
    let empty = RawValue::from_string("{}".to_owned()).expect("JSON");
    let everywhere = BTreeMap::from([(DeviceIdOrAllDevices::AllDevices, empty)]);
    let messages = BTreeMap::from([(target.to_owned(), everywhere)]);
    let (device_id, txn_id) = (device_id!("PHONE"), event_type.into());
    let send = SendToDevice { sender: target, device_id, event_type, txn_id, messages: &messages };
    world.devices.send_to_device(send).await.expect("sent");
}

fn messages(answer: &Value) -> Vec<&str> {
    let events = answer["extensions"]["to_device"]["events"].as_array().into_iter().flatten();
    events.map(|event| event["type"].as_str().expect("a type")).collect()
}

fn next_batch(answer: &Value) -> &Value {
    &answer["extensions"]["to_device"]["next_batch"]
}

async fn say_three(world: &World, id: &RoomId, user: &UserId) {
    for body in ["one", "two", "three"] {
        world.say(id, user, body).await;
    }
}

#[tokio::test]
async fn batches_follow_one_another_and_what_comes_between_is_one() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&ada, &bob]).await;
    let mut connection = open(&world, &ada, None, body(9)).await;
    let (_, first) = next(&mut connection).await;
    assert_eq!(first["lists"]["all"]["count"], 1);
    assert_eq!(told(&first), [id.as_str()]);
    is_silent(&mut connection).await;
    // Nobody asks meanwhile: three messages make one batch.
    say_three(&world, &id, &bob).await;
    let (batch, second) = next(&mut connection).await;
    assert_eq!(bodies(room(&second, &id)), ["one", "two", "three"]);
    let last = room(&second, &id)["timeline"][2]["event_id"].as_str().expect("an id");
    let newest: Vec<_> = batch.newest.iter().map(|(id, e)| (id.as_str(), e.as_str())).collect();
    assert_eq!(newest, [(id.as_str(), last)], "of somebody else");
    world.say(&id, &ada, "own").await;
    assert_eq!(next(&mut connection).await.0.newest, []);
}

#[tokio::test]
async fn a_client_comes_back_to_any_batch_that_is_not_confirmed() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(world.shared_room(&[&ada]).await);
    }
    let mut connection = open(&world, &ada, None, body(0)).await;
    let (first, _) = next(&mut connection).await;
    // Each window is a state of its own.
    let mut sent = vec![first];
    for last in [1, 2] {
        change(&mut connection, &ada, &json!({"lists": {"all": list(last)}}));
        let (batch, answer) = next(&mut connection).await;
        assert_eq!(told(&answer).len(), 1, "one more room");
        sent.push(batch);
    }
    connection.confirm(&sent[1]).await.expect("confirmed");
    world.say(&rooms[0], &ada, "news").await;
    sent.push(next(&mut connection).await.0);
    drop(connection);
    // Over either transport, and after a restart.
    let world = World::on(world.store.clone()).await;
    for (index, is_initial) in [(3, None), (2, Some(false)), (1, Some(true))] {
        let pos = Some(sent[index].pos.clone());
        let slide = Slide { pos, ..Slide::stable(&world, &ada) };
        let answer = slide.peek(&body(2)).await;
        let of_answer = answer["rooms"].as_object().expect("rooms");
        let news = of_answer.iter().map(|(id, room)| (id.as_str(), room["initial"] == true));
        let expected = is_initial.map(|is_initial| (rooms[0].as_str(), is_initial));
        assert_eq!(news.collect::<Vec<_>>(), Vec::from_iter(expected), "batch {index}");
    }
    let gone = try_open(&world, &ada, Some(&sent[0].pos), body(2)).await;
    assert!(matches!(gone, Err(SyncError::UnknownPos)), "before what was confirmed");
    let mut again = open(&world, &ada, Some(&sent[1].pos), body(2)).await;
    assert_eq!(bodies(room(&next(&mut again).await.1, &rooms[0])), ["news"]);
}

#[tokio::test]
async fn what_is_looked_at_changes_at_once_and_each_part_as_a_whole() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let (one, other) = (world.shared_room(&[&ada]).await, world.shared_room(&[&ada]).await);
    let mut connection = open(&world, &ada, None, body(0)).await;
    assert_eq!(told(&next(&mut connection).await.1), [other.as_str()]);
    let config = json!({"timeline_limit": 1, "required_state": {}});
    let subscribe = json!({"room_subscriptions": {one.as_str(): config}});
    change(&mut connection, &ada, &subscribe);
    let (_, second) = next(&mut connection).await;
    assert_eq!(told(&second), [one.as_str()]);
    assert_eq!(second["lists"]["all"]["count"], 2, "the list is still there");
    // A list that shows nothing new has a count all the same.
    let lists = json!({"lists": {"all": list(0), "dms": {
        "range": [0, 9], "timeline_limit": 1, "required_state": {}, "filters": {"is_dm": true},
    }}});
    change(&mut connection, &ada, &lists);
    assert_eq!(next(&mut connection).await.1["lists"]["dms"]["count"], 0);
    change(&mut connection, &ada, &json!({"lists": {}, "room_subscriptions": {}}));
    assert_eq!(next(&mut connection).await.1["lists"], json!({}));
    world.say(&one, &ada, "unseen").await;
    is_silent(&mut connection).await;
    let wakes = connection.wakes();
    world.say(&other, &ada, "unseen").await;
    world.token(&ada).await;
    assert_eq!(connection.wakes(), wakes, "nor is it woken");
    let bad = SlidingUpdate::parse(Dialect::Stable, &ada, br#"{"lists":{"all":{"range":[1,0]}}}"#);
    bad.expect_err("no limit, and a range backwards");
}

#[tokio::test]
async fn messages_to_the_device_go_when_their_batch_is_confirmed() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    to_device(&world, &ada, "m.one").await;
    let mut connection = open(&world, &ada, None, with_messages(9)).await;
    let (_, first) = next(&mut connection).await;
    assert_eq!(messages(&first), ["m.one"]);
    to_device(&world, &ada, "m.two").await;
    let (_, answer) = next(&mut connection).await;
    assert_eq!(messages(&answer), ["m.two"], "none twice on one stream");
    // Replacing the extensions does not begin again.
    let extensions = with_messages(9)["extensions"].clone();
    change(&mut connection, &ada, &json!({ "extensions": extensions }));
    is_silent(&mut connection).await;
    drop(connection);

    let came_with = |answer: &Value| {
        let to_device = json!({"enabled": true, "since": next_batch(answer)});
        with(body(9), "to_device", &to_device)
    };
    // The first was processed and the second was lost.
    let mut again = open(&world, &ada, first["pos"].as_str(), came_with(&first)).await;
    let (lost, answer) = next(&mut again).await;
    assert_eq!(messages(&answer), ["m.two"]);
    again.confirm(&lost).await.expect("confirmed");
    drop(again);
    // Whoever forgot how far they were finds only what was never confirmed.
    let mut fresh = open(&world, &ada, None, with_messages(9)).await;
    assert_eq!(messages(&next(&mut fresh).await.1), Vec::<&str>::new());
}

#[tokio::test]
async fn there_is_one_client_at_a_time_of_a_connection() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    let mut first = open(&world, &ada, None, body(9)).await;
    let (batch, _) = next(&mut first).await;
    // Another stream.
    let mut second = open(&world, &ada, Some(&batch.pos), body(9)).await;
    assert!(matches!(first.next().await, Err(SyncError::Superseded)));
    first.superseded().await;
    // A request, while the stream waits.
    let slide = Slide { pos: Some(batch.pos), ..Slide::stable(&world, &ada) };
    let body = body(9);
    let (ended, _) = tokio::join!(second.next(), slide.peek(&body));
    assert!(matches!(ended, Err(SyncError::Superseded)));
    // Under another name nobody is in the way.
    let mut named = body.clone();
    named["conn_id"] = "other".into();
    let mut other = open(&world, &ada, None, named).await;
    let waiting = slide.try_ask(&body, Duration::from_secs(120));
    let (answer, _) = tokio::join!(waiting, async {
        next(&mut other).await;
        world.say(&id, &ada, "hello").await;
    });
    assert_eq!(bodies(room(&answer.expect("an answer"), &id)), ["hello"]);
}

#[tokio::test]
async fn waiting_can_be_given_up_at_any_time() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&ada, &bob]).await;
    let mut connection = open(&world, &ada, None, body(9)).await;
    next(&mut connection).await;
    for round in 0..20 {
        let text = round.to_string();
        let say = world.say(&id, &bob, &text);
        tokio::pin!(say);
        let mut said = false;
        let heard = loop {
            tokio::select! {
                _ = &mut say, if !said => said = true,
                batch = timeout(Duration::from_micros(50 * round), connection.next()) => {
                    if let Ok(batch) = batch {
                        let body = batch.expect("a batch").body;
                        break serde_json::from_slice::<Value>(&body).expect("JSON");
                    }
                }
            }
        };
        assert_eq!(bodies(room(&heard, &id)), [text.as_str()]);
    }
}

#[tokio::test]
async fn stopping_ends_a_stream() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let mut connection = open(&world, &ada, None, body(9)).await;
    next(&mut connection).await;
    let (ended, ()) = tokio::join!(connection.next(), async {
        tokio::task::yield_now().await;
        world.tasks.stop();
    });
    assert!(matches!(ended, Err(SyncError::Stopping)));
}
