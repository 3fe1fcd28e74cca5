//! Notices: each is believed of the users of the server that sends it, and of nobody else.

mod forms;
mod to_device;

use futures_util::{FutureExt as _, future::BoxFuture};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde_json::{Value, json};

use super::{event::Event, home::Home, peer::Peer, transactions::transaction};

/// Sends notices under an id that no other transaction has.
async fn notify(peer: &Peer, home: &Home, edus: &[Value]) {
    let path = format!("/_matrix/federation/v1/send/notice{}", peer.next_number());
    let answer = peer.put(home, &path, transaction(peer, &[], edus)).await.ok();
    assert_eq!(answer, json!({ "pdus": {} }));
}

fn edu(edu_type: &str, content: Value) -> Value {
    json!({ "edu_type": edu_type, "content": content })
}

/// A room of `home` with users of two other servers.
struct Scene {
    home: Home,
    peer: Peer,
    room: OwnedRoomId,
    /// An event of that room.
    event: OwnedEventId,
    ada: OwnedUserId,
    eve: OwnedUserId,
    /// Of a third server.
    olga: OwnedUserId,
}

async fn scene() -> Scene {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let other = Peer::start(&home, "other.test").await;
    let ada = home.user("ada").await;
    let room = home.room(&ada, "11").await;
    let eve = peer.join(&home, &room, "eve").await;
    let olga = other.join(&home, &room, "olga").await;
    let event = home.say(&ada, &room, "read me").await;
    Scene { home, peer, room, event, ada, eve, olga }
}

impl Scene {
    async fn notify(&self, edus: &[Value]) {
        notify(&self.peer, &self.home, edus).await;
    }

    fn typists(&self) -> Vec<OwnedUserId> {
        self.home.rooms.typing(&self.room).1
    }

    async fn readers(&self) -> Vec<OwnedUserId> {
        let receipts = self.home.rooms.receipts(&self.room).await.expect("reads");
        receipts.into_iter().map(|receipt| receipt.user_id).collect()
    }

    fn presence(&self, user: &UserId) -> Option<presence::UserPresence> {
        self.home.presence.get_cached(user)
    }

    /// What the user's device was sent: whole events.
    async fn messages(&self, user: &UserId) -> Vec<Value> {
        messages(&self.home, user, "DEVICE").await
    }

    fn typing(&self, user: &UserId) -> Value {
        let content = json!({ "room_id": self.room, "user_id": user, "typing": true });
        edu("m.typing", content)
    }

    fn receipt(&self, user: &UserId) -> Value {
        let receipt = json!({ "data": { "ts": 1 }, "event_ids": [self.event] });
        edu("m.receipt", json!({ &self.room: { "m.read": { user: receipt } } }))
    }

    fn message(&self, sender: &UserId, id: &str) -> Value {
        let content = json!({
            "sender": sender, "type": "m.test", "message_id": id,
            "messages": { &self.ada: { "DEVICE": { "id": id } } },
        });
        edu("m.direct_to_device", content)
    }
}

async fn messages(home: &Home, user: &UserId, device: &str) -> Vec<Value> {
    let up_to = home.store.log().position();
    let found = home.devices.to_device(user, device.into(), 0, up_to, 1000).await.expect("reads");
    found.iter().map(|(_, json)| serde_json::from_slice(json).expect("JSON")).collect()
}

fn presence_of(user: &UserId) -> Value {
    let push = json!([{ "user_id": user, "presence": "online", "last_active_ago": 5 }]);
    edu("m.presence", json!({ "push": push }))
}

/// A notice about a user, and whether anything of it is to be seen.
type Notice = (
    &'static str,
    fn(&Scene, &UserId) -> Value,
    for<'a> fn(&'a Scene, &'a UserId) -> BoxFuture<'a, bool>,
);

const NOTICES: [Notice; 4] = [
    (
        "typing",
        |scene, user| scene.typing(user),
        |scene, user| async move { scene.typists().iter().any(|typist| typist == user) }.boxed(),
    ),
    (
        "receipt",
        |scene, user| scene.receipt(user),
        |scene, user| {
            async move { scene.readers().await.iter().any(|reader| reader == user) }.boxed()
        },
    ),
    (
        "presence",
        |_, user| presence_of(user),
        |scene, user| async move { scene.presence(user).is_some() }.boxed(),
    ),
    (
        "to device",
        |scene, user| scene.message(user, user.as_str()),
        |scene, user| {
            async move {
                scene
                    .messages(&scene.ada)
                    .await
                    .iter()
                    .any(|message| message["sender"] == user.as_str())
            }
            .boxed()
        },
    ),
];

#[tokio::test]
async fn servers_speak_for_their_own_users_only() {
    let scene = scene().await;
    let upper = UserId::parse("@eve:EVIL.test").expect("a user id");
    let port = UserId::parse("@eve:evil.test:8448").expect("a user id");
    let below = UserId::parse("@eve:a.evil.test").expect("a user id");
    for (notice, make, is_seen) in NOTICES {
        for user in [&scene.ada, &scene.olga, &upper, &port, &below] {
            scene.notify(&[make(&scene, user)]).await;
            assert!(!is_seen(&scene, user).await, "{notice} of {user}");
        }
        // The same notice of a user of their own is believed, so it is not refused for its form.
        let good = make(&scene, &scene.eve);
        let bad = make(&scene, &scene.olga);
        scene.notify(&[bad.clone(), good, bad]).await;
        assert!(is_seen(&scene, &scene.eve).await, "{notice}");
        assert!(!is_seen(&scene, &scene.olga).await, "{notice}");
    }
}

#[tokio::test]
async fn only_who_is_in_the_room_types_and_reads_there() {
    let scene = scene().await;
    let Scene { home, peer, room, .. } = &scene;
    let nobody = peer.user("nobody");
    scene.notify(&[scene.typing(&nobody), scene.receipt(&nobody)]).await;
    assert!(scene.typists().is_empty());
    assert!(scene.readers().await.is_empty());
    scene.notify(&[scene.typing(&scene.eve)]).await;
    assert_eq!(scene.typists(), std::slice::from_ref(&scene.eve));
    let leave = Event::member(home, room, &scene.eve, "leave").await.signed_by(peer);
    peer.hand_in(home, "v2/send_leave", &leave).await.ok();
    assert!(scene.typists().is_empty(), "who leaves types no longer");
    scene.notify(&[scene.typing(&scene.eve), scene.receipt(&scene.eve)]).await;
    assert!(scene.typists().is_empty());
    assert!(scene.readers().await.is_empty());
}

#[tokio::test]
async fn typing_ends_when_its_server_says_so() {
    let scene = scene().await;
    scene.notify(&[scene.typing(&scene.eve)]).await;
    let mut stop = scene.typing(&scene.eve);
    stop["content"]["typing"] = false.into();
    scene.notify(&[stop]).await;
    assert!(scene.typists().is_empty());
}

#[tokio::test]
async fn a_server_that_the_list_denies_neither_types_nor_reads() {
    let scene = scene().await;
    let acl = json!({ "allow": ["*"], "deny": ["evil.test"] });
    scene.home.set(&scene.ada, &scene.room, "m.room.server_acl", acl).await;
    scene.notify(&[scene.typing(&scene.eve), scene.receipt(&scene.eve)]).await;
    assert!(scene.typists().is_empty());
    assert!(scene.readers().await.is_empty());
    // What is not about the room is not the list's business.
    scene.notify(&[scene.message(&scene.eve, "m")]).await;
    assert_eq!(scene.messages(&scene.ada).await.len(), 1);
}
