//! A room that the user left, or was made to leave: told up to there, once.

use std::sync::Arc;

use rooms::StoredEvent;

use super::{Before, NOTHING_UNREAD, Room, Told, own_event};
use crate::{
    SyncError,
    sections::{event, own_history},
    sliding::{
        Dialect,
        result::RoomResult,
        room_state::{Span, StateNews},
        standing,
    },
};

impl Room<'_> {
    pub(super) async fn gone(&self) -> Result<Told, SyncError> {
        let (context, entry) = (self.context, self.selected.entry);
        let user = context.base.user;
        let left_at = entry.membership.position;
        let before = self.before();
        let is_told = matches!(before, Before::UpTo(told) if left_at <= told);
        let sent = self.sent.filter(|_| is_told && !self.is_expanded());
        if sent.is_some_and(|sent| sent.required == self.selected.config.required) {
            return Ok(Told::default());
        }
        let Some(own) = own_event(context, user, self.id()).await? else {
            return Ok(Told::default());
        };
        let standing = standing::of(context.sync, user, entry).await?;
        let Some(root) = standing.and_then(|standing| standing.seen) else {
            return if is_told { Ok(Told::default()) } else { self.never_in(&own).await };
        };
        let mut scope = context.base.clone();
        let mut came_in = false;
        if let (Some(since), Before::UpTo(told)) = (&mut scope.since, before) {
            since.durable = told;
        }
        if scope.since.is_some() && before != Before::Never && !is_told {
            came_in = own_history::since(&scope, self.id(), left_at).await?.came_in;
        }
        let before = if came_in { Before::Never } else { before };
        let initial = before == Before::Never;
        let expanded = !initial && self.is_expanded();
        let timeline = self.timeline(&scope, before, expanded, left_at).await?;
        let mut state = self.state_at_the_end(before, root, &timeline).await?;
        add(&mut state, &own);

        let mut result = RoomResult::new(entry.membership.state.clone(), left_at);
        result.initial = initial;
        result.expanded = expanded;
        result.unread = Some(NOTHING_UNREAD);
        self.add_names(&scope, root, &state, &mut result).await?;
        self.add_events(&scope, &state, &timeline, &mut result).await?;
        Ok(Told {
            result: Some(result),
            sent: Some(self.sent_after(initial || expanded, &timeline)),
            is_initial: initial,
            lazy: state.lazy,
            ..Told::default()
        })
    }

    async fn state_at_the_end(
        &self,
        before: Before,
        root: rooms::Root,
        timeline: &crate::sections::timeline::Timeline,
    ) -> Result<StateNews, SyncError> {
        let left_at = self.selected.entry.membership.position;
        let known = match before {
            Before::Never => None,
            Before::UpTo(told) if told >= left_at => Some(root),
            Before::UpTo(told) => self.root_at(told).await?,
        };
        let span = Span {
            room: self.id(),
            known,
            end: root,
            required_before: self.sent.map(|sent| &sent.required),
            required: &self.selected.config.required,
            timeline,
        };
        span.load(self.context).await
    }

    /// An invitation that was rejected or taken back, or a knock: nothing is shown of the room.
    async fn never_in(&self, own: &Arc<StoredEvent>) -> Result<Told, SyncError> {
        let membership = &self.selected.entry.membership;
        let mut result = RoomResult::new(membership.state.clone(), membership.position);
        result.initial = true;
        result.unread = Some(NOTHING_UNREAD);
        match self.context.dialect {
            // To clients of this dialect, a room with `invite_state` is an invitation.
            Dialect::Unstable => {
                let out = result.required_state.next();
                event::write(self.context.base, own, None, None, out).await?;
            }
            Dialect::Stable => {
                let mut stripped = crate::json::Events::default();
                stripped.next().extend_from_slice(&stripped_of(own));
                result.stripped = Some(stripped);
            }
        }
        let mut sent = self.sent_after(true, &Default::default());
        sent.timeline_limit = 0;
        Ok(Told { result: Some(result), sent: Some(sent), is_initial: true, ..Told::default() })
    }
}

fn add(state: &mut StateNews, own: &Arc<StoredEvent>) {
    if !state.events.iter().any(|event| event.pdu.event_id() == own.pdu.event_id()) {
        state.events.push(Arc::clone(own));
    }
}

/// The fields of a stripped state event.
fn stripped_of(event: &StoredEvent) -> Vec<u8> {
    use crate::json::{Object, text};
    let mut out = Vec::with_capacity(256);
    let mut object = Object::open(&mut out);
    text(object.key("type"), event.pdu.event_type());
    text(object.key("state_key"), event.pdu.state_key().unwrap_or_default());
    text(object.key("sender"), event.pdu.sender().as_str());
    object.raw("content", event.pdu.content_str().as_bytes());
    object.close();
    out
}
