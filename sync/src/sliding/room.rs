//! What there is to tell of one room.

mod gone;
mod open;

use std::sync::Arc;

use rooms::Root;
use ruma::{OwnedEventId, RoomId, UserId, events::room::member::MembershipState};
use storage::Position;

use super::{
    Dialect,
    answer::Context,
    facets::{Facets, text_of},
    lists::Selected,
    required::MEMBER,
    result::{Hero, News, RoomResult},
    room_state::{Span, StateNews},
    state::Sent,
};
use crate::{
    SyncError,
    compute::Scope,
    sections::{
        event, own_history, summary,
        timeline::{self, Timeline, Window},
    },
    unread::Count,
};

/// How much of a room the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing, or nothing that counts any more.
    Never,
    /// Everything up to here.
    UpTo(Position),
}

impl Before {
    pub(crate) fn position(self) -> Position {
        match self {
            Self::Never => 0,
            Self::UpTo(position) => position,
        }
    }
}

/// What came of one room.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) result: Option<RoomResult>,
    /// `None`: as it was before.
    pub(crate) sent: Option<Sent>,
    /// The client is told the room from the start.
    pub(crate) is_initial: bool,
    /// The user came in since the client was last told of anything.
    pub(crate) is_arrival: bool,
    /// Events of the timeline.
    pub(crate) shown: Vec<OwnedEventId>,
    /// The last of them that somebody else sent.
    pub(crate) newest: Option<OwnedEventId>,
    pub(crate) lazy: Vec<(ruma::OwnedUserId, OwnedEventId)>,
}

pub(crate) struct Room<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) selected: &'a Selected<'a>,
    pub(crate) sent: Option<&'a Sent>,
    pub(crate) is_dm: bool,
}

impl Room<'_> {
    fn id(&self) -> &RoomId {
        &self.selected.entry.room_id
    }

    /// Up to where the client was told.
    pub(crate) fn before(&self) -> Before {
        match (self.sent, &self.context.base.since) {
            (Some(sent), Some(since)) => Before::UpTo(sent.behind.unwrap_or(since.durable)),
            _ => Before::Never,
        }
    }

    /// Whether there may be something, from memory.
    fn may_have_news(&self) -> bool {
        let (Some(sent), Before::UpTo(told)) = (self.sent, self.before()) else { return true };
        let membership = &self.selected.entry.membership;
        let config = &self.selected.config;
        membership.position > told
            || sent.is_dm != self.is_dm
            || sent.required != config.required
            || (sent.timeline_limit as usize) < config.timeline_limit
            || membership
                .room
                .as_ref()
                .is_some_and(|room| room.event.get() > told || membership.own_receipt > told)
    }

    pub(crate) async fn tell(&self) -> Result<Told, SyncError> {
        if !self.may_have_news() {
            return Ok(Told::default());
        }
        match self.selected.entry.membership.state {
            MembershipState::Join => self.joined().await,
            MembershipState::Invite | MembershipState::Knock => self.open().await,
            _ => self.gone().await,
        }
    }

    async fn joined(&self) -> Result<Told, SyncError> {
        let (scope, is_arrival) = self.scope_and_arrival().await?;
        let before = if is_arrival { Before::Never } else { self.before() };
        let initial = before == Before::Never;
        let expanded = !initial && self.is_expanded();
        let timeline = self.timeline(&scope, before, expanded, scope.now.durable).await?;
        let end = self.root_at(scope.now.durable).await?.unwrap_or(Root::EMPTY);
        let state = self.state(before, end, &timeline).await?;

        let entry = self.selected.entry;
        let bump_stamp = match &entry.membership.room {
            Some(mark) => self.context.sync.hub.bump_stamp(mark).await?,
            None => entry.membership.position,
        };
        let mut result = RoomResult::new(MembershipState::Join, bump_stamp);
        result.initial = initial;
        result.expanded = expanded;
        self.add_names(&scope, end, &state, &mut result).await?;
        if state.members_moved
            && let Some(view) = self.context.sync.sources.rooms.room(self.id()).await?
        {
            result.counts = Some((view.joined_members, view.invited_members));
        }
        let counts_moved = self.add_unread(&scope, before, &mut result).await?;
        self.add_events(&scope, &state, &timeline, &mut result).await?;
        let has_news = initial || expanded || counts_moved || says_something(&result, &timeline);
        let sent = self.sent_after(initial || expanded, &timeline);
        Ok(Told {
            result: has_news.then_some(result),
            sent: Some(sent),
            is_initial: initial,
            is_arrival: is_arrival && scope.since.is_some(),
            shown: timeline.events.iter().map(|e| e.pdu.event_id().clone()).collect(),
            newest: timeline.newest_of_others(scope.user).map(|event| event.pdu.event_id().clone()),
            lazy: state.lazy,
        })
    }

    /// The scope of an answer about this room alone, and whether the user came in since.
    async fn scope_and_arrival(&self) -> Result<(Scope<'_>, bool), SyncError> {
        let base = self.context.base;
        let mut scope = base.clone();
        let position = self.selected.entry.membership.position;
        let told = match self.before() {
            Before::UpTo(told) => told,
            // Not told on this connection; counts and arrivals go by what the client heard last.
            Before::Never => base.after(),
        };
        if let Some(since) = &mut scope.since {
            since.durable = told;
        }
        let mut is_arrival = false;
        if scope.since.is_some() && position > told {
            is_arrival = !own_history::since(&scope, self.id(), position).await?.stayed;
            if is_arrival {
                scope.sync.unread.forget(scope.user, self.id());
            }
        }
        Ok((scope, is_arrival))
    }

    fn is_expanded(&self) -> bool {
        let limit = self.selected.config.timeline_limit;
        self.sent.is_some_and(|sent| (sent.timeline_limit as usize) < limit)
    }

    async fn timeline(
        &self,
        scope: &Scope<'_>,
        before: Before,
        expanded: bool,
        up_to: Position,
    ) -> Result<Timeline, SyncError> {
        let after = if expanded { 0 } else { before.position() };
        let limit = self.selected.config.timeline_limit;
        timeline::load(scope, self.id(), Window { after, up_to, limit, joined_since: None }).await
    }

    /// The room's state at a position: what state resolution made of it.
    async fn root_at(&self, position: Position) -> Result<Option<Root>, SyncError> {
        let rooms = &self.context.sync.sources.rooms;
        if let Some(view) = rooms.room(self.id()).await?
            && view.position <= position
        {
            return Ok(Some(view.state));
        }
        let last = rooms.timeline(self.id(), 0, position, 1, true).await?;
        match last.first() {
            Some(event) => Ok(Some(rooms.room_state_after(event).await?)),
            None => Ok(None),
        }
    }

    async fn state(
        &self,
        before: Before,
        end: Root,
        timeline: &Timeline,
    ) -> Result<StateNews, SyncError> {
        let known = match before {
            Before::Never => None,
            Before::UpTo(told) => self.root_at(told).await?,
        };
        let span = Span {
            room: self.id(),
            known,
            end,
            required_before: self.sent.map(|sent| &sent.required),
            required: &self.selected.config.required,
            timeline,
        };
        span.load(self.context).await
    }

    async fn add_names(
        &self,
        scope: &Scope<'_>,
        end: Root,
        state: &StateNews,
        result: &mut RoomResult,
    ) -> Result<(), SyncError> {
        if result.initial || self.sent.is_some_and(|sent| sent.is_dm != self.is_dm) {
            result.is_dm = Some(self.is_dm);
        }
        if !(state.name_moved || state.avatar_moved || state.members_moved) {
            return Ok(());
        }
        let facets = self.context.sync.sliding.facets.at(self.context.sync, end).await?;
        let Facets { name, avatar, .. } = &*facets;
        if state.name_moved {
            result.name = News::of(name.clone());
        }
        if state.avatar_moved {
            result.avatar = News::of(avatar.clone());
        }
        // "Heroes are only included if the room name is not set."
        if name.is_none() && (state.name_moved || state.members_moved) {
            result.heroes = Some(heroes(scope, end).await?);
        }
        Ok(())
    }

    /// Whether the counts changed without anything else to show for it.
    async fn add_unread(
        &self,
        scope: &Scope<'_>,
        before: Before,
        result: &mut RoomResult,
    ) -> Result<bool, SyncError> {
        if self.context.dialect != Dialect::Unstable {
            return Ok(false);
        }
        let own_receipt = self.selected.entry.membership.own_receipt;
        let unread = &scope.sync.unread;
        let now = scope.now.durable;
        let unread =
            unread.count(scope.user, self.id(), own_receipt, now, &scope.unwanted.users).await?;
        result.unread = Some(unread.total());
        if own_receipt <= before.position() {
            return Ok(false);
        }
        let own = scope.sync.sources.rooms.own_receipts(scope.user, self.id()).await?;
        let news = before.position() + 1..=now;
        Ok(own.iter().any(|receipt| news.contains(&receipt.position)))
    }

    async fn add_events(
        &self,
        scope: &Scope<'_>,
        state: &StateNews,
        timeline: &Timeline,
        result: &mut RoomResult,
    ) -> Result<(), SyncError> {
        for event in &state.events {
            event::write(scope, event, None, None, result.required_state.next()).await?;
        }
        result.removed_state.clone_from(&state.removed);
        let membership = &self.selected.entry.membership;
        let stayed = membership.state == MembershipState::Join
            && timeline.events.first().is_some_and(|first| first.position > membership.position);
        let bundled = result.initial || result.expanded || timeline.limited;
        timeline.write_events(scope, self.id(), stayed, bundled, &mut result.timeline).await?;
        if !timeline.events.is_empty() {
            result.prev_batch = Some(timeline.prev_batch(scope));
        }
        result.limited = timeline.limited;
        // What came while the client was connected; a room's history is not live.
        let live = self.context.base.since.map_or(Position::MAX, |since| since.durable);
        let is_live = |event: &&Arc<rooms::StoredEvent>| event.position > live;
        result.num_live = Some(timeline.events.iter().filter(is_live).count() as u64);
        Ok(())
    }

    fn sent_after(&self, from_the_end: bool, timeline: &Timeline) -> Sent {
        let asked = u32::try_from(self.selected.config.timeline_limit).unwrap_or(u32::MAX);
        let timeline_limit = match self.sent {
            // Behind a gap the client has what is told now.
            Some(sent) if !from_the_end && !timeline.limited => sent.timeline_limit,
            _ => asked,
        };
        Sent {
            behind: None,
            timeline_limit,
            required: Arc::clone(&self.selected.config.required),
            is_dm: self.is_dm,
        }
    }
}

fn says_something(result: &RoomResult, timeline: &Timeline) -> bool {
    !timeline.events.is_empty()
        || timeline.limited
        || !result.required_state.is_empty()
        || !result.removed_state.is_empty()
        || result.name != News::Unchanged
        || result.avatar != News::Unchanged
        || result.counts.is_some()
        || result.is_dm.is_some()
}

async fn heroes(scope: &Scope<'_>, root: Root) -> Result<Vec<Hero>, SyncError> {
    let mut heroes = Vec::new();
    for user_id in summary::heroes(scope, root).await? {
        let rooms = &scope.sync.sources.rooms;
        let member = rooms.state_get(root, MEMBER, user_id.as_str()).await?;
        let text = |key| member.as_ref().and_then(|event| text_of(event.pdu.content_str(), key));
        heroes.push(Hero {
            displayname: text("displayname"),
            avatar_url: text("avatar_url"),
            user_id,
        });
    }
    Ok(heroes)
}

/// Of a room whose events are not counted.
const NOTHING_UNREAD: Count = Count { notifications: 0, highlights: 0 };

/// The user's own member event, by which a client tells what became of them.
async fn own_event(
    context: &Context<'_>,
    user: &UserId,
    room: &RoomId,
) -> Result<Option<Arc<rooms::StoredEvent>>, SyncError> {
    let rooms = &context.sync.sources.rooms;
    match rooms.user_room(user, room).await? {
        Some(row) => Ok(rooms.event_by_id(&row.event_id).await?),
        None => Ok(None),
    }
}
