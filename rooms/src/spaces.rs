//! Room summaries and the rooms below a space.

pub(crate) mod children;

use std::collections::HashSet;

use bytes::Bytes;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, UserId, events::room::member::MembershipState};
use serde::Deserialize;

use self::children::Child;
use crate::{Error, PublicRoom, RoomView, Rooms, remote::hierarchy::Described, store::Members};

/// Rooms that one request walks through, those of earlier pages included.
const MAX_VISITED: usize = 10_000;
/// Rooms of one page that other servers are asked for.
const MAX_ASKED: usize = 50;
/// Conditions of a join rule that are looked at.
const MAX_ALLOWED: usize = 100;

#[derive(Clone, Copy, Debug)]
pub struct HierarchyQuery<'a> {
    pub from: Option<&'a str>,
    pub limit: usize,
    pub max_depth: usize,
    pub suggested_only: bool,
}

#[derive(Clone, Debug)]
pub struct RoomSummary {
    pub room: PublicRoom,
    pub room_version: String,
    pub encryption: Option<String>,
    pub allowed_room_ids: Vec<OwnedRoomId>,
    /// The viewer's.
    pub membership: Option<MembershipState>,
    /// Stripped `m.space.child` events with `origin_server_ts`, JSON objects.
    pub children_state: Vec<Bytes>,
}

#[derive(Clone, Debug)]
pub struct HierarchyPage {
    pub rooms: Vec<RoomSummary>,
    pub next_batch: Option<String>,
}

/// How far a walk has come. The walk is made again for each page: nothing is kept for clients that
/// may never come back.
struct Progress {
    returned: usize,
    max_depth: usize,
    suggested_only: bool,
}

impl Progress {
    fn of(query: &HierarchyQuery<'_>) -> Result<Self, Error> {
        let HierarchyQuery { from, max_depth, suggested_only, .. } = *query;
        let Some(token) = from else {
            return Ok(Self { returned: 0, max_depth, suggested_only });
        };
        let bad = |reason: &str| Error::InvalidParam(reason.to_owned());
        let progress =
            Self::parse(token).ok_or_else(|| bad("`from` is not a token of a hierarchy"))?;
        // "If specified, `max_depth` and `suggested_only` cannot be changed from the first
        // request."
        if progress.max_depth != max_depth || progress.suggested_only != suggested_only {
            return Err(bad("`max_depth` and `suggested_only` cannot change between pages"));
        }
        Ok(progress)
    }

    fn parse(token: &str) -> Option<Self> {
        let mut parts = token.strip_prefix('h')?.split('_');
        let returned = parts.next()?.parse().ok()?;
        let max_depth = parts.next()?.parse().ok()?;
        let suggested_only = parts.next()? == "s";
        parts.next().is_none().then_some(Self { returned, max_depth, suggested_only })
    }

    fn token(&self) -> String {
        let suggested = if self.suggested_only { "s" } else { "a" };
        format!("h{}_{}_{suggested}", self.returned, self.max_depth)
    }
}

impl Rooms {
    /// `viewer` is unset for a request without authentication.
    pub async fn summary(
        &self,
        viewer: Option<&UserId>,
        room: &RoomId,
    ) -> Result<RoomSummary, Error> {
        const NOT_FOUND: Error = Error::NotFound("the room");
        let view = self.inner.view(room).await?.ok_or(NOT_FOUND)?;
        let summary = self.summarise(viewer, &view).await?;
        if self.may_know(viewer, &view, &summary).await? { Ok(summary) } else { Err(NOT_FOUND) }
    }

    /// As [`summary`](Self::summary), wherever the room is: servers that may be in it are asked if
    /// this one is not.
    pub async fn summary_via(
        &self,
        viewer: &UserId,
        room: &RoomId,
        via: &[OwnedServerName],
    ) -> Result<RoomSummary, Error> {
        if self.inner.is_resident(room).await? {
            return self.summary(Some(viewer), room).await;
        }
        let described = self.described_room(viewer, room, via, false).await?;
        let mut summary = described.ok_or(Error::NotFound("the room"))?.summary;
        summary.membership = self.user_room(viewer, room).await?.map(|room| room.membership);
        Ok(summary)
    }

    /// The rooms below a space, "in a depth-first manner", as far as the viewer may know of them.
    pub async fn hierarchy(
        &self,
        viewer: &UserId,
        room: &RoomId,
        query: HierarchyQuery<'_>,
    ) -> Result<HierarchyPage, Error> {
        let mut progress = Progress::of(&query)?;
        let (mut rooms, mut passed) = (Vec::new(), 0);
        let mut visited: HashSet<OwnedRoomId> = HashSet::new();
        let mut asked = 0;
        let mut open = vec![(room.to_owned(), Vec::new(), 0)];
        while let Some((room_id, via, depth)) = open.pop() {
            if visited.len() == MAX_VISITED || !visited.insert(room_id.clone()) {
                continue;
            }
            let mut found = self.space_room(viewer, &room_id, query.suggested_only).await?;
            if found.is_none() && asked < MAX_ASKED && !self.inner.is_resident(&room_id).await? {
                asked += 1;
                let suggested_only = query.suggested_only;
                let told = self.described_room(viewer, &room_id, &via, suggested_only).await?;
                found = told.map(|Described { summary, children }| (summary, children));
            }
            let Some((summary, children)) = found else {
                if depth == 0 {
                    return Err(Error::Forbidden("you may not see this room".to_owned()));
                }
                continue;
            };
            if passed >= progress.returned {
                if rooms.len() == query.limit.max(1) {
                    progress.returned = passed;
                    return Ok(HierarchyPage { rooms, next_batch: Some(progress.token()) });
                }
                rooms.push(summary);
            }
            passed += 1;
            if depth < query.max_depth {
                // The first child is to be taken off the stack first.
                let children = children.into_iter().rev();
                open.extend(children.map(|child| (child.room_id, child.via, depth + 1)));
            }
        }
        Ok(HierarchyPage { rooms, next_batch: None })
    }

    /// A room of a hierarchy and its children in order; `None` if the viewer may not know of it.
    async fn space_room(
        &self,
        viewer: &UserId,
        room_id: &RoomId,
        suggested_only: bool,
    ) -> Result<Option<(RoomSummary, Vec<Child>)>, Error> {
        let view = self.inner.view(room_id).await?;
        // What is known of a room that nobody here is in any more is out of date.
        let Some(view) = view.filter(|view| !view.local_joined.is_empty()) else {
            return Ok(None);
        };
        let mut summary = self.summarise(Some(viewer), &view).await?;
        if !self.may_know(Some(viewer), &view, &summary).await? {
            return Ok(None);
        }
        if summary.room.room_type.as_deref() != Some("m.space") {
            return Ok(Some((summary, Vec::new())));
        }
        let children = self.space_children(view.state, suggested_only).await?;
        summary.children_state = children.iter().map(|child| child.stripped.clone()).collect();
        Ok(Some((summary, children)))
    }

    pub(crate) async fn summarise(
        &self,
        viewer: Option<&UserId>,
        view: &RoomView,
    ) -> Result<RoomSummary, Error> {
        let room_id = view.room_id.clone();
        let room = self.public_room(room_id, view.state, view.joined_members).await?;
        let allowed_room_ids = match room.join_rule.as_str() {
            "restricted" | "knock_restricted" => self.allowed_rooms(view).await?,
            _ => Vec::new(),
        };
        let membership = match viewer {
            Some(viewer) => self.inner.store.get::<Members>(&view.room_id, viewer).await?,
            None => None,
        };
        Ok(RoomSummary {
            room,
            room_version: view.version.as_str().to_owned(),
            encryption: self.setting(view.state, "m.room.encryption", "algorithm").await?,
            allowed_room_ids,
            membership: membership.map(|row| row.membership),
            children_state: Vec::new(),
        })
    }

    async fn allowed_rooms(&self, view: &RoomView) -> Result<Vec<OwnedRoomId>, Error> {
        #[derive(Deserialize)]
        struct Condition {
            #[serde(rename = "type")]
            kind: String,
            room_id: OwnedRoomId,
        }
        let allow: Option<Vec<serde_json::Value>> =
            self.setting(view.state, "m.room.join_rules", "allow").await?;
        let conditions = allow.unwrap_or_default().into_iter().take(MAX_ALLOWED);
        Ok(conditions
            .filter_map(|condition| serde_json::from_value::<Condition>(condition).ok())
            .filter(|condition| condition.kind == "m.room_membership")
            .map(|condition| condition.room_id)
            .collect())
    }

    /// Whether the viewer is in the room, could be, or may read it anyway.
    pub(crate) async fn may_know(
        &self,
        viewer: Option<&UserId>,
        view: &RoomView,
        summary: &RoomSummary,
    ) -> Result<bool, Error> {
        use MembershipState::{Invite, Join, Knock};
        let version = view.version;
        let is_open = match summary.room.join_rule.as_str() {
            "public" => true,
            "knock" => version.knocking(),
            "knock_restricted" => version.knock_restricted_joins(),
            _ => false,
        };
        if is_open
            || summary.room.world_readable
            || matches!(summary.membership, Some(Join | Invite | Knock))
        {
            return Ok(true);
        }
        let Some(viewer) = viewer else { return Ok(false) };
        if summary.room.join_rule == "restricted" && version.restricted_joins() {
            for allowed in &summary.allowed_room_ids {
                if self.membership(viewer, allowed).await? == Some(Join) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
