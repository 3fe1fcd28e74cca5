//! Devices on the memory engine: the list, and messages that arrive once and in order.

mod backup;
mod bounds;
mod keys;
mod remote_lists;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use devices::{DeviceError, Devices, SendToDevice, SendToDeviceError, ToDeviceMessages, stream};
use ruma::{
    DeviceId, OwnedDeviceId, OwnedUserId, UserId, device_id, to_device::DeviceIdOrAllDevices,
    user_id,
};
use serde_json::value::RawValue;
use stdx::{ManualClock, Rng, Tasks};
use storage::{Position, Store};

const START_MS: u64 = 1_700_000_000_000;

struct Server {
    devices: Devices,
    store: Store,
    clock: Arc<ManualClock>,
    tasks: Tasks,
}

impl Server {
    fn new() -> Self {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        let clock = ManualClock::new(START_MS);
        let tasks = Tasks::new();
        let devices = Devices::new(store.clone(), clock.clone(), Rng::from_seed(1), &tasks);
        Self { devices, store, clock, tasks }
    }

    /// As after a restart: everything in memory is gone.
    fn reopen(&mut self) {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        self.devices = Devices::new(store, clock, Rng::from_seed(2), &self.tasks);
    }

    async fn device(&self, user_id: &UserId, device_id: &str) {
        let device_id: OwnedDeviceId = device_id.into();
        self.devices.ensure(user_id, Some(&device_id), None).await.expect("created");
    }

    async fn send(&self, txn: &str, messages: &ToDeviceMessages) -> Result<(), SendToDeviceError> {
        let send = SendToDevice {
            sender: user_id!("@ada:example.org"),
            device_id: device_id!("SENDER"),
            event_type: "org.example.note",
            txn_id: txn.into(),
            messages,
        };
        self.devices.send_to_device(send).await
    }

    async fn inbox(&self, user_id: &UserId, device_id: &str) -> Vec<(Position, String)> {
        let device_id: OwnedDeviceId = device_id.into();
        let messages = self.devices.to_device(user_id, &device_id, 0, u64::MAX, 1000);
        let messages = messages.await.expect("read").into_iter();
        messages.map(|(at, json)| (at, String::from_utf8(json.to_vec()).expect("text"))).collect()
    }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn messages(all: &[(&UserId, &str, &str)]) -> ToDeviceMessages {
    let mut messages = ToDeviceMessages::new();
    for (user_id, device_id, content) in all {
        let target = DeviceIdOrAllDevices::try_from(*device_id).expect("not empty");
        let user_id: OwnedUserId = (*user_id).to_owned();
        messages.entry(user_id).or_default().insert(target, raw(content));
    }
    messages
}

#[tokio::test]
async fn devices_are_created_once_and_kept() {
    let mut server = Server::new();
    let ada = user_id!("@ada:example.org");
    let drawn = server.devices.ensure(ada, None, Some("Phone")).await.expect("created");
    assert!(drawn.as_str().bytes().all(|byte| byte.is_ascii_uppercase()), "{drawn}");
    assert_eq!(drawn.as_str().len(), 10);
    let again = server.devices.ensure(ada, Some(&drawn), Some("Other")).await.expect("there");
    assert_eq!(again, drawn);
    server.device(ada, "LAPTOP").await;
    server.reopen();
    let list = server.devices.list(ada).await.expect("read");
    let names: Vec<_> = list.iter().map(|device| device.display_name.as_deref()).collect();
    assert_eq!(list.len(), 2);
    assert!(names.contains(&Some("Phone")) && names.contains(&None));
    assert!(list.iter().all(|device| device.created_ts == START_MS));
    assert!(server.devices.list(user_id!("@bob:example.org")).await.expect("read").is_empty());
}

#[tokio::test]
async fn devices_are_renamed_and_deleted() {
    let server = Server::new();
    let ada = user_id!("@ada:example.org");
    server.device(ada, "PHONE").await;
    let phone = device_id!("PHONE");
    server.devices.rename(ada, phone, Some("My phone")).await.expect("renamed");
    let device = server.devices.get(ada, phone).await.expect("read").expect("there");
    assert_eq!(device.display_name.as_deref(), Some("My phone"));
    let missing = server.devices.rename(ada, device_id!("X"), None).await;
    assert!(matches!(missing, Err(DeviceError::NotFound)));
    assert!(server.devices.delete(ada, phone).await.expect("deleted"));
    assert!(!server.devices.delete(ada, phone).await.expect("gone"));
    assert_eq!(server.devices.get(ada, phone).await.expect("read"), None);

    let facts = server.store.facts(0, u64::MAX, 100).await.expect("read");
    let facts: Vec<_> = facts
        .iter()
        .filter(|logged| logged.fact.stream == stream::DEVICE_LIST)
        .map(|logged| {
            stream::DeviceListFact::decode(&logged.fact.payload).expect("decodes").deleted
        })
        .collect();
    assert_eq!(facts, [false, false, true]);
}

#[tokio::test]
async fn odd_names_are_refused() {
    let server = Server::new();
    let ada = user_id!("@ada:example.org");
    let long = "x".repeat(256);
    for id in ["", "*", "a\nb", &long] {
        let refused = server.devices.ensure(ada, Some(<&DeviceId>::from(id)), None).await;
        assert!(matches!(refused, Err(DeviceError::Invalid(_))), "{id:?}");
    }
    let name = "x".repeat(101);
    let refused = server.devices.ensure(ada, None, Some(&name)).await;
    assert!(matches!(refused, Err(DeviceError::Invalid(_))));
    assert!(server.devices.list(ada).await.expect("read").is_empty());
}

#[tokio::test]
async fn last_seen_is_shown_at_once_and_written_later() {
    let mut server = Server::new();
    let ada = user_id!("@ada:example.org");
    server.device(ada, "PHONE").await;
    let (phone, ip) = (device_id!("PHONE"), IpAddr::from([192, 0, 2, 7]));
    server.clock.advance(5000);
    let before = server.store.log().position();
    server.devices.seen(ada, phone, Some(ip), Some("phone/1"));
    server.devices.seen(ada, phone, None, None);
    server.devices.seen(ada, device_id!("NOT_ONE"), Some(ip), None);
    let device = server.devices.get(ada, phone).await.expect("read").expect("there");
    assert_eq!((device.last_seen_ts, device.last_seen_ip), (Some(START_MS + 5000), Some(ip)));
    assert_eq!(device.last_seen_user_agent.as_deref(), Some("phone/1"));
    server.devices.flush_seen().await.expect("written");
    assert_eq!(server.store.log().position(), before, "being seen is no news for others");
    server.reopen();
    let list = server.devices.list(ada).await.expect("read");
    assert_eq!(list, [device]);
}

#[tokio::test]
async fn messages_reach_their_devices_in_order() {
    let mut server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    for (user_id, device_id) in [(ada, "A"), (bob, "B1"), (bob, "B2")] {
        server.device(user_id, device_id).await;
    }
    server.send("1", &messages(&[(bob, "*", r#"{"n":1}"#)])).await.expect("sent");
    let second = messages(&[
        (bob, "B1", r#"{"n":2}"#),
        (ada, "A", r#"{"n":3}"#),
        (bob, "NOT_ONE", r#"{"n":4}"#),
        (user_id!("@x:other.org"), "*", r#"{"n":5}"#),
    ]);
    server.send("2", &second).await.expect("sent");
    server.reopen();
    let event = |content: &str| {
        format!(r#"{{"type":"org.example.note","sender":"@ada:example.org","content":{content}}}"#)
    };
    let contents = async |user_id, device_id| {
        let inbox = server.inbox(user_id, device_id).await;
        assert!(inbox.is_sorted());
        inbox.into_iter().map(|(_, json)| json).collect::<Vec<_>>()
    };
    assert_eq!(contents(bob, "B1").await, [event(r#"{"n":1}"#), event(r#"{"n":2}"#)]);
    assert_eq!(contents(bob, "B2").await, [event(r#"{"n":1}"#)]);
    assert_eq!(contents(ada, "A").await, [event(r#"{"n":3}"#)]);
    assert!(contents(bob, "NOT_ONE").await.is_empty());

    // One fact for each device that has something, at the position of its message.
    let facts = server.store.facts(0, u64::MAX, 100).await.expect("read");
    for logged in facts.iter().filter(|logged| logged.fact.stream == stream::TO_DEVICE) {
        let user_id = UserId::parse(&*logged.fact.subject).expect("a user id");
        let fact = stream::ToDeviceFact::decode(&logged.fact.payload).expect("decodes");
        let inbox = server.inbox(&user_id, fact.device_id.as_str()).await;
        assert!(inbox.iter().any(|(position, _)| *position == logged.position));
    }
}

#[tokio::test]
async fn what_was_received_is_deleted_and_no_more() {
    let server = Server::new();
    let bob = user_id!("@bob:example.org");
    server.device(bob, "B").await;
    server.device(bob, "BB").await;
    for n in 0..2500 {
        let to = messages(&[(bob, "*", &format!(r#"{{"n":{n}}}"#))]);
        server.send(&n.to_string(), &to).await.expect("sent");
    }
    let b = device_id!("B");
    let page = server.devices.to_device(bob, b, 0, u64::MAX, 100).await.expect("read");
    assert_eq!(page.len(), 100);
    let (received, _) = page[99].clone();
    let next = server.devices.to_device(bob, b, received, u64::MAX, 1).await.expect("read");
    assert!(next[0].1.ends_with(br#"{"n":100}}"#));
    let between = server.devices.to_device(bob, b, page[10].0, page[20].0, 100).await;
    assert_eq!(between.expect("read").len(), 10);

    server.devices.delete_to_device(bob, b, received).await.expect("deleted");
    server.store.barrier().wait().await.expect("written");
    let left = server.devices.to_device(bob, b, 0, u64::MAX, 5000).await.expect("read");
    assert_eq!((left.len(), left[0].0), (2400, next[0].0));
    // More than one batch of deletions.
    server.devices.delete_to_device(bob, b, u64::MAX).await.expect("deleted");
    server.store.barrier().wait().await.expect("written");
    assert!(server.inbox(bob, "B").await.is_empty());
    let other = server.devices.to_device(bob, device_id!("BB"), 0, u64::MAX, 5000).await;
    assert_eq!(other.expect("read").len(), 2500, "another device has its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repeated_transaction_changes_nothing() {
    let mut server = Server::new();
    let bob = user_id!("@bob:example.org");
    server.device(bob, "B").await;
    for round in 0..20 {
        let mut set = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let devices = server.devices.clone();
            set.spawn(async move {
                let messages = messages(&[(bob, "B", &format!(r#"{{"round":{round}}}"#))]);
                let send = SendToDevice {
                    sender: user_id!("@ada:example.org"),
                    device_id: device_id!("SENDER"),
                    event_type: "org.example.note",
                    txn_id: "same".into(),
                    messages: &messages,
                };
                devices.send_to_device(send).await.expect("accepted");
                // Whoever is answered finds the message delivered.
                let inbox = devices.to_device(bob, device_id!("B"), 0, u64::MAX, 10).await;
                assert_eq!(inbox.expect("read").len(), 1);
            });
        }
        set.join_all().await;
        server.reopen();
    }
    assert_eq!(server.inbox(bob, "B").await.len(), 1);

    // The same id of another device, or for another type, is another transaction.
    let to = messages(&[(bob, "B", "{}")]);
    let same = SendToDevice {
        sender: user_id!("@ada:example.org"),
        device_id: device_id!("OTHER"),
        event_type: "org.example.note",
        txn_id: "same".into(),
        messages: &to,
    };
    server.devices.send_to_device(same).await.expect("sent");
    let same = SendToDevice { event_type: "org.example.other", ..same };
    server.devices.send_to_device(same).await.expect("sent");
    assert_eq!(server.inbox(bob, "B").await.len(), 3);
}

#[tokio::test]
async fn a_new_device_does_not_read_the_mail_of_an_old_one() {
    let server = Server::new();
    let bob = user_id!("@bob:example.org");
    server.device(bob, "B").await;
    server.send("1", &messages(&[(bob, "B", "{}")])).await.expect("sent");
    assert_eq!(server.inbox(bob, "B").await.len(), 1);
    assert!(server.devices.delete(bob, device_id!("B")).await.expect("deleted"));
    server.store.barrier().wait().await.expect("written");
    assert!(server.inbox(bob, "B").await.is_empty());
    server.device(bob, "B").await;
    assert!(server.inbox(bob, "B").await.is_empty());
    server.send("2", &messages(&[(bob, "B", "{}")])).await.expect("sent");
    assert_eq!(server.inbox(bob, "B").await.len(), 1);
}

#[tokio::test]
async fn too_much_is_refused_whole() {
    let server = Server::new();
    let bob = user_id!("@bob:example.org");
    server.device(bob, "A").await;
    server.device(bob, "B").await;
    let large = format!("{{\"x\":{:?}}}", "x".repeat(65_536));
    let refused = server.send("1", &messages(&[(bob, "A", "{}"), (bob, "B", &large)])).await;
    assert!(matches!(refused, Err(SendToDeviceError::TooLarge)));
    let refused = server.send("2", &messages(&[(bob, "A", "{}"), (bob, "B", "[]")])).await;
    assert!(matches!(refused, Err(SendToDeviceError::NotAnObject)));
    assert!(server.inbox(bob, "A").await.is_empty());
    // The transaction ids of refused requests are not used up.
    server.send("1", &messages(&[(bob, "A", "{}")])).await.expect("sent");
    assert_eq!(server.inbox(bob, "A").await.len(), 1);
}

#[tokio::test]
async fn messages_for_other_servers_are_handed_on_once() {
    let server = Server::new();
    let away = user_id!("@bo:away.test");
    server.device(user_id!("@bob:example.org"), "PHONE").await;
    let content: Box<RawValue> = RawValue::from_string(r#"{"n":1.0}"#.to_owned()).expect("JSON");
    let to_all = BTreeMap::from([(DeviceIdOrAllDevices::AllDevices, content)]);
    let messages = ToDeviceMessages::from([
        (away.to_owned(), to_all.clone()),
        (user_id!("@bob:example.org").to_owned(), to_all),
    ]);
    let before = server.store.log().position();
    server.send("t1", &messages).await.expect("accepted");
    server.send("t1", &messages).await.expect("accepted");

    assert_eq!(server.inbox(user_id!("@bob:example.org"), "PHONE").await.len(), 1);
    let facts = server.store.facts(before, u64::MAX, 100).await.expect("read");
    let elsewhere: Vec<_> =
        facts.iter().filter(|fact| fact.fact.stream == stream::TO_DEVICE_ELSEWHERE).collect();
    let [only] = elsewhere.as_slice() else { panic!("{elsewhere:?}") };
    assert_eq!(&*only.fact.subject, "away.test");
    let edu = str::from_utf8(&only.fact.payload).expect("text");
    assert!(edu.contains(r#""messages":{"@bo:away.test":{"*":{"n":1.0}}}"#), "{edu}");
}
