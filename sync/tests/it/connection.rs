//! The stream of batches.

use std::{collections::BTreeMap, time::Duration};

use devices::SendToDevice;
use ruma::{device_id, to_device::DeviceIdOrAllDevices};
use serde_json::{Value, value::RawValue};
use sync::{Batch, Connection, SyncError};
use tokio::time::timeout;

use crate::world::{World, bodies, joined};

fn answer(batch: &Batch) -> Value {
    serde_json::from_slice(&batch.body).expect("the body is JSON")
}

async fn open(world: &World, user: &ruma::UserId, since: Option<&str>) -> Connection {
    let opened = world.sync.connection(user, device_id!("PHONE"), world.params(since)).await;
    opened.expect("it opens")
}

#[tokio::test]
async fn the_first_batch_is_an_initial_sync_and_the_rest_is_what_follows() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let mut connection = open(&world, &ben, None).await;
    let first = connection.next().await.expect("a batch");
    assert!(joined(&answer(&first), &room)["summary"].is_object());
    assert_eq!(answer(&first)["next_batch"], first.pos.as_str());
    // The client is slow: three messages make one batch.
    for body in ["one", "two", "three"] {
        world.say(&room, &ada, body).await;
    }
    let second = connection.next().await.expect("a batch");
    assert_eq!(bodies(joined(&answer(&second), &room)), ["one", "two", "three"]);
}

#[tokio::test]
async fn a_batch_that_was_not_processed_is_told_again_to_the_next_connection() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let mut connection = open(&world, &ben, None).await;
    let first = connection.next().await.expect("a batch");
    world.say(&room, &ada, "lost on the way").await;
    connection.next().await.expect("a batch");
    drop(connection);
    let mut connection = open(&world, &ben, Some(&first.pos)).await;
    let again = connection.next().await.expect("a batch");
    assert_eq!(bodies(joined(&answer(&again), &room)), ["lost on the way"]);
    // The other transport goes on from the same place.
    let poll = world.next(&ben, &first.pos).await;
    assert_eq!(bodies(joined(&poll, &room)), ["lost on the way"]);
}

#[tokio::test]
async fn waiting_can_be_given_up_at_any_time() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let mut connection = open(&world, &ben, None).await;
    connection.next().await.expect("a batch");
    for round in 0..20 {
        let body = round.to_string();
        let mut told = Vec::new();
        let say = world.say(&room, &ada, &body);
        tokio::pin!(say);
        let mut said = false;
        while told.is_empty() {
            tokio::select! {
                _ = &mut say, if !said => said = true,
                batch = timeout(Duration::from_micros(50 * round), connection.next()) => {
                    if let Ok(batch) = batch {
                        let batch = answer(&batch.expect("a batch"));
                        let room = joined(&batch, &room);
                        told = bodies(room).into_iter().map(str::to_owned).collect();
                    }
                }
            }
        }
        assert_eq!(told, [body.as_str()]);
    }
}

#[tokio::test]
async fn what_comes_between_two_waits_is_told() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let mut connection = open(&world, &ben, None).await;
    connection.next().await.expect("a batch");
    for body in ["one", "two"] {
        tokio::time::pause();
        let wait = timeout(Duration::from_secs(60), connection.next());
        wait.await.expect_err("there is nothing to tell");
        tokio::time::resume();
        world.say(&room, &ada, body).await;
        let batch = connection.next().await.expect("a batch");
        assert_eq!(bodies(joined(&answer(&batch), &room)), [body]);
    }
}

/// No mark is made between the first batch of them and the last.
#[tokio::test]
async fn messages_to_the_device_come_in_as_many_batches_as_they_take() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let mut connection = open(&world, &ada, None).await;
    connection.next().await.expect("a batch");
    for number in 0..250 {
        let empty = RawValue::from_string("{}".to_owned()).expect("JSON");
        let everywhere = BTreeMap::from([(DeviceIdOrAllDevices::AllDevices, empty)]);
        let messages = BTreeMap::from([(ada.clone(), everywhere)]);
        let txn_id = format!("txn{number}");
        let send = SendToDevice {
            sender: &ada,
            device_id: device_id!("PHONE"),
            event_type: "org.test",
            txn_id: txn_id.as_str().into(),
            messages: &messages,
        };
        world.devices.send_to_device(send).await.expect("sent");
    }
    let mut told = Vec::new();
    while told.iter().sum::<usize>() < 250 {
        let next = timeout(Duration::from_secs(20), connection.next());
        let batch = answer(&next.await.expect("there is more").expect("a batch"));
        told.push(batch["to_device"]["events"].as_array().map_or(0, Vec::len));
    }
    assert_eq!(told, [100, 100, 50]);
}

#[tokio::test]
async fn stopping_ends_a_connection() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let mut connection = open(&world, &ada, None).await;
    connection.next().await.expect("a batch");
    let (ended, ()) = tokio::join!(connection.next(), async {
        tokio::task::yield_now().await;
        world.tasks.stop();
    });
    assert!(matches!(ended, Err(SyncError::Stopping)));
}
