//! Which rooms a list takes.

use std::{collections::BTreeSet, sync::Arc};

use ruma::{OwnedRoomId, RoomId, events::room::member::MembershipState};
use serde::Deserialize;

use super::{facts::UserFacts, snapshot::Entry, standing};
use crate::{SyncError, service::Inner};

/// The filters of a list, in the words of both dialects. Unknown ones are ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filters {
    is_dm: Option<bool>,
    spaces: Option<Vec<String>>,
    is_encrypted: Option<bool>,
    #[serde(alias = "is_invite")]
    is_invited: Option<bool>,
    room_types: Option<Vec<Option<String>>>,
    not_room_types: Option<Vec<Option<String>>>,
    tags: Option<Vec<String>>,
    not_tags: Option<Vec<String>>,
    room_name_like: Option<String>,
}

impl Filters {
    pub(crate) fn longest_list(&self) -> usize {
        let texts = [&self.spaces, &self.tags, &self.not_tags].into_iter().flatten().map(Vec::len);
        let types = [&self.room_types, &self.not_room_types].into_iter().flatten().map(Vec::len);
        texts.chain(types).max().unwrap_or_default()
    }

    fn takes_everything(&self) -> bool {
        let Self { is_dm, spaces, is_encrypted, is_invited, room_types, .. } = self;
        let Self { not_room_types, tags, not_tags, room_name_like, .. } = self;
        [is_dm, is_encrypted, is_invited].iter().all(|flag| flag.is_none())
            && [spaces, tags, not_tags].iter().all(|list| list.is_none())
            && room_types.is_none()
            && not_room_types.is_none()
            && room_name_like.is_none()
    }

    pub(crate) fn ask_for_tags(&self) -> bool {
        self.tags.is_some() || self.not_tags.is_some()
    }

    /// The entries that pass, as indices, in order. What is cheaper to know is looked at first.
    pub(crate) async fn select(
        &self,
        sync: &Inner,
        facts: &UserFacts<'_>,
        entries: &[Entry],
    ) -> Result<Vec<usize>, SyncError> {
        if self.takes_everything() {
            return Ok((0..entries.len()).collect());
        }
        let children = match &self.spaces {
            Some(spaces) => Some(self.children(sync, spaces, entries).await?),
            None => None,
        };
        let mut selected = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let room_id = &entry.room_id;
            if self.is_invited.is_some_and(|wanted| wanted != entry.is_invite())
                || self.is_dm.is_some_and(|wanted| wanted != facts.is_dm(room_id))
                || children.as_ref().is_some_and(|children| !children.contains(room_id))
                || !self.takes_tags(facts, room_id)
            {
                continue;
            }
            if self.takes_state(sync, facts, entry).await? {
                selected.push(index);
            }
        }
        Ok(selected)
    }

    /// "`not_tags` takes priority over `tags`."
    fn takes_tags(&self, facts: &UserFacts<'_>, room_id: &RoomId) -> bool {
        let has_any = |tags: &Vec<String>| tags.iter().any(|tag| facts.has_tag(room_id, tag));
        self.tags.as_ref().is_none_or(has_any) && !self.not_tags.as_ref().is_some_and(has_any)
    }

    async fn takes_state(
        &self,
        sync: &Inner,
        facts: &UserFacts<'_>,
        entry: &Entry,
    ) -> Result<bool, SyncError> {
        if self.room_types.is_some() || self.not_room_types.is_some() {
            let room_type = standing::room_type(sync, facts.user, entry).await?;
            let lists = |types: &Vec<Option<String>>| types.contains(&room_type);
            // "If a type is in both […], then `not_room_types` wins."
            if !self.room_types.as_ref().is_none_or(lists)
                || self.not_room_types.as_ref().is_some_and(lists)
            {
                return Ok(false);
            }
        }
        if self.is_encrypted.is_none() && self.room_name_like.is_none() {
            return Ok(true);
        }
        let facets = standing::facets(sync, facts.user, entry).await?;
        let has_name = |wanted: &String| {
            let name = facets.name.as_deref().unwrap_or_default();
            name.to_lowercase().contains(&wanted.to_lowercase())
        };
        Ok(self.is_encrypted.is_none_or(|wanted| wanted == facets.is_encrypted)
            && self.room_name_like.as_ref().is_none_or(has_name))
    }

    /// "Unknown spaces or spaces the user is not joined to will be ignored." No subspaces.
    async fn children(
        &self,
        sync: &Inner,
        spaces: &[String],
        entries: &[Entry],
    ) -> Result<BTreeSet<OwnedRoomId>, SyncError> {
        let mut children = BTreeSet::new();
        for entry in entries {
            let is_joined = entry.membership.state == MembershipState::Join;
            if !is_joined || !spaces.iter().any(|space| entry.room_id == space.as_str()) {
                continue;
            }
            if let Some(view) = sync.sources.rooms.room(&entry.room_id).await? {
                let of_space: Arc<_> = sync.sliding.facets.children(sync, view.state).await?;
                children.extend(of_space.iter().cloned());
            }
        }
        Ok(children)
    }
}
