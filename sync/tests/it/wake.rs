//! Who is woken by what: everybody it concerns, and nobody else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use devices::SendToDevice;
use rooms::Preset;
use ruma::{device_id, presence::PresenceState, to_device::DeviceIdOrAllDevices};
use serde_json::{json, value::RawValue};
use sync::{Connection, Filter};
use tokio::time::timeout;

use crate::world::{Ask, World, is_empty, joined, token_of};

/// Ends only if the poll is answered before its own time is over.
async fn woken<T>(world: &World, user: &ruma::UserId, since: &str, act: impl Future<Output = T>) {
    let ask = Ask { timeout: Duration::from_secs(240), ..Ask::default() };
    let poll = world.ask(user, Some(since), &ask);
    let (answer, _) = tokio::join!(timeout(Duration::from_secs(60), poll), act);
    assert!(!is_empty(&answer.expect("the poll is woken")));
}

#[tokio::test]
async fn a_waiting_poll_is_answered_by_each_kind_of_change() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let private = world.room(&ada, Preset::PrivateChat).await;

    let since = world.token(&ben).await;
    woken(&world, &ben, &since, world.say(&room, &ada, "hello")).await;
    let event = world.say(&room, &ada, "again").await;

    let since = world.token(&ben).await;
    woken(&world, &ben, &since, world.invite(&private, &ada, &ben)).await;

    let since = world.token(&ben).await;
    woken(&world, &ben, &since, world.join(&private, &ben)).await;

    let since = world.token(&ben).await;
    woken(&world, &ben, &since, world.rooms.leave(&private, &ben, None)).await;

    let since = world.token(&ben).await;
    woken(&world, &ben, &since, world.read(&room, &ada, "m.read", &event, None)).await;

    let since = world.token(&ben).await;
    woken(&world, &ben, &since, world.read(&room, &ben, "m.read.private", &event, None)).await;

    let since = world.token(&ben).await;
    let minute = Duration::from_secs(60);
    woken(&world, &ben, &since, world.rooms.start_typing(&room, &ada, minute)).await;

    let since = world.token(&ben).await;
    let data = RawValue::from_string("{}".to_owned()).expect("JSON");
    let set = world.accounts.set_account_data(&ben, None, "org.test", &data);
    woken(&world, &ben, &since, set).await;

    let since = world.token(&ben).await;
    let device = device_id!("PHONE");
    let set = world.presence.set(&ada, device, &PresenceState::Online, Some("here"));
    woken(&world, &ben, &since, set).await;

    let since = world.token(&ben).await;
    woken(&world, &ben, &since, to_ben(&world, &ada, &ben)).await;
}

async fn to_ben(world: &World, ada: &ruma::UserId, ben: &ruma::UserId) {
    let content = RawValue::from_string("{}".to_owned()).expect("JSON");
    let everywhere = BTreeMap::from([(DeviceIdOrAllDevices::AllDevices, content)]);
    let messages = BTreeMap::from([(ben.to_owned(), everywhere)]);
    let send = SendToDevice {
        sender: ada,
        device_id: device_id!("PHONE"),
        event_type: "org.test",
        txn_id: "txn".into(),
        messages: &messages,
    };
    world.devices.send_to_device(send).await.expect("sent");
}

#[tokio::test]
async fn a_poll_without_news_ends_when_its_time_is_over() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let since = world.token(&ada).await;
    let ask = Ask { timeout: Duration::from_millis(50), ..Ask::default() };
    let answer = world.ask(&ada, Some(&since), &ask).await;
    assert!(is_empty(&answer));
    assert!(is_empty(&world.next(&ada, &token_of(&answer)).await));
}

#[tokio::test]
async fn shutdown_ends_a_waiting_poll() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let since = world.token(&ada).await;
    let waiting = Ask::waiting();
    let poll = world.ask(&ada, Some(&since), &waiting);
    let (answer, ()) = tokio::join!(poll, async {
        tokio::task::yield_now().await;
        world.tasks.stop();
    });
    assert!(is_empty(&answer));
}

async fn listening(world: &World, user: &ruma::UserId, filter: &str) -> Connection {
    let mut params = world.params(Some(&world.token(user).await));
    params.filter = Arc::new(Filter::parse(filter).expect("valid"));
    let connection = world.sync.connection(user, device_id!("PHONE"), params).await;
    connection.expect("it opens")
}

#[tokio::test]
async fn a_change_wakes_exactly_those_it_concerns() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let cay = world.user("cay").await;
    let room = world.shared_room(&[&ada, &ben]).await;
    let other = world.shared_room(&[&ada, &cay]).await;
    let of_ben = listening(&world, &ben, "{}").await;
    let elsewhere = json!({"room": {"not_rooms": [room]}}).to_string();
    let filtered = listening(&world, &ben, &elsewhere).await;
    let of_cay = listening(&world, &cay, "{}").await;
    let wakes = || [of_ben.wakes(), filtered.wakes(), of_cay.wakes()];
    assert_eq!(wakes(), [0, 0, 0]);

    // Without anybody computing in between, any number of changes is one wake-up.
    for number in 0..5 {
        world.say(&room, &ada, &number.to_string()).await;
    }
    world.next(&ben, &world.token(&ben).await).await;
    assert_eq!(wakes(), [1, 0, 0]);
    world.say(&other, &ada, "hello").await;
    world.token(&cay).await;
    assert_eq!(wakes(), [1, 0, 1]);
    // What concerns ada only, and what somebody else reads privately, wakes neither.
    let own = world.shared_room(&[&ada]).await;
    let event = world.say(&own, &ada, "to myself").await;
    world.read(&own, &ada, "m.read.private", &event, None).await;
    world.token(&ada).await;
    assert_eq!(wakes(), [1, 0, 1]);
}

#[tokio::test]
async fn who_left_is_not_woken_any_more_and_who_came_is() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let mut connection = listening(&world, &ben, "{}").await;
    world.rooms.leave(&room, &ben, None).await.expect("ben may leave");
    connection.next().await.expect("the end");
    let wakes = connection.wakes();
    world.say(&room, &ada, "without ben").await;
    world.token(&ada).await;
    assert_eq!(connection.wakes(), wakes);
    world.join(&room, &ben).await;
    connection.next().await.expect("the room");
    world.say(&room, &ada, "with ben").await;
    let batch = connection.next().await.expect("a message");
    let answer = serde_json::from_slice(&batch.body).expect("JSON");
    assert!(joined(&answer, &room).is_object());
}

#[tokio::test]
async fn typing_wakes_a_few_times_a_second_at_most() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let mut connection = listening(&world, &ben, "{}").await;
    let started = tokio::time::Instant::now();
    let toggles = async {
        let mut toggled = 0;
        while started.elapsed() < Duration::from_millis(600) {
            let minute = Duration::from_secs(60);
            world.rooms.start_typing(&room, &ada, minute).await.expect("ada may type");
            world.rooms.stop_typing(&room, &ada).await.expect("ada may stop");
            toggled += 2;
            tokio::task::yield_now().await;
        }
        toggled
    };
    tokio::pin!(toggles);
    let toggled = loop {
        tokio::select! {
            toggled = &mut toggles => break toggled,
            batch = connection.next() => drop(batch.expect("a batch")),
        }
    };
    let most = started.elapsed().as_millis() / 250 + 1;
    assert!(toggled > 20, "{toggled}");
    assert!(u128::from(connection.wakes()) <= most, "{} wakes", connection.wakes());
    assert!(connection.wakes() >= 1);
}
