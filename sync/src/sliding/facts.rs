//! What a user's account data says of their rooms: which are direct, and their tags.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{OwnedRoomId, RoomId, UserId};
use serde::{Deserialize, de::IgnoredAny};
use storage::Position;

use crate::{SyncError, changes::UserMark, service::Inner};

type Tags = BTreeMap<OwnedRoomId, BTreeSet<String>>;

/// Kept with the user's mark; read again when their account data moved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    direct: Option<(Position, Arc<BTreeSet<OwnedRoomId>>)>,
    tags: Option<(Position, Arc<Tags>)>,
}

pub(crate) struct UserFacts<'a> {
    pub(crate) user: &'a UserId,
    direct: Arc<BTreeSet<OwnedRoomId>>,
    /// Read only if somebody asks for them.
    tags: Option<Arc<Tags>>,
}

impl<'a> UserFacts<'a> {
    pub(crate) async fn load(
        sync: &Inner,
        user: &'a UserMark,
        with_tags: bool,
    ) -> Result<Self, SyncError> {
        // Looked at first: what changes after it is read again.
        let moved = user.account_data.get();
        let kept = user.facts.lock().clone();
        let direct = match kept.direct.filter(|(at, _)| *at == moved) {
            Some((_, direct)) => direct,
            None => Arc::new(direct(sync, &user.user_id).await?),
        };
        let tags = match kept.tags.filter(|(at, _)| *at == moved) {
            Some((_, tags)) => Some(tags),
            None if with_tags => Some(Arc::new(tags(sync, &user.user_id).await?)),
            None => None,
        };
        *user.facts.lock() = Kept {
            direct: Some((moved, Arc::clone(&direct))),
            tags: tags.clone().map(|tags| (moved, tags)),
        };
        Ok(Self { user: &user.user_id, direct, tags })
    }

    pub(crate) fn is_dm(&self, room_id: &RoomId) -> bool {
        self.direct.contains(room_id)
    }

    pub(crate) fn has_tag(&self, room_id: &RoomId, tag: &str) -> bool {
        let tags = self.tags.as_ref().and_then(|tags| tags.get(room_id));
        tags.is_some_and(|tags| tags.contains(tag))
    }
}

async fn direct(sync: &Inner, user: &UserId) -> Result<BTreeSet<OwnedRoomId>, SyncError> {
    let content = sync.sources.accounts.account_data(user, None, "m.direct").await?;
    // A client may have set anything.
    let rooms = content.and_then(|content| {
        serde_json::from_str::<BTreeMap<String, Vec<String>>>(content.get()).ok()
    });
    let rooms = rooms.unwrap_or_default().into_values().flatten();
    Ok(rooms.filter_map(|room| OwnedRoomId::try_from(room).ok()).collect())
}

async fn tags(sync: &Inner, user: &UserId) -> Result<Tags, SyncError> {
    #[derive(Deserialize)]
    struct Content {
        tags: BTreeMap<String, IgnoredAny>,
    }
    let mut tags = Tags::new();
    for event in sync.sources.accounts.all_account_data(user).await? {
        let Some(room_id) = event.room_id.filter(|_| event.event_type == "m.tag") else { continue };
        if let Ok(content) = serde_json::from_str::<Content>(event.content.get()) {
            tags.insert(room_id, content.tags.into_keys().collect());
        }
    }
    Ok(tags)
}
