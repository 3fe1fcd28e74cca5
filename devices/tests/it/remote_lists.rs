//! The devices of other servers' users: followed, replaced, bounded.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use devices::keys::{
    ClaimedKeys, DEVICES_MAX, DeviceList, DeviceListUpdate, DeviceWithKeys, Failures, KeysAnswer,
    KeysClaim, KeysQuery, RemoteFuture, RemoteKeys, SigningKeys, UpdateOutcome,
};
use ruma::{UserId, user_id};
use storage::{Batch, Table};

use crate::{Server, keys::device_keys};

fn update(user: &UserId, stream_id: u64, prev_id: &[u64], device: &str) -> DeviceListUpdate {
    DeviceListUpdate {
        user_id: user.to_owned(),
        device_id: device.into(),
        stream_id,
        prev_id: prev_id.to_vec(),
        deleted: false,
        display_name: None,
        keys: Some(device_keys(user, device, 7)),
    }
}

/// A peer that answers what it was given.
struct Peer(KeysAnswer);

impl RemoteKeys for Peer {
    fn query<'a>(&'a self, _: &'a KeysQuery, _: Duration) -> RemoteFuture<'a, KeysAnswer> {
        Box::pin(async { self.0.clone() })
    }

    fn claim<'a>(
        &'a self,
        _: &'a KeysClaim,
        _: Duration,
    ) -> RemoteFuture<'a, (ClaimedKeys, Failures)> {
        Box::pin(async { Default::default() })
    }
}

#[tokio::test]
async fn a_followed_list_is_used_until_an_update_is_missing() {
    let server = Server::new();
    let (ada, bo) = (user_id!("@ada:example.org"), user_id!("@bo:away.test"));
    let alien = user_id!("@alien:else.test");
    let told = |user: &UserId, device: &str| {
        (user.to_owned(), BTreeMap::from([(device.into(), device_keys(user, device, 8))]))
    };
    // It also tells what it was not asked for.
    let device_keys = BTreeMap::from([told(bo, "ASKED"), told(alien, "ALIEN")]);
    let peer = Peer(KeysAnswer { device_keys, ..KeysAnswer::default() });
    let isolated = server.keys_of(ada, bo).await;
    assert!(isolated.failures.contains_key(bo.server_name()), "nobody asks");
    server.devices.set_remote_keys(Arc::new(peer));
    let devices_of_bo = async || {
        let answer = server.keys_of(ada, bo).await;
        assert!(!answer.device_keys.contains_key(alien));
        let devices = answer.device_keys.get(bo).cloned().unwrap_or_default();
        devices.into_keys().map(|id| id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(devices_of_bo().await, ["ASKED"]);
    let outcome = server.devices.update_remote_device(update(bo, 4, &[3], "B")).await;
    assert_eq!(outcome.expect("answered"), UpdateOutcome::NotFollowed);

    let device = |id: &str| DeviceWithKeys {
        device_id: id.into(),
        display_name: None,
        keys: Some(crate::keys::device_keys(bo, id, 7)),
    };
    let list = |stream_id, ids: &[&str]| DeviceList {
        user_id: bo.to_owned(),
        stream_id,
        devices: ids.iter().map(|id| device(id)).collect(),
        signing_keys: SigningKeys::default(),
    };
    server.devices.keep_remote_list(list(5, &["A"])).await.expect("kept");
    assert_eq!(devices_of_bo().await, ["A"]);
    let before = server.store.log().position();
    let cases = [
        (update(bo, 5, &[4], "OLD"), UpdateOutcome::Known),
        (update(bo, 6, &[5], "B"), UpdateOutcome::Applied),
        (update(bo, 9, &[8], "C"), UpdateOutcome::Gap),
        (update(bo, 10, &[9], "D"), UpdateOutcome::Gap),
    ];
    for (update, expected) in cases {
        let outcome = server.devices.update_remote_device(update).await.expect("answered");
        assert_eq!(outcome, expected);
        if expected == UpdateOutcome::Applied {
            assert_eq!(devices_of_bo().await, ["A", "B"]);
        }
    }
    assert_eq!(server.changed_since(before).await, [bo]);
    assert_eq!(server.devices.outdated_remote_lists(None, 9).await.expect("read"), [bo]);
    assert_eq!(devices_of_bo().await, ["ASKED"], "an outdated list is not used");
    server.devices.keep_remote_list(list(10, &["A", "D"])).await.expect("kept");
    assert_eq!(devices_of_bo().await, ["A", "D"]);
    assert!(server.devices.outdated_remote_lists(None, 9).await.expect("read").is_empty());

    // What is fetched again and is the same is no news.
    let before = server.store.log().position();
    server.devices.keep_remote_list(list(11, &["A", "D"])).await.expect("kept");
    assert!(server.changed_since(before).await.is_empty());
    server.devices.forget_remote_list(bo).await.expect("forgotten");
    assert_eq!(devices_of_bo().await, ["ASKED"]);
}

/// Rows that nobody reads, for a disk that is busy.
struct Ballast;

impl Table for Ballast {
    const NAME: &'static str = "ballast_of_a_test";
    type Partition = u64;
    type Sort = u64;
    type Value = Bytes;
}

fn ballast(partition: u64) -> Batch {
    let mut batch = Batch::new();
    for row in 0..20_000 {
        batch.put::<Ballast>(partition, row, &Bytes::from_static(b"ballast"));
    }
    batch
}

/// A list is replaced as a whole, with what is still on its way to the disk.
#[tokio::test]
async fn a_list_that_is_replaced_holds_nothing_of_what_came_just_before() {
    let (server, bo) = (Server::new(), user_id!("@bo:away.test"));
    let devices = &server.devices;
    // Without keys, so that nothing is verified while the disk is quick.
    let device = DeviceWithKeys { device_id: "A".into(), display_name: None, keys: None };
    let list = |stream_id| DeviceList {
        user_id: bo.to_owned(),
        stream_id,
        devices: vec![device.clone()],
        signing_keys: SigningKeys::default(),
    };
    devices.keep_remote_list(list(1)).await.expect("kept");
    for stream_id in (2..11).step_by(3) {
        let first = update(bo, stream_id, &[stream_id - 1], "B");
        let second = update(bo, stream_id + 1, &[stream_id], "C");
        let _later = server.store.submit(ballast(stream_id)).expect("there is room");
        let (first, second, kept) = tokio::join!(
            devices.update_remote_device(first),
            devices.update_remote_device(second),
            devices.keep_remote_list(list(stream_id + 2)),
        );
        assert_eq!(first.expect("answered"), UpdateOutcome::Applied);
        assert_eq!(second.expect("answered"), UpdateOutcome::Applied);
        kept.expect("kept");
        let answer = server.keys_of(user_id!("@ada:example.org"), bo).await;
        let known: Vec<_> =
            answer.device_keys.get(bo).iter().flat_map(|keys| keys.keys()).collect();
        assert!(known.is_empty(), "stream id {stream_id}: {known:?}");
    }
}

#[tokio::test]
async fn a_list_does_not_grow_without_end_one_device_at_a_time() {
    let (server, bo) = (Server::new(), user_id!("@bo:other.test"));
    let device = |number: usize| DeviceWithKeys {
        device_id: format!("D{number}").into(),
        display_name: None,
        keys: None,
    };
    let list = DeviceList {
        user_id: bo.to_owned(),
        stream_id: 5,
        devices: (0..DEVICES_MAX - 1).map(device).collect(),
        signing_keys: SigningKeys::default(),
    };
    server.devices.keep_remote_list(list).await.expect("kept");
    let gone = DeviceListUpdate { deleted: true, ..update(bo, 7, &[6], "A") };
    let cases = [
        (update(bo, 6, &[5], "A"), UpdateOutcome::Applied),
        (gone, UpdateOutcome::Applied),
        (update(bo, 8, &[7], "B"), UpdateOutcome::Applied),
        (update(bo, 9, &[8], "C"), UpdateOutcome::Gap),
    ];
    for (update, expected) in cases {
        let device = update.device_id.clone();
        let outcome = server.devices.update_remote_device(update).await.expect("answered");
        assert_eq!(outcome, expected, "{device}");
    }
}
