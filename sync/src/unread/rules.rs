//! Push rules put to an event: what is the same for many users or many events is worked out once.
//!
//! Most users never change their rules, and most events are nobody's in particular: then all of them
//! share one verdict.

use std::{collections::HashMap, sync::Arc};

use quick_cache::{Weighter, sync::Cache};
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

use super::{
    matching::{Prepared, is_personal},
    own::OwnRules,
};
use crate::{Sources, SyncError};

/// Events and rooms of which the prepared form is kept.
const EVENTS_KEPT: usize = 4096;
const ROOMS_KEPT: usize = 4096;
/// All prepared events together; one may have 64 KiB.
const PREPARED_BYTES: u64 = 32 << 20;
/// Lists of actions that are shared between the users of one event; most have one of very few.
const ACTIONS_SHARED: usize = 8;
/// Groups of users with the same rules of whom the verdict on one event is kept.
const GROUPS_KEPT: usize = 256;

/// What the rules say of an event: `None` if it does not notify, else the actions of the rule that
/// says that it does.
pub type Verdict = Option<Arc<[Action]>>;

/// The push rules of all users.
pub struct PushRules {
    sources: Sources,
    /// The default rules without those that name their user.
    impersonal: Ruleset,
    /// Whether the default rules look for a user's name in the text.
    looks_for_names: bool,
    own: OwnRules,
    prepared: Cache<OwnedEventId, Option<Arc<Prepared>>, PreparedWeight>,
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

#[derive(Clone)]
struct PreparedWeight;

impl Weighter<OwnedEventId, Option<Arc<Prepared>>> for PreparedWeight {
    fn weight(&self, _id: &OwnedEventId, event: &Option<Arc<Prepared>>) -> u64 {
        event.as_ref().map_or(100, |event| event.weight)
    }
}

/// Everybody's rules, in one room as it is now.
pub struct RoomRules<'a> {
    rules: &'a PushRules,
    state: Root,
    /// Names nobody as the user: no rule is put to the sender of an event, and what depends on the
    /// user otherwise is asked apart.
    context: PushConditionRoomCtx,
    asked: Option<Asked>,
}

/// The event that was asked of last: as a rule the next user is asked of the same.
struct Asked {
    event_id: OwnedEventId,
    /// `None` of what no rule matches.
    ready: Option<(Arc<Prepared>, Arc<Shared>)>,
    /// Found so far.
    actions: Vec<Arc<[Action]>>,
    /// By the group of users who have the same rules.
    verdicts: HashMap<u64, Verdict>,
}

impl PushRules {
    pub(super) fn new(sources: Sources) -> Self {
        let nobody = UserId::parse("@nobody:invalid").expect("a user id");
        let mut impersonal = sources.accounts.default_rules_of(&nobody);
        impersonal.override_.retain(|rule| !is_personal(&rule.rule_id));
        let looks_for_names = !std::mem::take(&mut impersonal.content).is_empty();
        Self {
            sources,
            impersonal,
            looks_for_names,
            own: OwnRules::new(),
            prepared: Cache::with_weighter(EVENTS_KEPT, PREPARED_BYTES, PreparedWeight),
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
        Ok(RoomRules { rules: self, state, context, asked: None })
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
        let own = self.rules.sources.accounts.own_push_rules(user).await?;
        self.verdict_by(own.as_ref(), user, event).await
    }

    /// As [`verdict`](Self::verdict); `None` if that would take long, which some users' rules do for
    /// some events, and others must not wait for.
    pub async fn quick_verdict(
        &mut self,
        user: &UserId,
        event: &StoredEvent,
    ) -> Result<Option<Verdict>, SyncError> {
        let own = self.rules.sources.accounts.own_push_rules(user).await?;
        if let Some(rules) = &own {
            let cost = self.rules.own.of(user, rules).cost;
            let ready = &self.asked(event).await.ready;
            if ready.as_ref().is_some_and(|(prepared, _)| prepared.is_long_for(cost)) {
                return Ok(None);
            }
        }
        self.verdict_by(own.as_ref(), user, event).await.map(Some)
    }

    /// `own`: the rules of a user who changed some.
    async fn verdict_by(
        &mut self,
        own: Option<&Arc<Ruleset>>,
        user: &UserId,
        event: &StoredEvent,
    ) -> Result<Verdict, SyncError> {
        if event.pdu.sender() == user {
            return Ok(None);
        }
        let Some((prepared, shared)) = &self.asked(event).await.ready else { return Ok(None) };
        let (prepared, shared) = (Arc::clone(prepared), Arc::clone(shared));
        let is_concerned = prepared.concerned.contains(user.as_str());
        let group = match own {
            Some(own) if !is_concerned => self.rules.own.of(user, own).group,
            _ => None,
        };
        if let Some(known) = group.and_then(|group| self.known_of_group(group)) {
            return Ok(known);
        }
        let default;
        let rules = match own {
            Some(own) => own,
            None if is_concerned || self.is_named(user, &prepared).await? => {
                default = self.rules.sources.accounts.default_rules_of(user);
                &default
            }
            None => return Ok(shared.verdict.clone()),
        };
        self.name(rules, user).await?;
        let verdict = prepared.verdict(rules, &shared.met, is_concerned, &self.context).await;
        let verdict = verdict.map(|actions| self.shared_actions(actions));
        if let (Some(group), Some(asked)) = (group, &mut self.asked)
            && asked.verdicts.len() < GROUPS_KEPT
        {
            asked.verdicts.insert(group, verdict.clone());
        }
        Ok(verdict)
    }

    fn known_of_group(&self, group: u64) -> Option<Verdict> {
        self.asked.as_ref()?.verdicts.get(&group).cloned()
    }

    /// What is the same for everybody of whom the event is asked.
    async fn asked(&mut self, event: &StoredEvent) -> &Asked {
        let event_id = event.pdu.event_id();
        let known = self.asked.take().filter(|asked| asked.event_id == *event_id);
        let asked = match known {
            Some(known) => known,
            None => {
                let ready = match self.rules.prepared(event) {
                    Some(prepared) => {
                        let shared = self.shared(event, &prepared).await;
                        Some((prepared, shared))
                    }
                    None => None,
                };
                Asked {
                    event_id: event_id.clone(),
                    ready,
                    actions: Vec::new(),
                    verdicts: HashMap::new(),
                }
            }
        };
        self.asked.insert(asked)
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
        let verdict = prepared.verdict(rules, &met, false, &self.context).await.map(Arc::from);
        let shared = Arc::new(Shared { state: self.state, verdict, met });
        self.rules.shared.insert(id.clone(), Arc::clone(&shared));
        shared
    }

    /// Whether the text has the user's localpart or display name, where that counts.
    async fn is_named(&self, user: &UserId, prepared: &Prepared) -> Result<bool, SyncError> {
        if !self.rules.looks_for_names || !prepared.may_name_somebody() {
            return Ok(false);
        }
        Ok(prepared.body_has(user.localpart()) || prepared.body_has(&self.name_of(user).await?))
    }

    /// The user's name in the room, if any of the rules asks for it.
    async fn name(&mut self, rules: &Ruleset, user: &UserId) -> Result<(), SyncError> {
        self.context.user_display_name.clear();
        if wants_display_name(rules) {
            self.context.user_display_name = self.name_of(user).await?;
        }
        Ok(())
    }

    /// Empty if there is none.
    async fn name_of(&self, user: &UserId) -> Result<String, SyncError> {
        let rooms = &self.rules.sources.rooms;
        let member = rooms.state_get(self.state, "m.room.member", user.as_str()).await?;
        Ok(member.map(|member| display_name(&member)).unwrap_or_default())
    }

    /// Those who are notified in the same way share what says so.
    fn shared_actions(&mut self, actions: &[Action]) -> Arc<[Action]> {
        let Some(asked) = &mut self.asked else { return actions.into() };
        let by_default = asked.ready.iter().filter_map(|(_, shared)| shared.verdict.as_ref());
        let known = by_default.chain(&asked.actions).find(|known| are_same(known, actions));
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let new: Arc<[Action]> = actions.into();
        if asked.actions.len() < ACTIONS_SHARED {
            asked.actions.push(Arc::clone(&new));
        }
        new
    }
}

/// A rule of old, which clients or the operator may have kept.
#[expect(deprecated, reason = "the condition is deprecated, and there")]
pub(super) fn wants_display_name(rules: &Ruleset) -> bool {
    let conditional = rules.override_.iter().chain(&rules.underride);
    let mut conditions = conditional.filter(|rule| rule.enabled).flat_map(|rule| &rule.conditions);
    conditions.any(|condition| matches!(condition, PushCondition::ContainsDisplayName))
}

/// Whether both say the same, of what usual rules say.
fn are_same(one: &[Action], other: &[Action]) -> bool {
    let same = |(one, other): (&Action, &Action)| match (one, other) {
        (Action::Notify, Action::Notify) => true,
        _ if one.is_highlight() => other.is_highlight(),
        _ => one.sound().is_some_and(|sound| other.sound() == Some(sound)),
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}
