//! Push rules put to an event: what is the same for many users or many events is worked out once.
//!
//! Most users never change their rules, and most events are nobody's in particular: then all of them
//! share one verdict.

use std::sync::Arc;

use quick_cache::sync::Cache;
use rooms::{Root, StoredEvent};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UInt, UserId,
    events::room::{
        member::RoomMemberEventContent,
        power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent, RoomPowerLevelsSource},
    },
    push::{Action, PushCondition, PushConditionPowerLevelsCtx, PushConditionRoomCtx, Ruleset},
};
use serde::Deserialize;

use super::matching::{Prepared, is_personal};
use crate::{Sources, SyncError};

/// Events and rooms of which the prepared form is kept.
const EVENTS_KEPT: usize = 4096;
const ROOMS_KEPT: usize = 4096;

/// What the rules say of an event: `None` if it does not notify, else the actions of the rule that
/// says that it does.
pub type Verdict = Option<Arc<[Action]>>;

/// The push rules of all users.
pub struct PushRules {
    sources: Sources,
    /// The default rules without those that name their user.
    impersonal: Ruleset,
    prepared: Cache<OwnedEventId, Option<Arc<Prepared>>>,
    shared: Cache<OwnedEventId, Arc<Shared>>,
    levels: Cache<OwnedRoomId, (Root, PushConditionPowerLevelsCtx)>,
}

/// What the impersonal rules say of an event.
struct Shared {
    /// Of the room.
    state: Root,
    verdict: Verdict,
    /// The rules whose conditions are met, switched off or not.
    met: Vec<String>,
}

/// Everybody's rules, in one room as it is now.
pub struct RoomRules<'a> {
    rules: &'a PushRules,
    state: Root,
    context: PushConditionRoomCtx,
}

impl PushRules {
    pub(super) fn new(sources: Sources) -> Self {
        let nobody = UserId::parse("@nobody:invalid").expect("a user id");
        let mut impersonal = Ruleset::server_default(&nobody);
        impersonal.override_.retain(|rule| !is_personal(&rule.rule_id));
        Self {
            sources,
            impersonal,
            prepared: Cache::new(EVENTS_KEPT),
            shared: Cache::new(EVENTS_KEPT),
            levels: Cache::new(ROOMS_KEPT),
        }
    }

    /// Of a room that is not known here, nothing is known but its id.
    pub async fn in_room(&self, room: &RoomId) -> Result<RoomRules<'_>, SyncError> {
        let view = self.sources.rooms.room(room).await?;
        let members = view.as_ref().map_or(0, |view| view.joined_members);
        let nobody = UserId::parse("@nobody:invalid").expect("a user id");
        let members = UInt::new_saturating(members);
        let mut context =
            PushConditionRoomCtx::new(room.to_owned(), members, nobody, String::new());
        if let Some(view) = &view {
            context.power_levels = Some(self.levels(view).await?);
        }
        let state = view.map_or(Root::EMPTY, |view| view.state);
        Ok(RoomRules { rules: self, state, context })
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

    fn prepared(&self, event: &StoredEvent) -> Option<Arc<Prepared>> {
        let event_id = event.pdu.event_id();
        if let Some(known) = self.prepared.get(event_id) {
            return known;
        }
        let prepared = Prepared::new(event).map(Arc::new);
        self.prepared.insert(event_id.clone(), prepared.clone());
        prepared
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

impl RoomRules<'_> {
    /// An event of this room, put to the rules of a user, who is not necessarily in the room.
    pub async fn verdict(
        &mut self,
        user: &UserId,
        event: &StoredEvent,
    ) -> Result<Verdict, SyncError> {
        if event.pdu.sender() == user {
            return Ok(None);
        }
        let Some(prepared) = self.rules.prepared(event) else { return Ok(None) };
        user.clone_into(&mut self.context.user_id);
        let shared = self.shared(event, &prepared).await;
        match self.rules.sources.accounts.own_push_rules(user).await? {
            Some(own) => self.put_to(&own, &shared, &prepared).await,
            None if prepared.concerned.contains(user.as_str()) => {
                self.put_to(&Ruleset::server_default(user), &shared, &prepared).await
            }
            None => Ok(shared.verdict.clone()),
        }
    }

    /// As [`verdict`](Self::verdict); `None` if that would take long, which some users' rules do for
    /// some events, and others must not wait for.
    pub async fn quick_verdict(
        &mut self,
        user: &UserId,
        event: &StoredEvent,
    ) -> Result<Option<Verdict>, SyncError> {
        let own = self.rules.sources.accounts.own_push_rules(user).await?;
        if let (Some(own), Some(prepared)) = (own, self.rules.prepared(event))
            && prepared.is_long_for(&own)
        {
            return Ok(None);
        }
        self.verdict(user, event).await.map(Some)
    }

    async fn shared(&self, event: &StoredEvent, prepared: &Prepared) -> Arc<Shared> {
        let id = event.pdu.event_id();
        if let Some(known) = self.rules.shared.get(id)
            && known.state == self.state
        {
            return known;
        }
        let rules = &self.rules.impersonal;
        let met = prepared.met(rules, &self.context).await;
        let verdict = prepared.verdict(rules, &met, &self.context).await;
        let shared = Arc::new(Shared { state: self.state, verdict, met });
        self.rules.shared.insert(id.clone(), Arc::clone(&shared));
        shared
    }

    async fn put_to(
        &mut self,
        rules: &Ruleset,
        shared: &Shared,
        prepared: &Prepared,
    ) -> Result<Verdict, SyncError> {
        self.context.user_display_name.clear();
        if wants_display_name(rules) {
            let (rooms, user) = (&self.rules.sources.rooms, &self.context.user_id);
            let member = rooms.state_get(self.state, "m.room.member", user.as_str()).await?;
            self.context.user_display_name =
                member.map(|member| display_name(&member)).unwrap_or_default();
        }
        Ok(prepared.verdict(rules, &shared.met, &self.context).await)
    }
}

/// A rule of old, which clients may have kept.
#[expect(deprecated, reason = "the condition is deprecated, and there")]
fn wants_display_name(rules: &Ruleset) -> bool {
    let conditional = rules.override_.iter().chain(&rules.underride);
    let mut conditions = conditional.filter(|rule| rule.enabled).flat_map(|rule| &rule.conditions);
    conditions.any(|condition| matches!(condition, PushCondition::ContainsDisplayName))
}
