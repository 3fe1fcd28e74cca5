//! `required_state` of one room: what the client wants of the state and does not have.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rooms::{Root, StoredEvent};
use ruma::{OwnedEventId, OwnedUserId, RoomId};

use super::{
    answer::Context,
    facets::StateEntry,
    required::{MEMBER, Required},
};
use crate::{SyncError, sections::timeline::Timeline};

/// What the client has, and what it is to have.
pub(crate) struct Span<'a> {
    pub(crate) room: &'a RoomId,
    /// `None`: nothing.
    pub(crate) known: Option<Root>,
    pub(crate) end: Root,
    /// What was required of `known`.
    pub(crate) required_before: Option<&'a Arc<Required>>,
    pub(crate) required: &'a Arc<Required>,
    pub(crate) timeline: &'a Timeline,
}

#[derive(Default)]
pub(crate) struct StateNews {
    pub(crate) events: Vec<Arc<StoredEvent>>,
    pub(crate) removed: Vec<(String, String)>,
    pub(crate) name_moved: bool,
    pub(crate) avatar_moved: bool,
    pub(crate) members_moved: bool,
    /// Members who are told because they are needed, to be remembered.
    pub(crate) lazy: Vec<(OwnedUserId, OwnedEventId)>,
}

/// By type and state key.
type Wanted = BTreeMap<(String, String), OwnedEventId>;

impl Span<'_> {
    pub(crate) async fn load(&self, context: &Context<'_>) -> Result<StateNews, SyncError> {
        let mut news = StateNews::default();
        let mut wanted = Wanted::new();
        match self.known {
            None => {
                news.name_moved = true;
                news.avatar_moved = true;
                news.members_moved = true;
                self.matching(context, None, &mut wanted).await?;
            }
            Some(known) => {
                self.changed(context, known, &mut wanted, &mut news).await?;
                let before = self.required_before.filter(|before| *before != self.required);
                if let Some(before) = before {
                    self.matching(context, Some(before), &mut wanted).await?;
                }
            }
        }
        if self.required.loads_members_lazily() {
            self.needed_members(context, &mut wanted, &mut news).await?;
        }
        for event_id in wanted.values() {
            let event = context.sync.sources.rooms.event_by_id(event_id).await?;
            news.events.push(event.ok_or_else(|| {
                SyncError::Internal(format!("{event_id} is in the state but not in the store"))
            })?);
        }
        Ok(news)
    }

    /// The entries that match, and did not match what was required before.
    async fn matching(
        &self,
        context: &Context<'_>,
        before: Option<&Arc<Required>>,
        wanted: &mut Wanted,
    ) -> Result<(), SyncError> {
        let is_new = |event_type: &str, key: &str| {
            self.required.matches(event_type, key)
                && !before.is_some_and(|before| before.matches(event_type, key))
        };
        let mut take = |(event_type, key, event_id): &StateEntry| {
            if is_new(event_type, key) {
                wanted.insert((event_type.clone(), key.clone()), event_id.clone());
            }
        };
        let facets = &context.sync.sliding.facets;
        facets.entries(context.sync, self.end).await?.iter().for_each(&mut take);
        let rooms = &context.sync.sources.rooms;
        if self.required.wants_any_member() {
            let entries = rooms.state_iter(self.end).await?;
            entries.iter().filter(|(event_type, ..)| event_type == MEMBER).for_each(&mut take);
            return Ok(());
        }
        for key in self.required.named_members() {
            if let Some(event) = rooms.state_get(self.end, MEMBER, key).await? {
                take(&(MEMBER.to_owned(), key.to_owned(), event.pdu.event_id().clone()));
            }
        }
        Ok(())
    }

    async fn changed(
        &self,
        context: &Context<'_>,
        known: Root,
        wanted: &mut Wanted,
        news: &mut StateNews,
    ) -> Result<(), SyncError> {
        if known == self.end {
            return Ok(());
        }
        let rooms = &context.sync.sources.rooms;
        // "All membership updates since the last sync when `limited` is false".
        let all_members = self.required.loads_members_lazily() && !self.timeline.limited;
        let mut there = BTreeSet::new();
        for (event_type, key, event_id) in rooms.state_diff(known, self.end).await? {
            news.note(&event_type);
            let is_update = all_members && event_type == MEMBER;
            if is_update && let Ok(member) = OwnedUserId::try_from(key.as_str()) {
                news.lazy.push((member, event_id.clone()));
            }
            if is_update || self.required.matches(&event_type, &key) {
                wanted.insert((event_type.clone(), key.clone()), event_id);
            }
            there.insert((event_type, key));
        }
        for (event_type, key, _) in rooms.state_diff(self.end, known).await? {
            let entry = (event_type, key);
            if there.contains(&entry) {
                continue;
            }
            news.note(&entry.0);
            if self.required.matches(&entry.0, &entry.1) {
                news.removed.push(entry);
            }
        }
        Ok(())
    }

    /// Senders of the timeline, and those whose member events are in it.
    async fn needed_members(
        &self,
        context: &Context<'_>,
        wanted: &mut Wanted,
        news: &mut StateNews,
    ) -> Result<(), SyncError> {
        let mut needed = self.timeline.senders();
        let members = self.timeline.events.iter().filter(|e| e.pdu.event_type() == MEMBER);
        needed.extend(members.filter_map(|event| event.pdu.state_key()));
        for key in needed {
            let entry = (MEMBER.to_owned(), key.to_owned());
            let Ok(member) = OwnedUserId::try_from(key) else { continue };
            if wanted.contains_key(&entry) {
                continue;
            }
            let event = context.sync.sources.rooms.state_get(self.end, MEMBER, key).await?;
            let Some(event) = event else { continue };
            let event_id = event.pdu.event_id();
            if self.known.is_some() && context.has_member(self.room, &member, event_id) {
                continue;
            }
            news.lazy.push((member, event_id.clone()));
            wanted.insert(entry, event_id.clone());
        }
        Ok(())
    }
}

impl StateNews {
    fn note(&mut self, event_type: &str) {
        match event_type {
            "m.room.name" => self.name_moved = true,
            "m.room.avatar" => self.avatar_moved = true,
            MEMBER => self.members_moved = true,
            _ => (),
        }
    }
}
