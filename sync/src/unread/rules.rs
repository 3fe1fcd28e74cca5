//! Push rules put to an event: what is the same for many users or many events is worked out once.

use std::sync::Arc;

use quick_cache::sync::Cache;
use rooms::{Root, StoredEvent};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::room::{
        member::RoomMemberEventContent,
        power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
    },
    push::{FlattenedJson, PushConditionPowerLevelsCtx, PushConditionRoomCtx, Ruleset},
    serde::Raw,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Sources, SyncError};

/// Events and rooms of which the prepared form is kept.
const EVENTS_KEPT: usize = 4096;
const ROOMS_KEPT: usize = 4096;

pub(super) struct Rules {
    sources: Sources,
    flattened: Arc<Cache<OwnedEventId, Option<Arc<FlattenedJson>>>>,
    levels: Cache<OwnedRoomId, (Root, PushConditionPowerLevelsCtx)>,
}

/// One user's rules, in one room as it is now.
pub(super) struct UserRules {
    ruleset: Arc<Ruleset>,
    context: PushConditionRoomCtx,
    flattened: Arc<Cache<OwnedEventId, Option<Arc<FlattenedJson>>>>,
}

impl Rules {
    pub(super) fn new(sources: Sources) -> Self {
        let flattened = Arc::new(Cache::new(EVENTS_KEPT));
        Self { sources, flattened, levels: Cache::new(ROOMS_KEPT) }
    }

    pub(super) async fn for_user(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Result<UserRules, SyncError> {
        let ruleset = self.sources.accounts.push_rules(user).await?;
        let view = self.sources.rooms.room(room).await?;
        let view = view.ok_or_else(|| SyncError::Internal(format!("{room} has no view")))?;
        let rooms = &self.sources.rooms;
        let member = rooms.state_get(view.state, "m.room.member", user.as_str()).await?;
        let mut context = PushConditionRoomCtx::new(
            view.room_id.clone(),
            UInt::new_saturating(view.joined_members),
            user.to_owned(),
            member.map(|member| display_name(&member)).unwrap_or_default(),
        );
        context.power_levels = Some(self.levels(&view).await?);
        Ok(UserRules { ruleset, context, flattened: Arc::clone(&self.flattened) })
    }

    async fn levels(
        &self,
        view: &rooms::RoomView,
    ) -> Result<PushConditionPowerLevelsCtx, SyncError> {
        if let Some((root, levels)) = self.levels.get(&view.room_id)
            && root == view.state
        {
            return Ok(levels);
        }
        let event = self.sources.rooms.state_get(view.state, "m.room.power_levels", "").await?;
        let source = event
            .and_then(|event| event.pdu.content_as::<RoomPowerLevelsEventContent>().ok())
            .map_or_else(RoomPowerLevelsSource::default, RoomPowerLevelsSource::Original);
        let rules = &view.version.rules().authorization;
        let levels: PushConditionPowerLevelsCtx =
            RoomPowerLevels::new(source, rules, creators(view)).into();
        self.levels.insert(view.room_id.clone(), (view.state, levels.clone()));
        Ok(levels)
    }
}

fn creators(view: &rooms::RoomView) -> Vec<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(default)]
        additional_creators: Vec<OwnedUserId>,
    }
    let more = view.create.content_as::<Content>().map(|content| content.additional_creators);
    let mut creators = more.unwrap_or_default();
    creators.push(view.create.sender().to_owned());
    creators
}

/// Without a display name the rule about it matches nothing; the localpart has a rule of its own.
fn display_name(member: &StoredEvent) -> String {
    let content = member.pdu.content_as::<RoomMemberEventContent>();
    content.ok().and_then(|content| content.displayname).unwrap_or_default()
}

impl UserRules {
    /// Whether the event notifies the user, and if so, whether as a highlight.
    pub(super) async fn highlight(&self, event: &StoredEvent) -> Option<bool> {
        let flattened = self.flattened(event)?;
        for rule in self.ruleset.iter() {
            if rule.applies(&flattened, &self.context).await {
                return rule.triggers_notification().then(|| rule.triggers_highlight());
            }
        }
        None
    }

    fn flattened(&self, event: &StoredEvent) -> Option<Arc<FlattenedJson>> {
        let event_id = event.pdu.event_id();
        if let Some(known) = self.flattened.get(event_id) {
            return known;
        }
        let flattened = flatten(event.pdu.json()).map(Arc::new);
        self.flattened.insert(event_id.clone(), flattened.clone());
        flattened
    }
}

/// `None` for what old room versions allow and a JSON value cannot hold, such as `1e999`: the
/// conversion below would not survive it.
fn flatten(json: &[u8]) -> Option<FlattenedJson> {
    serde_json::from_slice::<serde_json::Value>(json).ok()?;
    let json = std::str::from_utf8(json).ok()?.to_owned();
    let raw = RawValue::from_string(json).ok()?;
    Some(FlattenedJson::from_raw(&Raw::<serde_json::Value>::from_json(raw)))
}
