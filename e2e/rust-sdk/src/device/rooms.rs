//! Encrypted rooms and what is said in them, as the timeline shows it.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use matrix_sdk::{
    Room, RoomState,
    ruma::{
        EventEncryptionAlgorithm, EventId, OwnedUserId, RoomId,
        api::client::{
            push::{PusherIds, PusherInit, PusherKind},
            room::create_room::v3::{Request, RoomPreset},
        },
        assign,
        events::{
            InitialStateEvent,
            room::{encryption::RoomEncryptionEventContent, message::RoomMessageEventContent},
        },
        push::{HttpPusherData, PushFormat},
    },
};
use matrix_sdk_ui::{
    Timeline,
    notification_client::{
        NotificationClient, NotificationProcessSetup, NotificationStatus, RawNotificationEvent,
    },
    timeline::{
        RoomExt, TimelineEventItemId, TimelineEventShieldState,
        TimelineEventShieldStateCode as Code,
    },
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{LOOK_AGAIN, PATIENCE, eventually, session::Device};

const PAGE: u16 = 30;
const KEYS_COME: Duration = Duration::from_secs(3);

impl Device {
    pub(crate) async fn create_room(&self, name: &str, invite: OwnedUserId) -> Result<Value> {
        let content = RoomEncryptionEventContent::new(EventEncryptionAlgorithm::MegolmV1AesSha2);
        let request = assign!(Request::new(), {
            name: Some(name.to_owned()),
            invite: vec![invite],
            is_direct: true,
            preset: Some(RoomPreset::TrustedPrivateChat),
            initial_state: vec![InitialStateEvent::with_empty_state_key(content).to_raw_any()],
        });
        let room = self.client()?.create_room(request).await?;
        Ok(json!({ "room": room.room_id() }))
    }

    pub(crate) async fn join(&self, id: &RoomId) -> Result<()> {
        let client = self.client()?;
        let invited = eventually("the invite", async || {
            Ok(client.get_room(id).filter(|room| room.state() == RoomState::Invited))
        });
        invited.await?.join().await?;
        Ok(())
    }

    pub(crate) async fn until_joined(&self, id: &RoomId, members: u64) -> Result<()> {
        let room = self.known(id).await?;
        eventually(&format!("{members} members"), async || {
            let all = room.state() == RoomState::Joined && room.joined_members_count() == members;
            Ok(all.then_some(()))
        })
        .await
    }

    async fn known(&self, id: &RoomId) -> Result<Room> {
        let client = self.client()?;
        eventually("the room", async || Ok(client.get_room(id))).await
    }

    /// Opens the room, as who touches it in the list does.
    async fn open(&mut self, id: &RoomId) -> Result<Arc<Timeline>> {
        if let Some(timeline) = self.timelines.get(id) {
            return Ok(Arc::clone(timeline));
        }
        let room = self.known(id).await?;
        self.sync_service()?.room_list_service().subscribe_to_rooms(&[id]).await;
        let timeline = Arc::new(room.timeline().await?);
        self.timelines.insert(id.to_owned(), Arc::clone(&timeline));
        Ok(timeline)
    }

    pub(crate) async fn say(&mut self, id: &RoomId, body: &str) -> Result<Value> {
        self.open(id).await?;
        let room = self.known(id).await?;
        let sent = room.send(RoomMessageEventContent::text_plain(body)).await?;
        Ok(json!({ "event": sent.response.event_id }))
    }

    /// Waits until the event can be read; what it says, and whether the SDK warns of it.
    pub(crate) async fn hear(&mut self, id: &RoomId, event: &EventId) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let timeline = self.open(id).await?;
            let looked = Instant::now();
            while looked.elapsed() < KEYS_COME {
                if let Some(heard) = heard(&timeline, event).await {
                    return Ok(heard);
                }
                sleep(LOOK_AGAIN).await;
            }
            ensure!(Instant::now() < deadline, "never saw the text of {event}");
            self.reopen(id, &timeline).await;
        }
    }

    /// The SDK's timeline at times overlooks a key that comes while it loads, until the room is opened again.
    async fn reopen(&mut self, id: &RoomId, timeline: &Timeline) {
        if unreadable(timeline).await {
            self.timelines.remove(id);
        }
    }

    /// The whole history, oldest first; a message that cannot be read has no body.
    pub(crate) async fn read_back(&mut self, id: &RoomId) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        let timeline = loop {
            let timeline = self.open(id).await?;
            while !timeline.paginate_backwards(PAGE).await? {}
            if is_readable(&timeline).await || Instant::now() > deadline {
                break timeline;
            }
            self.reopen(id, &timeline).await;
        };
        let items = timeline.items().await;
        let messages = items.iter().filter_map(|item| item.as_event()).filter_map(|event| {
            let content = event.content();
            let TimelineEventItemId::EventId(id) = event.identifier() else { return None };
            (content.is_message() || content.is_unable_to_decrypt()).then(|| {
                json!({ "event": id, "body": content.as_message().map(|message| message.body()) })
            })
        });
        Ok(json!({ "messages": messages.collect::<Vec<_>>() }))
    }

    pub(crate) async fn set_pusher(&self, url: String, pushkey: String) -> Result<()> {
        let data = assign!(HttpPusherData::new(url), { format: Some(PushFormat::EventIdOnly) });
        let pusher = PusherInit {
            ids: PusherIds::new(pushkey, "im.meridian.e2e".to_owned()),
            kind: PusherKind::Http(data),
            app_display_name: "e2e".to_owned(),
            device_display_name: "a phone".to_owned(),
            profile_tag: None,
            lang: "en".to_owned(),
        };
        Ok(self.client()?.pusher().set(pusher.into(), false).await?)
    }

    /// What the phone shows for a push: the text, fetched and decrypted.
    pub(crate) async fn notification(&self, room: &RoomId, event: &EventId) -> Result<Value> {
        let sync_service = Arc::clone(self.sync_service()?);
        let setup = NotificationProcessSetup::SingleProcess { sync_service };
        let notifications = NotificationClient::new(self.client()?.clone(), setup).await?;
        let status = notifications.get_notification(room, event).await?;
        let NotificationStatus::Event(item) = &status else {
            bail!("no notification but {status:?}");
        };
        let RawNotificationEvent::Timeline(event) = &item.raw_event else {
            bail!("an invite instead of a message");
        };
        let content: Option<Value> = event.get_field("content")?;
        let (sender, room) = (item.event.sender(), &item.room_computed_display_name);
        Ok(
            json!({ "body": content.map(|content| content["body"].clone()), "sender": sender, "room": room }),
        )
    }
}

async fn heard(timeline: &Timeline, event: &EventId) -> Option<Value> {
    let item = timeline.item_by_event_id(event).await?;
    let body = item.content().as_message()?.body().to_owned();
    let warning = match item.get_shield(false) {
        TimelineEventShieldState::None => None,
        // A key that came from the backup, where the user's other device was faster than the message with the key.
        TimelineEventShieldState::Grey { code: Code::AuthenticityNotGuaranteed } => None,
        shield => Some(format!("{shield:?}")),
    };
    Some(json!({ "body": body, "sender": item.sender(), "warning": warning }))
}

async fn unreadable(timeline: &Timeline) -> bool {
    let items = timeline.items().await;
    let mut events = items.iter().filter_map(|item| item.as_event());
    events.any(|event| event.content().is_unable_to_decrypt())
}

/// Whether all can be read after a while: keys come from the backup one by one, after each failure.
async fn is_readable(timeline: &Timeline) -> bool {
    let deadline = Instant::now() + KEYS_COME;
    while unreadable(timeline).await {
        if Instant::now() > deadline {
            return false;
        }
        sleep(LOOK_AGAIN).await;
    }
    true
}
