//! One server without an edge, and what its users do.

use std::{sync::Arc, time::Duration};

use accounts::{Accounts, EmailPurpose, EmailTokenRequest, NewSession, NewUser, Session};
use devices::Devices;
use presence::Presence;
use push::{Config, MailConfig, NewPusher, Pieces, Push};
use rooms::{
    CreateRoom, JoinRequest, MembershipChange, NewEvent, NewReceipt, Preset, Profile, Rooms,
};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId, owned_server_name};
use serde_json::{Value, json, value::RawValue};
use stdx::{Clock as _, ManualClock, Rng, Tasks};
use storage::Store;
use sync::{Sources, Sync};

use crate::{gateway::Receiver, postbox::Postbox};

pub(crate) const START_MS: u64 = 1_700_000_000_000;

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) accounts: Accounts,
    pub(crate) push: Push,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) gateway: Receiver,
    pub(crate) postbox: Postbox,
    config: Config,
    tasks: Tasks,
}

/// Tries again at once, nearly.
pub(crate) fn config() -> Config {
    let (retry_min, retry_max) = (Duration::from_millis(1), Duration::from_millis(5));
    let mail = MailConfig {
        brand: "x.test".to_owned(),
        unsubscribe_url: "https://x.test/end?ticket=".to_owned(),
        look_every: Duration::from_millis(1),
        ..MailConfig::default()
    };
    let web_push_contact = Some("https://x.test/".to_owned());
    Config { retry_min, retry_max, web_push_contact, mail: Some(mail), ..Config::default() }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let store = Store::open(&storage::Config::memory(), 7).expect("memory opens");
        let ends = (Receiver::new(), Postbox::new());
        Self::on(store, ManualClock::new(START_MS), ends, config).await
    }

    async fn on(
        store: Store,
        clock: Arc<ManualClock>,
        (gateway, postbox): (Receiver, Postbox),
        config: Config,
    ) -> Self {
        let (rng, tasks) = (Rng::from_seed(1), Tasks::new());
        let name = owned_server_name!("x.test");
        let key = events::SigningKey::from_seed(&[7; 32], "test").expect("a key");
        let rooms = Rooms::new(
            rooms::Config::default(),
            store.clone(),
            clock.clone(),
            rng.clone(),
            name.clone(),
            key,
            rooms::ports::Ports::isolated(),
        )
        .expect("rooms open");
        let accounts = accounts::Config::default();
        let accounts =
            Accounts::open(accounts, store.clone(), clock.clone(), rng.clone(), name).await;
        let accounts = accounts.expect("accounts open");
        accounts.set_mailer(Arc::new(postbox.clone()));
        let sources = Sources {
            store: store.clone(),
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            devices: Devices::new(store.clone(), clock.clone(), rng.clone(), &tasks),
            presence: Presence::new(
                presence::Config::default(),
                clock.clone(),
                &tasks,
                store.clone(),
            ),
        };
        let sync = Sync::new(sync::Config::default(), sources, clock.clone(), tasks.clone());
        let pieces = Pieces {
            store: store.clone(),
            clock: clock.clone(),
            rng,
            tasks: tasks.clone(),
            accounts: accounts.clone(),
            rooms: rooms.clone(),
            sync,
            gateway: Arc::new(gateway.clone()),
        };
        let push = Push::open(config.clone(), pieces).await.expect("push opens");
        Self { store, rooms, accounts, push, clock, gateway, postbox, config, tasks }
    }

    /// The process ends in order, and begins again.
    pub(crate) async fn restart(self) -> Self {
        self.tasks.shutdown().await;
        self.store.barrier().wait().await.expect("written");
        let Self { store, clock, gateway, postbox, config, .. } = self;
        Self::on(store, clock, (gateway, postbox), config).await
    }

    /// Gives a user an address that they have confirmed.
    pub(crate) async fn has_address(&self, user: &Session, email: &str) {
        let client_secret = "secret";
        let request = EmailTokenRequest {
            purpose: EmailPurpose::AddToAccount,
            email,
            client_secret,
            send_attempt: self.clock.now_ms(),
            next_link: None,
            link: "https://x.test/confirm",
        };
        let sid = self.accounts.request_email_token(request).await.expect("a mail is sent");
        let mail = self.postbox.takes(1).await.remove(0);
        let (_, token) = mail.text.split_once("&token=").expect("a link");
        let token = token.split_whitespace().next().expect("a token");
        self.accounts.confirm_email(&sid, token).expect("the link is good");
        let added = self.accounts.add_threepid(&user.user_id, &sid, client_secret).await;
        added.expect("the address is added");
        self.postbox.is_tried(1).await;
    }

    /// A user who is written mails, at their name.
    pub(crate) async fn mailed(&self, name: &str) -> Session {
        let session = self.user(name).await;
        let address = format!("{name}@mail.test");
        self.has_address(&session, &address).await;
        self.set(&session, mail_pusher(&address)).await;
        session
    }

    pub(crate) async fn pushers(&self, user: &Session) -> usize {
        self.push.pushers(&user.user_id).await.expect("readable").len()
    }

    /// A new user, logged in.
    pub(crate) async fn user(&self, name: &str) -> Session {
        let new = NewUser { localpart: Some(name), ..NewUser::default() };
        self.accounts.register(new).await.expect("the name is free");
        self.log_in(name, "PHONE").await
    }

    pub(crate) async fn log_in(&self, name: &str, device: &str) -> Session {
        let user_id = self.accounts.user_id(name).expect("a name");
        let user = self.accounts.user(&user_id).await.expect("readable").expect("a user");
        let new = NewSession { user: &user, device_id: device.into(), refresh: false };
        let tokens = self.accounts.create_session(new).await.expect("a session");
        self.accounts.authenticate(&tokens.access_token).expect("a good token")
    }

    /// A user with a pusher whose key is their name.
    pub(crate) async fn pushed(&self, name: &str) -> Session {
        let session = self.user(name).await;
        self.set(&session, pusher(name)).await;
        session
    }

    pub(crate) async fn set(&self, session: &Session, pusher: NewPusher) {
        self.push.set_pusher(session, pusher).await.expect("the pusher is set");
    }

    pub(crate) async fn room(&self, creator: &UserId, name: Option<&str>) -> OwnedRoomId {
        let request = CreateRoom {
            creator,
            creator_profile: Profile::default(),
            invitee_profiles: Vec::new(),
            published: false,
            room_alias_name: None,
            name,
            topic: None,
            invite: Vec::new(),
            room_version: None,
            creation_content: None,
            initial_state: Vec::new(),
            preset: Some(Preset::PublicChat),
            is_direct: false,
            power_level_content_override: None,
        };
        self.rooms.create(request).await.expect("the room is created")
    }

    /// A room with everybody in it, and one more, so that it is none of two.
    pub(crate) async fn shared_room(&self, users: &[&Session]) -> OwnedRoomId {
        let room = self.room(&users[0].user_id, None).await;
        for user in &users[1..] {
            self.join(&room, &user.user_id).await;
        }
        let third = UserId::parse("@third:x.test").expect("a user id");
        self.join(&room, &third).await;
        room
    }

    pub(crate) async fn join(&self, room_id: &RoomId, user: &UserId) {
        let profile =
            Profile { displayname: Some(user.localpart().to_uppercase()), ..Profile::default() };
        let request = JoinRequest {
            room_id,
            user,
            profile,
            guest: false,
            reason: None,
            via: Vec::new(),
            extra: None,
        };
        self.rooms.join(request).await.expect("the user may join");
    }

    pub(crate) async fn invite(&self, room_id: &RoomId, sender: &UserId, target: &UserId) {
        let change = MembershipChange { room_id, sender, target, reason: None };
        self.rooms.invite(change, Profile::default(), false).await.expect("may invite");
    }

    pub(crate) async fn event(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: &str,
        content: &Value,
    ) -> OwnedEventId {
        self.send(room_id, sender, (event_type, None), content).await
    }

    pub(crate) async fn set_state(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        event_type: &str,
        content: &Value,
    ) {
        self.send(room_id, sender, (event_type, Some("")), content).await;
    }

    async fn send(
        &self,
        room_id: &RoomId,
        sender: &UserId,
        (event_type, state_key): (&str, Option<&str>),
        content: &Value,
    ) -> OwnedEventId {
        let content = RawValue::from_string(content.to_string()).expect("JSON");
        let event = NewEvent {
            room_id,
            sender,
            event_type,
            state_key,
            content: &content,
            txn: None,
            timestamp: None,
        };
        self.rooms.send(event).await.expect("the event is sent")
    }

    pub(crate) async fn say(&self, room: &RoomId, sender: &Session, body: &str) -> OwnedEventId {
        let content = json!({ "msgtype": "m.text", "body": body });
        self.event(room, &sender.user_id, "m.room.message", &content).await
    }

    pub(crate) async fn read(&self, room_id: &RoomId, user: &Session, event_id: &EventId) {
        let user = &user.user_id;
        let receipt = NewReceipt { room_id, user, kind: "m.read", event_id, thread: None };
        self.rooms.set_receipt(receipt).await.expect("the receipt is set");
    }
}

/// A pusher that wants everything.
pub(crate) fn pusher(key: &str) -> NewPusher {
    let data = json!({ "url": "https://push.example/_matrix/push/v1/notify", "own": 7 });
    NewPusher {
        app_id: "org.example.app".to_owned(),
        pushkey: key.to_owned(),
        kind: "http".to_owned(),
        app_display_name: "App".to_owned(),
        device_display_name: "Phone".to_owned(),
        profile_tag: None,
        lang: "en".to_owned(),
        data: data.as_object().expect("an object").clone(),
        enabled: true,
        append: false,
    }
}

/// The same at another gateway.
pub(crate) fn pusher_at(host: &str, key: &str) -> NewPusher {
    let mut pusher = pusher(key);
    let url = format!("https://{host}/_matrix/push/v1/notify");
    pusher.data.insert("url".to_owned(), json!(url));
    pusher
}

/// A pusher that writes mails.
pub(crate) fn mail_pusher(address: &str) -> NewPusher {
    NewPusher {
        app_id: "m.email".to_owned(),
        kind: "email".to_owned(),
        data: serde_json::Map::new(),
        ..pusher(address)
    }
}
