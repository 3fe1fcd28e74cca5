//! `device_lists` and the counts of one-time keys: who is told of whose devices, and when.

use std::{collections::BTreeMap, time::Duration};

use devices::keys::{KeysClaim, KeysUpload};
use ruma::{CanonicalJsonValue, UserId, device_id};
use serde_json::{Value, json};

use crate::world::{Ask, World, change, is_empty, token_of};

fn list(answer: &Value, name: &str) -> Vec<String> {
    let users = answer["device_lists"][name].as_array();
    users.into_iter().flatten().map(|user| user.as_str().expect("an id").to_owned()).collect()
}

fn changed(answer: &Value) -> Vec<String> {
    list(answer, "changed")
}

impl World {
    async fn log_in(&self, user: &UserId, device: &str) {
        self.devices.ensure(user, Some(device.into()), None).await.expect("a device");
    }

    async fn upload_one_time_key(&self, user: &UserId, id: &str) {
        let key = CanonicalJsonValue::String("key".to_owned());
        let one_time_keys = BTreeMap::from([(id.to_owned(), key)]);
        let upload = KeysUpload { one_time_keys, ..KeysUpload::default() };
        self.devices.upload_keys(user, device_id!("PHONE"), upload).await.expect("uploaded");
    }
}

#[tokio::test]
async fn who_shares_a_room_is_told_of_devices_and_nobody_else() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let eve = world.user("eve").await;
    world.shared_room(&[&ada, &bob]).await;
    let (of_ada, of_bob) = (world.token(&ada).await, world.token(&bob).await);
    let of_eve = world.token(&eve).await;
    world.log_in(&ada, "LAPTOP").await;
    assert_eq!(changed(&world.next(&ada, &of_ada).await), ["@ada:x.test"], "one's own too");
    let told = world.next(&bob, &of_bob).await;
    assert_eq!(changed(&told), ["@ada:x.test"]);
    assert!(is_empty(&world.next(&eve, &of_eve).await));
    assert!(is_empty(&world.next(&bob, &token_of(&told)).await), "told once");
    // The same question has the same answer.
    assert_eq!(changed(&world.next(&bob, &of_bob).await), ["@ada:x.test"]);
    let deleted = world.devices.delete(&ada, device_id!("LAPTOP")).await;
    assert!(deleted.expect("deleted"));
    assert_eq!(changed(&world.next(&bob, &token_of(&told)).await), ["@ada:x.test"]);
    assert!(world.initial(&bob).await["device_lists"].is_null(), "a first sync has none");
}

#[tokio::test]
async fn a_users_own_devices_are_told_at_once_of_another() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let ask = Ask::waiting();
    let since = world.token(&ada).await;
    // Time passes only once everybody waits: what had to wait for others would take some. The store's
    // thread is nobody that tokio knows, so it is waited for where tokio sees it.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let (flushed, flush) = std::sync::mpsc::channel();
    let flushing = tokio::task::spawn_blocking(move || flush.recv());
    let log_in = async {
        world.log_in(&ada, "LAPTOP").await;
        flushed.send(()).expect("it waits");
    };
    let (told, ()) = tokio::join!(world.ask(&ada, Some(&since), &ask), log_in);
    flushing.await.expect("no panic").expect("the device is on disk");
    assert_eq!(changed(&told), ["@ada:x.test"]);
    assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
}

#[tokio::test]
async fn changes_while_nobody_listened_are_found_after_a_restart() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    world.shared_room(&[&ada, &bob]).await;
    let of_bob = world.token(&bob).await;
    world.tasks.shutdown().await;
    let world = World::on(world.store.clone()).await;
    world.log_in(&ada, "LAPTOP").await;
    world.log_in(&ada, "TABLET").await;
    let eve = world.user("eve").await;
    world.log_in(&eve, "LAPTOP").await;
    assert_eq!(changed(&world.next(&bob, &of_bob).await), ["@ada:x.test"]);
    let changes = world.sync.device_list_changes(&bob, &of_bob, None).await.expect("answered");
    assert_eq!(changes.changed.into_iter().collect::<Vec<_>>(), [ada]);
}

#[tokio::test]
async fn who_comes_into_sight_is_changed_and_who_goes_has_left() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let (first, second) = (world.shared_room(&[&ada]).await, world.shared_room(&[&ada]).await);
    let (of_ada, of_bob) = (world.token(&ada).await, world.token(&bob).await);
    world.join(&first, &bob).await;
    let told = world.next(&ada, &of_ada).await;
    assert_eq!(changed(&told), ["@bob:x.test"]);
    assert_eq!(changed(&world.next(&bob, &of_bob).await), ["@ada:x.test"]);
    world.join(&second, &bob).await;
    let (of_ada, of_bob) = (world.token(&ada).await, world.token(&bob).await);

    // While another room is shared, leaving one changes nothing.
    world.rooms.kick(change(&first, &ada, &bob)).await.expect("kicked");
    let (to_ada, to_bob) = (world.next(&ada, &of_ada).await, world.next(&bob, &of_bob).await);
    assert_eq!((list(&to_ada, "left"), list(&to_bob, "left")), (vec![], vec![]));
    world.rooms.kick(change(&second, &ada, &bob)).await.expect("kicked");
    let next = world.next(&ada, &token_of(&to_ada)).await;
    assert_eq!((changed(&next), list(&next, "left")), (vec![], vec!["@bob:x.test".to_owned()]));
    let next = world.next(&bob, &token_of(&to_bob)).await;
    assert_eq!((changed(&next), list(&next, "left")), (vec![], vec!["@ada:x.test".to_owned()]));
    // As does the whole way at once.
    let changes = world.sync.device_list_changes(&ada, &of_ada, None).await.expect("answered");
    assert_eq!(changes.left.into_iter().collect::<Vec<_>>(), [bob]);
}

/// What changed while the two did not see each other was told to nobody.
#[tokio::test]
async fn who_went_and_came_back_is_changed() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let room = world.shared_room(&[&ada, &bob]).await;
    let (of_ada, of_bob) = (world.token(&ada).await, world.token(&bob).await);
    world.rooms.leave(&room, &bob, None).await.expect("leaves");
    world.join(&room, &bob).await;
    // Not only if the return is the last of what happened.
    let content = json!({ "membership": "join", "displayname": "Bobby" });
    world.event(&room, &bob, "m.room.member", Some(bob.as_str()), &content).await;
    assert_eq!(changed(&world.next(&ada, &of_ada).await), ["@bob:x.test"]);
    assert_eq!(changed(&world.next(&bob, &of_bob).await), ["@ada:x.test"]);
    let changes = world.sync.device_list_changes(&bob, &of_bob, None).await.expect("answered");
    assert_eq!(changes.changed.into_iter().collect::<Vec<_>>(), [ada]);
}

/// Synapse tells of them too, and clients encrypt for them.
#[tokio::test]
async fn who_is_invited_is_changed() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let room = world.shared_room(&[&ada]).await;
    let (of_ada, of_bob) = (world.token(&ada).await, world.token(&bob).await);
    world.invite(&room, &ada, &bob).await;
    let told = world.next(&ada, &of_ada).await;
    assert_eq!(changed(&told), ["@bob:x.test"]);
    assert!(world.next(&bob, &of_bob).await["device_lists"].is_null());
    world.rooms.leave(&room, &bob, None).await.expect("rejects");
    assert!(changed(&world.next(&ada, &token_of(&told)).await).is_empty());
}

#[tokio::test]
async fn another_name_is_no_change_of_devices() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let room = world.shared_room(&[&ada, &bob]).await;
    let of_ada = world.token(&ada).await;
    let content = json!({ "membership": "join", "displayname": "Bobby" });
    world.event(&room, &bob, "m.room.member", Some(bob.as_str()), &content).await;
    world.say(&room, &bob, "hello").await;
    let told = world.next(&ada, &of_ada).await;
    assert!(told["device_lists"].is_null(), "{told}");
}

#[tokio::test]
async fn counts_are_in_every_answer_and_a_claim_is_told() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let counts = |answer: &Value| {
        let unused = answer["device_unused_fallback_key_types"].clone();
        (answer["device_one_time_keys_count"]["signed_curve25519"].clone(), unused)
    };
    let first = world.initial(&ada).await;
    assert_eq!(counts(&first), (json!(0), json!([])));
    world.upload_one_time_key(&ada, "signed_curve25519:1").await;
    world.upload_one_time_key(&ada, "signed_curve25519:2").await;
    let answer = world.next(&ada, &token_of(&first)).await;
    assert_eq!(counts(&answer), (json!(2), json!([])));
    let idle = world.next(&ada, &token_of(&answer)).await;
    assert!(is_empty(&idle));
    assert_eq!(counts(&idle), (json!(2), json!([])), "nothing happened, and it is still said");

    let since = token_of(&idle);
    let ask = Ask::waiting();
    let waiting = world.ask(&ada, Some(&since), &ask);
    let claim = async {
        let phone = BTreeMap::from([("PHONE".into(), "signed_curve25519".to_owned())]);
        let claim = KeysClaim::from([(ada.clone(), phone)]);
        world.devices.claim_local_keys(&claim).await.expect("claimed")
    };
    let both = async { tokio::join!(waiting, claim) };
    let (answer, claimed) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("the claim wakes");
    assert_eq!(claimed.len(), 1);
    assert_eq!(counts(&answer), (json!(1), json!([])));
}

#[tokio::test]
async fn a_connection_is_woken_by_a_change_of_devices() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    world.shared_room(&[&ada, &bob]).await;
    let mut connection =
        world.sync.connection(&bob, device_id!("PHONE"), world.params(None)).await.expect("opens");
    connection.next().await.expect("a first batch");
    let next = async {
        let batch = connection.next().await.expect("a batch");
        serde_json::from_slice::<Value>(&batch.body).expect("JSON")
    };
    let both = async { tokio::join!(next, world.log_in(&ada, "LAPTOP")) };
    let (batch, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("woken");
    assert_eq!(changed(&batch), ["@ada:x.test"]);
}
