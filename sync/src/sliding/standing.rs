//! How a user stands to a room in which they are not, and what such a room looks like to them.

use std::sync::Arc;

use quick_cache::sync::Cache;
use rooms::Root;
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::room::member::MembershipState};
use serde::Deserialize;
use serde_json::value::RawValue;
use storage::Position;

use super::{
    facets::{Facets, text_of},
    snapshot::Entry,
};
use crate::{SyncError, service::Inner};

const STANDINGS_KEPT: usize = 32_768;

/// What a membership other than `join` is about. Does not change while the membership does not.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Whose doing it is.
    pub(crate) sender: Option<OwnedUserId>,
    /// For who was in the room: the state that they may see.
    pub(crate) seen: Option<Root>,
    facets: Facets,
    room_type: Option<String>,
}

/// By user and room, with the position of the membership.
pub(crate) type Standings = Cache<(OwnedUserId, OwnedRoomId), (Position, Arc<Standing>)>;

pub(crate) fn new_standings() -> Standings {
    Cache::new(STANDINGS_KEPT)
}

/// `None` if the membership is another one by now.
pub(crate) async fn of(
    sync: &Inner,
    user: &UserId,
    entry: &Entry,
) -> Result<Option<Arc<Standing>>, SyncError> {
    let key = (user.to_owned(), entry.room_id.clone());
    let position = entry.membership.position;
    if let Some((at, standing)) = sync.sliding.standings.get(&key)
        && at == position
    {
        return Ok(Some(standing));
    }
    let row = sync.sources.rooms.user_room(user, &entry.room_id).await?;
    let Some(row) = row.filter(|row| row.position == position) else { return Ok(None) };
    let event = sync.sources.rooms.event_by_id(&row.event_id).await?;
    let is_open = matches!(row.membership, MembershipState::Invite | MembershipState::Knock);
    let (facets, room_type) = if is_open {
        stripped_facets(&sync.sources.rooms.stripped_state(&row, user).await?)
    } else {
        match row.seen {
            Some(root) => (
                Facets::clone(&*sync.sliding.facets.at(sync, root).await?),
                room_type_at(sync, root).await?,
            ),
            None => Default::default(),
        }
    };
    let standing = Arc::new(Standing {
        sender: event.map(|event| event.pdu.sender().to_owned()),
        seen: row.seen,
        facets,
        room_type,
    });
    sync.sliding.standings.insert(key, (position, Arc::clone(&standing)));
    Ok(Some(standing))
}

pub(crate) async fn facets(
    sync: &Inner,
    user: &UserId,
    entry: &Entry,
) -> Result<Arc<Facets>, SyncError> {
    if entry.is_joined() {
        return match sync.sources.rooms.room(&entry.room_id).await? {
            Some(view) => sync.sliding.facets.at(sync, view.state).await,
            None => Ok(Arc::default()),
        };
    }
    let standing = of(sync, user, entry).await?;
    Ok(standing.map(|standing| Arc::new(standing.facets.clone())).unwrap_or_default())
}

pub(crate) async fn room_type(
    sync: &Inner,
    user: &UserId,
    entry: &Entry,
) -> Result<Option<String>, SyncError> {
    if entry.is_joined() {
        let mark = entry.membership.room.as_ref();
        if let Some(known) = mark.and_then(|mark| mark.room_type.get()) {
            return Ok(known.clone());
        }
        let Some(view) = sync.sources.rooms.room(&entry.room_id).await? else { return Ok(None) };
        let room_type = text_of(view.create.content_str(), "type");
        if let Some(mark) = mark {
            // Whoever else set it found the same.
            let _known = mark.room_type.set(room_type.clone());
        }
        return Ok(room_type);
    }
    Ok(of(sync, user, entry).await?.and_then(|standing| standing.room_type.clone()))
}

async fn room_type_at(sync: &Inner, root: Root) -> Result<Option<String>, SyncError> {
    let create = sync.sources.rooms.state_get(root, "m.room.create", "").await?;
    Ok(create.and_then(|create| text_of(create.pdu.content_str(), "type")))
}

/// Another server may have sent anything.
fn stripped_facets(events: &[bytes::Bytes]) -> (Facets, Option<String>) {
    #[derive(Deserialize)]
    struct Stripped<'a> {
        #[serde(rename = "type")]
        event_type: String,
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let (mut facets, mut room_type) = (Facets::default(), None);
    for event in events {
        let Ok(event) = serde_json::from_slice::<Stripped<'_>>(event) else { continue };
        let content = event.content.get();
        match event.event_type.as_str() {
            "m.room.create" => room_type = text_of(content, "type"),
            "m.room.name" => facets.name = text_of(content, "name"),
            "m.room.avatar" => facets.avatar = text_of(content, "url"),
            "m.room.encryption" => facets.is_encrypted = true,
            _ => (),
        }
    }
    (facets, room_type)
}
