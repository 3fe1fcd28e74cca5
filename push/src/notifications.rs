//! What a user was notified about, newest first.
//!
//! Nothing is kept for it: the newest events of the user's rooms are put to their rules as these are
//! now. Rooms are read only as far back as the page reaches.

use std::{
    collections::{BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
};

use rooms::{StoredEvent, UserRoom};
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState, push::Action};
use storage::Position;
use sync::{RoomRules, SyncError, Unwanted};

use crate::Push;

/// Events that are looked at for one page; it may be short, and says where to go on.
const EVENTS_MAX: usize = 2000;
/// Events of a room that are read at a time.
const PAGE: usize = 50;

#[derive(Clone, Copy, Debug)]
pub struct NotificationsQuery<'a> {
    pub user: &'a UserId,
    /// What a page before said; unset: the newest.
    pub before: Option<Position>,
    pub limit: usize,
    pub only_highlights: bool,
}

#[derive(Clone, Debug)]
pub struct Notification {
    pub event: Arc<StoredEvent>,
    pub actions: Arc<[Action]>,
    /// Whether a receipt covers it.
    pub read: bool,
}

#[derive(Clone, Debug, Default)]
pub struct NotificationsPage {
    pub notifications: Vec<Notification>,
    /// Where the next page begins, if there may be one.
    pub before: Option<Position>,
}

/// One room on the way back.
struct Walk<'a> {
    room: OwnedRoomId,
    rules: Option<RoomRules<'a>>,
    /// Newest first.
    read: VecDeque<Arc<StoredEvent>>,
    /// Events up to here are still to be read.
    below: Position,
}

impl Walk<'_> {
    /// Where the next event is, or an upper bound of that.
    fn next_at(&self) -> Option<Position> {
        let next = self.read.front().map_or(self.below, |event| event.position);
        (next > 0).then_some(next)
    }
}

impl Push {
    pub async fn notifications(
        &self,
        query: NotificationsQuery<'_>,
    ) -> Result<NotificationsPage, SyncError> {
        let unwanted = self.inner.sync.unwanted(query.user).await?;
        let mut walks = self.walks(query, &unwanted).await?;
        let heads = walks.iter().enumerate();
        let heads = heads.filter_map(|(index, walk)| Some((walk.next_at()?, index)));
        let mut heads: BinaryHeap<_> = heads.collect();
        let (mut page, mut looked_at) = (NotificationsPage::default(), 0);
        while let Some((position, index)) = heads.pop() {
            let walk = &mut walks[index];
            let Some(event) = walk.read.pop_front() else {
                self.read_on(walk).await?;
                heads.extend(walk.next_at().map(|next| (next, index)));
                continue;
            };
            looked_at += 1;
            if !self.is_own_arrival(query.user, &event).await? {
                heads.extend(walk.next_at().map(|next| (next, index)));
            }
            page.notifications
                .extend(self.notification(query, &unwanted.users, walk, event).await?);
            let is_full = page.notifications.len() >= query.limit || looked_at >= EVENTS_MAX;
            if is_full && !heads.is_empty() {
                page.before = Some(position);
                break;
            }
        }
        Ok(page)
    }

    /// The rooms that the user is joined or invited to.
    async fn walks(
        &self,
        query: NotificationsQuery<'_>,
        unwanted: &Unwanted,
    ) -> Result<Vec<Walk<'_>>, SyncError> {
        let below = query.before.map_or(Position::MAX, |before| before.saturating_sub(1));
        let mut walks = Vec::new();
        for membership in self.inner.rooms.rooms_of(query.user).await? {
            let walk =
                |read, below| Walk { room: membership.room_id.clone(), rules: None, read, below };
            match membership.membership {
                MembershipState::Join => {
                    let view = self.inner.rooms.room(&membership.room_id).await?;
                    let newest = view.map_or(0, |view| view.position);
                    walks.push(walk(VecDeque::new(), newest.min(below)));
                }
                MembershipState::Invite if membership.position <= below => {
                    walks.push(walk(self.invite_of(&membership, unwanted).await?, 0));
                }
                _ => {}
            }
        }
        Ok(walks)
    }

    async fn invite_of(
        &self,
        membership: &UserRoom,
        unwanted: &Unwanted,
    ) -> Result<VecDeque<Arc<StoredEvent>>, SyncError> {
        let event = self.inner.rooms.event_by_id(&membership.event_id).await?;
        let shown = event.filter(|event| !unwanted.hides_invite_of(Some(event.pdu.sender())));
        // One of a room elsewhere has no place in a timeline.
        let placed = shown.map(|event| {
            let mut event = StoredEvent::clone(&event);
            event.position = membership.position;
            Arc::new(event)
        });
        Ok(placed.into_iter().collect())
    }

    async fn read_on(&self, walk: &mut Walk<'_>) -> Result<(), SyncError> {
        let read = self.inner.rooms.timeline(&walk.room, 0, walk.below, PAGE, true).await?;
        let is_all = read.len() < PAGE;
        walk.below = match read.last() {
            Some(last) if !is_all => last.position - 1,
            _ => 0,
        };
        walk.read.extend(read);
        Ok(())
    }

    /// What was before the user came into the room is nothing that they were notified about.
    async fn is_own_arrival(&self, user: &UserId, event: &StoredEvent) -> Result<bool, SyncError> {
        let pdu = &event.pdu;
        let is_own = pdu.event_type() == "m.room.member" && pdu.state_key() == Some(user.as_str());
        if !is_own || pdu.membership() != Some(MembershipState::Join) {
            return Ok(false);
        }
        let rooms = &self.inner.rooms;
        let before = rooms.state_get(event.state_before, "m.room.member", user.as_str()).await?;
        let before = before.and_then(|member| member.pdu.membership());
        Ok(before != Some(MembershipState::Join))
    }

    async fn notification<'a>(
        &'a self,
        query: NotificationsQuery<'_>,
        ignored: &BTreeSet<OwnedUserId>,
        walk: &mut Walk<'a>,
        event: Arc<StoredEvent>,
    ) -> Result<Option<Notification>, SyncError> {
        let sync = &self.inner.sync;
        if event.redacted_by.is_some() || ignored.contains(event.pdu.sender()) {
            return Ok(None);
        }
        let rules = match &mut walk.rules {
            Some(rules) => rules,
            None => walk.rules.insert(sync.push_rules().in_room(&walk.room).await?),
        };
        let verdict = rules.verdict(query.user, &event).await?;
        let is_wanted = |actions: &Arc<[Action]>| {
            !query.only_highlights || actions.iter().any(Action::is_highlight)
        };
        let Some(actions) = verdict.filter(is_wanted) else { return Ok(None) };
        let read = sync.has_read(query.user, &event).await?;
        Ok(Some(Notification { event, actions, read }))
    }
}
