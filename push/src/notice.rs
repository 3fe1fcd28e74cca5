//! What a push gateway is told: the body of `POST /notify` ([spec]).
//!
//! Made when it is sent, not when the event came: what was read, redacted or left since then is
//! told to nobody.
//!
//! [spec]: https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify

use std::sync::Arc;

use bytes::Bytes;
use rooms::StoredEvent;
use ruma::{
    EventId, RoomId, UserId,
    events::room::member::MembershipState,
    push::{Action, Tweak},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};
use sync::SyncError;

use crate::{
    Kind, Pusher, follow::JUDGE_LATER, service::Inner, store::NoticeRecord,
    web_push::PLAINTEXT_BYTES_MAX,
};

/// A body, and what it says that others have to know.
pub(crate) struct Notice {
    pub(crate) body: Bytes,
    pub(crate) unread: u64,
    pub(crate) is_urgent: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    notification: &'a Notification<'a>,
}

#[derive(Default, Serialize)]
struct Notification<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    /// The name of `event_id` in the first drafts, by which some gateways still know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_id: Option<&'a RoomId>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room_alias: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_is_target: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    membership: Option<MembershipState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prio: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a RawValue>,
    counts: Counts,
    devices: [Device<'a>; 1],
}

/// "Counts whose value is zero should be omitted", but gateways take a count that is not there for
/// one that did not change, and the number would stay on the icon.
#[derive(Default, Serialize)]
struct Counts {
    unread: u64,
}

#[derive(Default, Serialize)]
struct Device<'a> {
    app_id: &'a str,
    pushkey: &'a str,
    /// In seconds.
    pushkey_ts: u64,
    data: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    tweaks: Map<String, Value>,
}

impl<'a> Device<'a> {
    fn of(pusher: &'a Pusher) -> Self {
        let mut data = pusher.data.clone();
        data.remove("url");
        if pusher.kind == Kind::WebPush {
            data.remove("auth");
        }
        Self {
            app_id: &pusher.app_id,
            pushkey: &pusher.pushkey,
            pushkey_ts: pusher.set_ts / 1000,
            data,
            tweaks: Map::new(),
        }
    }
}

/// What the actions of a rule set.
fn tweaks(actions: &[Action]) -> Map<String, Value> {
    let mut tweaks = Map::new();
    for action in actions {
        let Action::SetTweak(tweak) = action else { continue };
        let value = match tweak {
            // "If a `highlight` tweak is given with no value, its value is defined to be `true`."
            Tweak::Highlight(_) => Value::Bool(action.is_highlight()),
            other => {
                let value = other.value();
                let value = value.and_then(|value| serde_json::from_str(value.get()).ok());
                value.unwrap_or(Value::Null)
            }
        };
        tweaks.insert(tweak.set_tweak().to_owned(), value);
    }
    tweaks
}

/// Phones are woken for what may make a sound; what is encrypted may.
fn prio(event: &StoredEvent, actions: &[Action]) -> &'static str {
    let alerts = |action: &Action| action.is_highlight() || action.sound().is_some();
    let is_encrypted = event.pdu.event_type() == "m.room.encrypted";
    if is_encrypted || actions.iter().any(alerts) { "high" } else { "low" }
}

impl Inner {
    /// `None` if there is nothing to tell any more.
    pub(crate) async fn notice(
        &self,
        pusher: &Pusher,
        record: &NoticeRecord,
    ) -> Result<Option<Notice>, SyncError> {
        let Some(event_id) = &record.event_id else {
            let unread = self.badges.count(&pusher.user_id).await?;
            let (counts, devices) = (Counts { unread }, [Device::of(pusher)]);
            let notification = Notification { counts, devices, ..Notification::default() };
            return Ok(notification.into_notice(pusher.kind));
        };
        let user = &pusher.user_id;
        let told = self.still_to_tell(user, record, event_id).await?;
        let Some((event, actions)) = told else { return Ok(None) };
        let unread = self.badges.count(user).await?;
        let mut notification = Notification {
            event_id: Some(event_id.as_str()),
            room_id: Some(&record.room_id),
            prio: Some(prio(&event, &actions)),
            counts: Counts { unread },
            devices: [Device { tweaks: tweaks(&actions), ..Device::of(pusher) }],
            ..Notification::default()
        };
        if !pusher.is_event_id_only() {
            self.describe(user, &event, &mut notification).await?;
        }
        Ok(notification.into_notice(pusher.kind))
    }

    /// The event and what it does, if the user is to hear of it and has not.
    pub(crate) async fn still_to_tell(
        &self,
        user: &UserId,
        record: &NoticeRecord,
        event_id: &EventId,
    ) -> Result<Option<(Arc<StoredEvent>, Vec<Action>)>, SyncError> {
        let event = self.rooms.event_by_id(event_id).await?;
        let Some(event) = event.filter(|event| event.redacted_by.is_none()) else {
            return Ok(None);
        };
        if !self.concerns(user, &record.room_id, &event).await? {
            return Ok(None);
        }
        let actions = self.actions(user, record, &event).await?;
        Ok(actions.map(|actions| (event, actions)))
    }

    /// `None` if the event does not notify after all.
    async fn actions(
        &self,
        user: &UserId,
        record: &NoticeRecord,
        event: &StoredEvent,
    ) -> Result<Option<Vec<Action>>, SyncError> {
        if record.actions != JUDGE_LATER {
            return Ok(Some(serde_json::from_slice(&record.actions).unwrap_or_default()));
        }
        // Users whose rules take long wait for each other.
        let _turn = self.judging.acquire().await;
        let mut rules = self.sync.push_rules().in_room(&record.room_id).await?;
        Ok(rules.verdict(user, event).await?.map(|actions| actions.to_vec()))
    }

    /// Whether the user is still to hear of the event.
    async fn concerns(
        &self,
        user: &UserId,
        room: &RoomId,
        event: &StoredEvent,
    ) -> Result<bool, SyncError> {
        let Some(membership) = self.rooms.user_room(user, room).await? else { return Ok(false) };
        let is_concerned = match membership.membership {
            MembershipState::Invite => membership.event_id == *event.event_id(),
            MembershipState::Join => {
                // Who came later has not been told of it by anybody.
                let before =
                    self.rooms.state_get(event.state_before, "m.room.member", user.as_str());
                let before = before.await?.and_then(|member| member.pdu.membership());
                before == Some(MembershipState::Join) && !self.sync.has_read(user, event).await?
            }
            _ => false,
        };
        if !is_concerned {
            return Ok(false);
        }
        let unwanted = self.sync.unwanted(user).await?;
        Ok(match membership.membership {
            MembershipState::Invite => !unwanted.hides_invite_of(Some(event.pdu.sender())),
            _ => !unwanted.users.contains(event.pdu.sender()),
        })
    }

    /// Everything that the specification knows of an event.
    async fn describe<'a>(
        &self,
        user: &UserId,
        event: &'a StoredEvent,
        notification: &mut Notification<'a>,
    ) -> Result<(), SyncError> {
        let pdu = &event.pdu;
        let known = self.known_of(user, event).await?;
        notification.id = notification.event_id;
        notification.event_type = Some(pdu.event_type());
        notification.sender = Some(pdu.sender());
        notification.sender_display_name = known.sender_name;
        notification.room_name = known.name.or_else(|| known.alias.clone());
        notification.room_alias = known.alias;
        if pdu.event_type() == "m.room.member" {
            notification.user_is_target = Some(pdu.state_key() == Some(user.as_str()));
            notification.membership = pdu.membership();
        }
        notification.content = self.config.with_content.then(|| pdu.content());
        Ok(())
    }

    /// Names, from the room's state, or from what an invite shows of it.
    pub(crate) async fn known_of(
        &self,
        user: &UserId,
        event: &StoredEvent,
    ) -> Result<Known, SyncError> {
        let (room, sender) = (event.pdu.room_id(), event.pdu.sender().as_str());
        let mut known = Known::default();
        let view = self.rooms.room(room).await?;
        let Some(view) = view.filter(|view| !view.local_joined.is_empty()) else {
            let Some(user_room) = self.rooms.user_room(user, room).await? else { return Ok(known) };
            for shown in self.rooms.stripped_state(&user_room, user).await? {
                if let Ok(shown) = serde_json::from_slice::<Shown>(&shown) {
                    known.learn(&shown.event_type, &shown.state_key, shown.content, sender);
                }
            }
            return Ok(known);
        };
        for (event_type, key) in
            [("m.room.name", ""), ("m.room.canonical_alias", ""), ("m.room.member", sender)]
        {
            let state = self.rooms.state_get(view.state, event_type, key).await?;
            if let Some(content) = state.and_then(|state| state.pdu.content_as().ok()) {
                known.learn(event_type, key, content, sender);
            }
        }
        Ok(known)
    }
}

/// What a person would call a room and a sender.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) name: Option<String>,
    pub(crate) alias: Option<String>,
    pub(crate) sender_name: Option<String>,
}

/// The parts of state that name something.
#[derive(Default, Deserialize)]
struct Naming {
    name: Option<String>,
    alias: Option<String>,
    displayname: Option<String>,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(rename = "type")]
    event_type: String,
    state_key: String,
    content: Naming,
}

impl Known {
    fn learn(&mut self, event_type: &str, state_key: &str, content: Naming, sender: &str) {
        let set = |text: Option<String>| text.filter(|text| !text.is_empty());
        match event_type {
            "m.room.name" if state_key.is_empty() => self.name = set(content.name),
            "m.room.canonical_alias" if state_key.is_empty() => self.alias = set(content.alias),
            "m.room.member" if state_key == sender => self.sender_name = set(content.displayname),
            _ => {}
        }
    }
}

impl Notification<'_> {
    /// As much of it as the way it goes can carry. `None` if that is nothing.
    fn into_notice(mut self, kind: Kind) -> Option<Notice> {
        let bytes_max = match kind {
            Kind::WebPush => PLAINTEXT_BYTES_MAX,
            Kind::Http | Kind::Email => usize::MAX,
        };
        let cuts: [fn(&mut Self); 4] =
            [|_| {}, Self::drop_content, Self::keep_ids, Self::drop_data];
        for cut in cuts {
            cut(&mut self);
            let body = Body { notification: &self };
            let json = serde_json::to_vec(&body).expect("texts, numbers and JSON are JSON");
            if json.len() <= bytes_max {
                let is_urgent = self.prio == Some("high");
                return Some(Notice { body: json.into(), unread: self.counts.unread, is_urgent });
            }
        }
        None
    }

    fn drop_content(&mut self) {
        self.content = None;
    }

    fn keep_ids(&mut self) {
        let Self { event_id, room_id, prio, .. } = *self;
        let (counts, devices) =
            (std::mem::take(&mut self.counts), std::mem::take(&mut self.devices));
        *self = Self { event_id, room_id, prio, counts, devices, ..Self::default() };
    }

    fn drop_data(&mut self) {
        let [device] = &mut self.devices;
        device.data.clear();
        device.tweaks.clear();
    }
}
