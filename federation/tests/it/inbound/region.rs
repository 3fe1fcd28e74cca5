//! A whole region: everything that stands behind the server-server API, and a way to others.

use std::sync::Arc;

use accounts::{Accounts, NewUser};
use axum::{Router, body::Body};
use devices::Devices;
use http::Request;
use http_body_util::BodyExt as _;
use presence::Presence;
use rooms::{NewEvent, Preset, RoomView, Rooms};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};
use serde_json::{Value, json, value::to_raw_value};
use storage::Store;
use tower::ServiceExt as _;

use super::{Seen, create_room, join_request};
use crate::{
    net::{Net, Peer, name},
    server_api::home::Home,
};

pub(crate) struct Region {
    pub(crate) name: OwnedServerName,
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) devices: Devices,
    pub(crate) presence: Presence,
    router: Router,
    _listener: Peer,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Null if it is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn errcode(&self) -> &str {
        self.body["errcode"].as_str().unwrap_or_default()
    }

    /// It is not there, or not for them.
    #[track_caller]
    pub(crate) fn refused(&self, case: &str) {
        assert!((400..500).contains(&self.status), "{case}: {self:?}");
        assert!(!self.errcode().is_empty(), "{case}: {self:?}");
    }

    #[track_caller]
    pub(crate) fn ok(self, case: &str) -> Value {
        assert_eq!(self.status, 200, "{case}: {}", self.body);
        self.body
    }
}

impl Region {
    /// `server` has a port, so nobody has to ask where it is.
    pub(crate) async fn start(net: &Arc<Net>, server: &str) -> Self {
        Self::configured(net, server, rooms::Config::default()).await
    }

    pub(crate) async fn configured(net: &Arc<Net>, server: &str, of_rooms: rooms::Config) -> Self {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        let Home { store, rooms, accounts, devices, presence, router, .. } =
            Home::configured(server, store, Arc::clone(net), of_rooms).await;
        let name = name(server);
        let (host, port) = (name.host().to_owned(), name.port().expect("a port"));
        let listener = Peer::serving(net.authority.issue(&[&host]), router.clone()).await;
        net.names.lead(&host, port, listener.address);
        Self { name, store, rooms, accounts, devices, presence, router, _listener: listener }
    }

    /// As it would come over the wire.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    /// With the device `D`.
    pub(crate) async fn user(&self, localpart: &str) -> OwnedUserId {
        let new = NewUser { localpart: Some(localpart), ..NewUser::default() };
        self.accounts.register(new).await.expect("registers");
        let user = UserId::parse(format!("@{localpart}:{}", self.name)).expect("a user id");
        self.devices.ensure(&user, Some("D".into()), None).await.expect("a device");
        user
    }

    pub(crate) async fn room(&self, ada: &UserId, version: &str, preset: Preset) -> OwnedRoomId {
        self.rooms.create(create_room(ada, version, preset)).await.expect("creates")
    }

    pub(crate) async fn join(&self, user: &UserId, room: &RoomId, via: &Self) {
        let via = vec![via.name.clone()];
        let request = rooms::JoinRequest { via, ..join_request(user, room) };
        self.rooms.join(request).await.expect("joins");
    }

    pub(crate) async fn say(&self, user: &UserId, room: &RoomId, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.send(user, room, "m.room.message", None, content).await
    }

    pub(crate) async fn send(
        &self,
        user: &UserId,
        room: &RoomId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> OwnedEventId {
        self.try_send(user, room, event_type, state_key, content).await.expect("sends")
    }

    pub(crate) async fn try_send(
        &self,
        user: &UserId,
        room: &RoomId,
        event_type: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Result<OwnedEventId, rooms::Error> {
        let content = to_raw_value(&content).expect("JSON");
        let event = NewEvent {
            room_id: room,
            sender: user,
            event_type,
            state_key,
            content: &content,
            txn: None,
            timestamp: None,
        };
        self.rooms.send(event).await
    }

    pub(crate) async fn view(&self, room: &RoomId) -> Arc<RoomView> {
        self.rooms.room(room).await.expect("reads").expect("the room exists")
    }

    pub(crate) async fn seen(&self, room: &RoomId, _viewer: &UserId) -> Seen {
        let root = self.view(room).await.state;
        let state = self.rooms.state_iter(root).await.expect("reads");
        let up_to = self.store.log().position();
        let events = self.rooms.timeline(room, 0, up_to, usize::MAX, false).await.expect("reads");
        Seen {
            state: state.into_iter().map(|(kind, key, id)| ((kind, key), id)).collect(),
            timeline: events.iter().map(|event| event.event_id().clone()).collect(),
        }
    }

    /// What the user is in the room.
    pub(crate) async fn membership(&self, room: &RoomId, user: &UserId) -> Option<MembershipState> {
        self.rooms.membership(user, room).await.expect("reads")
    }

    /// What a user of this server is told that they are, in a room that it need not be in.
    pub(crate) async fn told(&self, room: &RoomId, user: &UserId) -> Option<MembershipState> {
        let row = self.rooms.user_room(user, room).await.expect("reads");
        row.map(|row| row.membership)
    }

    /// Messages to the user's device.
    pub(crate) async fn to_device(&self, user: &UserId) -> usize {
        let up_to = self.store.log().position();
        let found = self.devices.to_device(user, "D".into(), 0, up_to, 1000).await;
        found.expect("reads").len()
    }

    /// Until the event is part of the room's history here.
    pub(crate) async fn has_event(&self, room: &RoomId, event: &EventId) {
        self.until(async || {
            let up_to = self.store.log().position();
            let events = self.rooms.timeline(room, 0, up_to, usize::MAX, true).await;
            events.expect("reads").iter().any(|known| known.event_id() == event)
        })
        .await;
    }

    pub(crate) async fn has_member(&self, room: &RoomId, user: &UserId) {
        let joined = Some(MembershipState::Join);
        self.until(async || self.membership(room, user).await == joined).await;
    }

    pub(crate) async fn until_banned(&self, room: &RoomId, user: &UserId) {
        let banned = Some(MembershipState::Ban);
        self.until(async || self.membership(room, user).await == banned).await;
    }

    /// Looks again whenever something was written.
    async fn until(&self, is_so: impl AsyncFn() -> bool) {
        let waited = async {
            let mut follower = self.store.follow(self.store.log().position());
            while !is_so().await {
                follower.next().await.expect("the log goes on");
            }
        };
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, waited).await.expect("it comes to be in time");
    }
}
