//! Devices of ours: whom others are told of, and what.

use devices::keys::KeysUpload;
use ruma::{DeviceId, OwnedUserId, UserId};
use serde_json::{Value, json};

use super::{
    wire::Wire,
    world::{PEER, World, hasty},
};

const OTHER: &str = "other.test";

fn keys(user: &UserId, device: &str, mark: &str) -> Value {
    json!({
        "user_id": user,
        "device_id": device,
        "algorithms": ["m.test"],
        "keys": { format!("test:{device}"): mark },
        "signatures": {},
    })
}

/// The contents of updates that a peer was told, oldest first.
fn updates(wire: &Wire, server: &str) -> Vec<Value> {
    let taken = wire.taken(server);
    taken.iter().flat_map(|one| one.edus_of("m.device_list_update")).cloned().collect()
}

async fn upload(world: &World, user: &OwnedUserId, device: &str, mark: &str) {
    let keys = serde_json::from_value(keys(user, device, mark)).expect("JSON");
    let upload = KeysUpload { device_keys: Some(keys), ..KeysUpload::default() };
    let device = <&DeviceId>::from(device);
    world.devices.upload_keys(user, device, upload).await.expect("uploads");
}

#[tokio::test]
async fn every_change_is_told_in_a_chain() {
    let world = World::with_peer(hasty()).await;
    let ada = &world.ada;
    world.devices.ensure(ada, Some("A".into()), Some("phone")).await.expect("creates");
    upload(&world, ada, "A", "one").await;
    world.devices.delete(ada, "A".into()).await.expect("deletes");
    // One for each change, with the device as it is when that is told: it may be gone before.
    let is_told = |wire: &Wire| updates(wire, PEER).len() >= 3;
    world.wire.until("all changes are told", is_told).await;
    let told = updates(&world.wire, PEER);
    assert!(told.iter().all(|told| told["user_id"] == ada.as_str() && told["device_id"] == "A"));
    assert_eq!(told[2]["deleted"], true, "{told:?}");
    let ids: Vec<u64> = told.iter().filter_map(|told| told["stream_id"].as_u64()).collect();
    assert_eq!(ids.len(), 3, "{told:?}");
    assert_eq!(told[0]["prev_id"], json!([]));
    assert_eq!(told[1]["prev_id"], json!([ids[0]]));
    assert_eq!(told[2]["prev_id"], json!([ids[1]]));
    let list = world.devices.device_list(ada).await.expect("reads");
    assert_eq!(list.stream_id, ids[2], "a fetched list goes on where the updates are");
}

#[tokio::test]
async fn keys_are_in_the_update() {
    let world = World::with_peer(hasty()).await;
    let ada = &world.ada;
    world.devices.ensure(ada, Some("A".into()), Some("phone")).await.expect("creates");
    upload(&world, ada, "A", "one").await;
    let has_keys = |wire: &Wire| updates(wire, PEER).iter().any(|told| told["keys"].is_object());
    world.wire.until("keys are told", has_keys).await;
    let told = updates(&world.wire, PEER).pop().expect("an update");
    assert_eq!(told["keys"], keys(ada, "A", "one"));
    assert_eq!(told["device_display_name"], "phone");
    assert_eq!(told["deleted"], false);
}

#[tokio::test]
async fn who_shares_no_room_is_told_nothing_until_they_do() {
    let world = World::with_peer(hasty()).await;
    let bob = world.locals(1).await.remove(0);
    // A room with another server that bob is not in.
    let room = super::world::new_room(&world.rooms, &world.ada).await;
    world.come_as(&super::world::user("olga", OTHER), &room, "join").await;
    world.devices.ensure(&bob, Some("B".into()), None).await.expect("creates");
    upload(&world, &bob, "B", "one").await;
    let has_keys = |wire: &Wire| updates(wire, PEER).iter().any(|told| told["keys"].is_object());
    world.wire.until("keys are told", has_keys).await;
    assert_eq!(updates(&world.wire, OTHER), [] as [Value; 0]);
    let told_peer = updates(&world.wire, PEER).len();
    world.join(&bob, &room).await;
    let is_told = |wire: &Wire| !updates(wire, OTHER).is_empty();
    world.wire.until("the other server is told", is_told).await;
    let told = updates(&world.wire, OTHER);
    assert_eq!(told[0]["user_id"], bob.as_str());
    assert_eq!(told[0]["prev_id"], json!([]), "so the whole list is fetched");
    assert_eq!(updates(&world.wire, PEER).len(), told_peer, "who shares a room already is not");
}
