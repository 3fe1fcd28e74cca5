//! `summary`: what a client needs to name a room, without its member list.

use std::{collections::BTreeSet, sync::Arc};

use quick_cache::sync::Cache;
use rooms::{Root, StoredEvent};
use ruma::{OwnedUserId, RoomId, events::room::member::MembershipState};
use serde::Deserialize;

use crate::{
    SyncError,
    compute::Scope,
    json::{self, Object},
};

/// "This should be the first 5 members of the room, ordered by stream ordering."
const HEROES: usize = 5;
/// Members looked at to find them. In a room without a name that has more, which are the first is
/// of no use to anybody.
const MAX_CANDIDATES: usize = 200;

/// The first members at a state, one more than are told: the client's own user is left out.
#[derive(Debug)]
pub(crate) struct Candidates {
    present: Vec<OwnedUserId>,
    gone: Vec<OwnedUserId>,
}

/// By state: everybody in the room gets the same.
pub(crate) type CandidatesByState = Cache<Root, Arc<Candidates>>;

#[derive(Debug)]
pub(crate) struct Summary {
    heroes: Option<Vec<OwnedUserId>>,
    joined: u64,
    invited: u64,
}

impl Summary {
    pub(crate) fn heroes(&self) -> &[OwnedUserId] {
        self.heroes.as_deref().unwrap_or_default()
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        if let Some(heroes) = &self.heroes {
            let list = object.key("m.heroes");
            serde_json::to_writer(list, heroes).expect("a list is written to memory");
        }
        json::number(object.key("m.joined_member_count"), self.joined);
        json::number(object.key("m.invited_member_count"), self.invited);
        object.close();
    }
}

/// Whether a change of state of this type may change the summary.
pub(crate) fn depends_on(event_type: &str) -> bool {
    matches!(event_type, "m.room.member" | "m.room.name" | "m.room.canonical_alias")
}

pub(crate) async fn load(
    scope: &Scope<'_>,
    room: &RoomId,
    root: Root,
) -> Result<Summary, SyncError> {
    let view = scope.sync.sources.rooms.room(room).await?;
    let view = view.ok_or_else(|| SyncError::Internal(format!("{room} has no view")))?;
    // "Required if the room's m.room.name or m.room.canonical_alias state events are unset or
    // empty."
    let heroes = if is_named(scope, root).await? { None } else { Some(heroes(scope, root).await?) };
    Ok(Summary { heroes, joined: view.joined_members, invited: view.invited_members })
}

async fn is_named(scope: &Scope<'_>, root: Root) -> Result<bool, SyncError> {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    for event_type in ["m.room.name", "m.room.canonical_alias"] {
        let event = scope.sync.sources.rooms.state_get(root, event_type, "").await?;
        let content = event.and_then(|event| event.pdu.content_as::<Content>().ok());
        let name = content.and_then(|content| content.name.or(content.alias));
        if name.is_some_and(|name| !name.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Those who name a room without a name.
pub(crate) async fn heroes(scope: &Scope<'_>, root: Root) -> Result<Vec<OwnedUserId>, SyncError> {
    let cache = &scope.sync.candidates;
    let candidates = match cache.get(&root) {
        Some(known) => known,
        None => {
            let candidates = Arc::new(candidates(scope, root).await?);
            cache.insert(root, Arc::clone(&candidates));
            candidates
        }
    };
    let others = |users: &[OwnedUserId]| -> Vec<OwnedUserId> {
        users.iter().filter(|user| *user != scope.user).take(HEROES).cloned().collect()
    };
    let present = others(&candidates.present);
    Ok(if present.is_empty() { others(&candidates.gone) } else { present })
}

async fn candidates(scope: &Scope<'_>, root: Root) -> Result<Candidates, SyncError> {
    let rooms = &scope.sync.sources.rooms;
    let mut members = Vec::new();
    let ids = rooms.state_iter(root).await?;
    let ids = ids.into_iter().filter(|(event_type, ..)| event_type == "m.room.member");
    for (.., event_id) in ids.take(MAX_CANDIDATES) {
        members.extend(rooms.event_by_id(&event_id).await?);
    }
    members.sort_by_key(|member| member.position);
    let (mut present, mut gone) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for member in &members {
        let Some(user) = user_of(member).filter(|user| seen.insert(user.clone())) else { continue };
        let list = match member.pdu.membership() {
            Some(MembershipState::Join | MembershipState::Invite) => &mut present,
            Some(MembershipState::Leave | MembershipState::Ban) => &mut gone,
            _ => continue,
        };
        if list.len() <= HEROES {
            list.push(user);
        }
    }
    Ok(Candidates { present, gone })
}

fn user_of(member: &StoredEvent) -> Option<OwnedUserId> {
    OwnedUserId::try_from(member.pdu.state_key()?).ok()
}
