//! Devices of other servers' users: followed while a room is shared, believed of their own server
//! only, and fetched again where an update is missing. And those of this server's, for others.

use std::time::Duration;

use devices::keys::{KeysAnswer, KeysQuery, KeysUpload, SignedJson};
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde_json::{Value, json};

use super::{home::Home, peer::Peer, transactions::transaction};

const TIME: Duration = Duration::from_secs(10);

/// Keys that are well-formed, told apart by `mark`.
fn keys(user: &UserId, device: &str, mark: &str) -> Value {
    json!({
        "user_id": user,
        "device_id": device,
        "algorithms": ["m.test"],
        "keys": { format!("test:{device}"): mark },
        "signatures": {},
    })
}

fn devices_path(user: &UserId) -> String {
    format!("/_matrix/federation/v1/user/devices/{}", super::event::segment(user.as_str()))
}

/// A room of `home` that users of two other servers are in.
struct Scene {
    home: Home,
    peer: Peer,
    other: Peer,
    room: OwnedRoomId,
    ada: OwnedUserId,
    eve: OwnedUserId,
}

impl Scene {
    async fn new() -> Self {
        let home = Home::start().await;
        let peer = Peer::start(&home, "evil.test").await;
        let other = Peer::start(&home, "other.test").await;
        let ada = home.user("ada").await;
        let room = home.room(&ada, "11").await;
        let eve = peer.join(&home, &room, "eve").await;
        Self { home, peer, other, room, ada, eve }
    }

    /// What eve's server says of her devices from now on.
    fn has(&self, stream_id: u64, devices: &[(&str, &str)]) {
        let device = |(id, mark): &(&str, &str)| json!({ "device_id": id, "keys": keys(&self.eve, id, mark) });
        let devices: Vec<Value> = devices.iter().map(device).collect();
        let list = json!({ "user_id": self.eve, "stream_id": stream_id, "devices": devices });
        self.peer.says(&devices_path(&self.eve), list);
    }

    async fn query(&self) -> KeysAnswer {
        let query = KeysQuery::from([(self.eve.clone(), Vec::new())]);
        self.home.devices.query_keys(&self.ada, query, TIME).await.expect("reads")
    }

    /// Eve's devices and their marks.
    async fn seen(&self) -> Vec<(String, String)> {
        let answer = self.query().await;
        let devices = answer.device_keys.get(&self.eve).cloned().unwrap_or_default();
        let mark = |(id, keys): (ruma::OwnedDeviceId, SignedJson)| {
            let keys = serde_json::to_value(keys).expect("JSON");
            let mark = keys["keys"][format!("test:{id}")].as_str().unwrap_or_default().to_owned();
            (id.to_string(), mark)
        };
        devices.into_iter().map(mark).collect()
    }

    /// Until eve's devices are seen like that.
    async fn until(&self, devices: &[(&str, &str)]) {
        let wanted: Vec<_> =
            devices.iter().map(|(id, mark)| ((*id).to_owned(), (*mark).to_owned())).collect();
        let mut follower = self.home.store.follow(0);
        let wait = async {
            while self.seen().await != wanted {
                drop(follower.next().await.expect("reads"));
            }
        };
        tokio::time::timeout(TIME, wait).await.expect("the devices are seen in time");
    }

    async fn update(&self, from: &Peer, content: Value) {
        let edu = json!({ "edu_type": "m.device_list_update", "content": content });
        let path = format!("/_matrix/federation/v1/send/list{}", from.next_number());
        from.put(&self.home, &path, transaction(from, &[], &[edu])).await.ok();
    }

    fn change(&self, device: &str, mark: &str, stream_id: u64, prev_id: &[u64]) -> Value {
        json!({
            "user_id": self.eve, "device_id": device, "stream_id": stream_id, "prev_id": prev_id,
            "keys": keys(&self.eve, device, mark),
        })
    }

    fn fetched(&self) -> usize {
        self.peer.asked(&devices_path(&self.eve))
    }
}

#[tokio::test]
async fn a_list_is_fetched_once_and_kept_up_to_date_by_updates() {
    let scene = Scene::new().await;
    scene.has(5, &[("A", "one")]);
    assert_eq!(scene.seen().await, [("A".to_owned(), "one".to_owned())]);
    scene.update(&scene.peer, scene.change("A", "two", 6, &[5])).await;
    scene.update(&scene.peer, scene.change("B", "one", 7, &[6])).await;
    scene.until(&[("A", "two"), ("B", "one")]).await;
    let gone = json!({
        "user_id": scene.eve, "device_id": "A", "stream_id": 9, "prev_id": [7], "deleted": true,
    });
    scene.update(&scene.peer, gone).await;
    scene.until(&[("B", "one")]).await;
    assert_eq!(scene.fetched(), 1);
}

#[tokio::test]
async fn nobody_speaks_of_the_devices_of_others() {
    let scene = Scene::new().await;
    scene.has(5, &[("A", "one")]);
    scene.seen().await;
    scene.update(&scene.other, scene.change("A", "forged", 6, &[5])).await;
    scene.update(&scene.other, json!({ "user_id": scene.eve })).await;
    assert_eq!(scene.seen().await, [("A".to_owned(), "one".to_owned())]);
    let list = scene.home.devices.remote_list(&scene.eve).await.expect("reads").expect("followed");
    assert!(!list.outdated);
    assert_eq!((list.stream_id, scene.fetched()), (5, 1));
}

#[tokio::test]
async fn a_missing_update_is_made_up_for_by_the_whole_list() {
    let scene = Scene::new().await;
    scene.has(5, &[("A", "one")]);
    scene.seen().await;
    scene.has(8, &[("A", "one"), ("B", "one"), ("C", "one")]);
    scene.update(&scene.peer, scene.change("C", "one", 8, &[7])).await;
    scene.until(&[("A", "one"), ("B", "one"), ("C", "one")]).await;
    // What cannot be read says that there is something to read.
    scene.has(9, &[("C", "two")]);
    let broken = json!({ "user_id": scene.eve, "device_id": "C", "stream_id": 9, "keys": 0.5 });
    scene.update(&scene.peer, broken).await;
    scene.until(&[("C", "two")]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named_and_asked_again_when_it_is_back() {
    let scene = Scene::new().await;
    scene.has(5, &[("A", "one")]);
    scene.peer.set_down(true);
    let answer = scene.query().await;
    assert!(answer.failures.contains_key(scene.eve.server_name()), "{answer:?}");
    let asked = scene.fetched();
    let answer = scene.query().await;
    assert!(answer.failures.contains_key(scene.eve.server_name()), "{answer:?}");
    assert_eq!(scene.fetched(), asked, "a moment later it is not asked");
    scene.peer.set_down(false);
    // It makes contact.
    scene.update(&scene.peer, scene.change("A", "one", 5, &[])).await;
    scene.until(&[("A", "one")]).await;
}

#[tokio::test]
async fn a_list_is_forgotten_with_the_last_shared_room() {
    let scene = Scene::new().await;
    scene.has(5, &[("A", "one")]);
    scene.seen().await;
    let second = scene.home.room(&scene.ada, "11").await;
    scene.peer.join(&scene.home, &second, "eve").await;
    let lists = &scene.home.devices;
    for (room, is_followed) in [(&second, true), (&scene.room, false)] {
        scene.peer.leave(&scene.home, room, "eve").await;
        // A message of ours is behind it in the log, and what follows the log has seen both.
        let follows = async || lists.remote_list(&scene.eve).await.expect("reads").is_some();
        if is_followed {
            assert!(follows().await, "another room is shared");
        } else {
            let wait = async {
                while follows().await {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(TIME, wait).await.expect("it is forgotten");
        }
    }
    scene.update(&scene.peer, scene.change("A", "two", 6, &[5])).await;
    assert_eq!(lists.remote_list(&scene.eve).await.expect("reads"), None);
}

#[tokio::test]
async fn lists_that_are_too_long_and_keys_of_others_are_not_believed() {
    let scene = Scene::new().await;
    let many: Vec<String> = (0..10_001).map(|number| format!("D{number}")).collect();
    let many: Vec<_> = many.iter().map(|id| (id.as_str(), "x")).collect();
    scene.has(5, &many);
    let answer = scene.query().await;
    assert_eq!(answer.device_keys.get(&scene.eve).map_or(0, |devices| devices.len()), 0);
    let list = json!({ "user_id": scene.eve, "stream_id": 6, "devices": [
        { "device_id": "A", "keys": keys(&scene.ada, "A", "of another user") },
        { "device_id": "B", "keys": keys(&scene.eve, "C", "of another device") },
        { "device_id": "C", "keys": { "user_id": 0.5 } },
        { "device_id": "D", "keys": keys(&scene.eve, "D", "one") },
    ] });
    scene.peer.says(&devices_path(&scene.eve), list);
    assert_eq!(scene.seen().await, [("D".to_owned(), "one".to_owned())]);
    let long = "x".repeat(300);
    scene.update(&scene.peer, scene.change(&long, "one", 7, &[6])).await;
    assert_eq!(scene.seen().await, [("D".to_owned(), "one".to_owned())]);
}

#[tokio::test]
async fn keys_of_ours_are_told_and_each_one_time_key_is_given_once() {
    let scene = Scene::new().await;
    let Scene { home, peer, ada, .. } = &scene;
    let upload = json!({ "t:1": { "key": "first" }, "t:2": { "key": "second" } });
    let upload = KeysUpload {
        device_keys: serde_json::from_value(keys(ada, "DEVICE", "mine")).expect("JSON"),
        one_time_keys: serde_json::from_value(upload).expect("JSON"),
        ..KeysUpload::default()
    };
    home.devices.upload_keys(ada, "DEVICE".into(), upload).await.expect("uploads");
    let base = "/_matrix/federation/v1/user/keys";
    let query = async |body: Value| peer.post(home, &format!("{base}/query"), &body).await;
    let claim = async |body: Value| peer.post(home, &format!("{base}/claim"), &body).await;
    let told = query(json!({ "device_keys": { ada: [] } })).await.ok();
    assert_eq!(told["device_keys"][ada.as_str()]["DEVICE"]["keys"]["test:DEVICE"], "mine");
    let list = peer.get(home, &devices_path(ada)).await.ok();
    assert_eq!(list["devices"][0]["keys"]["keys"]["test:DEVICE"], "mine");
    let mut given = Vec::new();
    for _ in 0..3 {
        let told = claim(json!({ "one_time_keys": { ada: { "DEVICE": "t" } } })).await.ok();
        let keys =
            told["one_time_keys"][ada.as_str()]["DEVICE"].as_object().cloned().unwrap_or_default();
        given.extend(keys.into_iter().map(|(_, key)| key["key"].clone()));
    }
    given.sort_by_key(|key| key.to_string());
    assert_eq!(given, [json!("first"), json!("second")]);
    for eve in [json!({ &scene.eve: [] }), json!({ ada: [], &scene.eve: [] })] {
        let answer = query(json!({ "device_keys": eve })).await;
        answer.refused("not of this server", 400, "M_INVALID_PARAM");
    }
    let theirs = json!({ "one_time_keys": { &scene.eve: { "A": "t" } } });
    claim(theirs).await.refused("not of this server", 400, "M_INVALID_PARAM");
    let many: Vec<String> = (0..10_001).map(|number| number.to_string()).collect();
    let many = json!({ "device_keys": { ada: many } });
    query(many).await.refused("too many", 413, "M_TOO_LARGE");
    query(json!({})).await.refused("nothing", 400, "M_BAD_JSON");
    claim(json!({})).await.refused("nothing", 400, "M_BAD_JSON");
}
