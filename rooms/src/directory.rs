//! The published room directory.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId, UserId};
use serde::de::DeserializeOwned;
use storage::{Batch, Range};

use crate::{
    Error, Rooms, Root,
    content::Content,
    store::{HeadRecord, Heads, Published, PublishedNetworks},
};

/// Rooms that a directory lists at most.
const MAX_LISTED: usize = 50_000;
/// Networks that are looked at together.
const MAX_NETWORKS: usize = 1000;
/// The partition of our own directory.
const OWN: &str = "";

/// Whose directory is meant. Application services have one for each network that they bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network<'a> {
    #[default]
    Own,
    /// `third_party_instance_id`
    One(&'a str),
    All,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct PublicRoomsQuery<'a> {
    pub search: Option<&'a str>,
    /// Room types to include (`None` in the list: rooms without a type); unset: all.
    pub room_types: Option<&'a [Option<String>]>,
    pub limit: usize,
    pub since: Option<&'a str>,
    pub network: Network<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicRoom {
    pub room_id: OwnedRoomId,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub canonical_alias: Option<OwnedRoomAliasId>,
    pub avatar_url: Option<String>,
    pub room_type: Option<String>,
    /// `public`, `knock` and so on.
    pub join_rule: String,
    pub num_joined_members: u64,
    pub world_readable: bool,
    pub guest_can_join: bool,
}

#[derive(Clone, Debug)]
pub struct PublicRoomsPage {
    pub chunk: Vec<PublicRoom>,
    pub next_batch: Option<String>,
    pub prev_batch: Option<String>,
    pub total: u64,
}

/// What listed rooms look like, as long as their state is the same.
#[derive(Default)]
pub(crate) struct Directory(Mutex<HashMap<OwnedRoomId, Known>>);

struct Known {
    state: Root,
    room: Arc<PublicRoom>,
}

impl Directory {
    fn get(&self, room_id: &RoomId, head: &HeadRecord) -> Option<Arc<PublicRoom>> {
        let known = self.0.lock();
        let known = known.get(room_id).filter(|known| known.state == head.state)?;
        // The number of members follows from the state, so it is the same too.
        Some(Arc::clone(&known.room))
    }

    fn put(&self, state: Root, room: Arc<PublicRoom>) {
        self.0.lock().insert(room.room_id.clone(), Known { state, room });
    }

    fn retain(&self, listed: &[OwnedRoomId]) {
        let mut known = self.0.lock();
        if known.len() > listed.len() {
            let listed: std::collections::HashSet<_> = listed.iter().collect();
            known.retain(|room_id, _| listed.contains(room_id));
        }
    }
}

/// The order of the list: the largest rooms first.
fn rank(room: &PublicRoom) -> (Reverse<u64>, &str) {
    (Reverse(room.num_joined_members), room.room_id.as_str())
}

/// The room next to which a page ends, by rank, so that rooms that come and go between two
/// requests do not shift the others.
struct Edge<'a> {
    is_forward: bool,
    rank: (Reverse<u64>, &'a str),
}

impl<'a> Edge<'a> {
    fn parse(token: &'a str) -> Option<Self> {
        let (direction, rest) = token.split_at_checked(1)?;
        let (members, room_id) = rest.split_once('_')?;
        let is_forward = match direction {
            "n" => true,
            "p" => false,
            _ => return None,
        };
        Some(Self { is_forward, rank: (Reverse(members.parse().ok()?), room_id) })
    }

    fn token(direction: char, room: &PublicRoom) -> String {
        format!("{direction}{}_{}", room.num_joined_members, room.room_id)
    }
}

impl PublicRoomsQuery<'_> {
    fn matches(&self, room: &PublicRoom, search: Option<&str>) -> bool {
        self.room_types.is_none_or(|types| types.contains(&room.room_type))
            && search.is_none_or(|search| {
                let alias = room.canonical_alias.as_ref().map(|alias| alias.as_str());
                let texts = [room.name.as_deref(), room.topic.as_deref(), alias];
                texts.into_iter().flatten().any(|text| text.to_lowercase().contains(search))
            })
    }
}

impl Rooms {
    pub async fn is_published(&self, room: &RoomId) -> Result<bool, Error> {
        if self.inner.store.get::<Heads>(room, ()).await?.is_none() {
            return Err(Error::NotFound("the room"));
        }
        Ok(self.inner.store.get::<Published>(&"", room).await?.is_some())
    }

    /// Allowed to those who may change the room's canonical alias.
    pub async fn set_published(
        &self,
        user: &UserId,
        room: &RoomId,
        published: bool,
    ) -> Result<(), Error> {
        if self.is_published(room).await? == published {
            return Ok(());
        }
        if !self.may_set_aliases(user, room).await? {
            let reason = "only moderators of the room may change whether it is listed";
            return Err(Error::Forbidden(reason.to_owned()));
        }
        let mut batch = Batch::new();
        if published {
            batch.put::<Published>(&"", room, &());
        } else {
            batch.delete::<Published>(&"", room);
        }
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    /// Lists a room in the directory of a network, or does so no longer, as whoever bridges it says.
    pub async fn set_published_in(
        &self,
        network: &str,
        room: &RoomId,
        published: bool,
    ) -> Result<(), Error> {
        if self.inner.store.get::<Heads>(room, ()).await?.is_none() {
            return Err(Error::NotFound("the room"));
        }
        let mut batch = Batch::new();
        if published {
            batch.put::<Published>(network, room, &());
            batch.derive_put::<PublishedNetworks>(OWN, network, &());
        } else {
            batch.delete::<Published>(network, room);
        }
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    /// The listed rooms, those with most members first.
    pub async fn public_rooms(
        &self,
        query: PublicRoomsQuery<'_>,
    ) -> Result<PublicRoomsPage, Error> {
        let since = match query.since {
            Some(token) => Some(Edge::parse(token).ok_or_else(|| {
                Error::InvalidParam("`since` is not a token of this list".to_owned())
            })?),
            None => None,
        };
        let search = query.search.map(str::to_lowercase);
        let mut rooms = self.listed_rooms(query.network).await?;
        rooms.retain(|room| query.matches(room, search.as_deref()));
        rooms.sort_by(|a, b| rank(a).cmp(&rank(b)));
        let limit = query.limit.max(1);
        let range = match since {
            None => 0..limit,
            Some(edge) if edge.is_forward => {
                let start = rooms.partition_point(|room| rank(room) <= edge.rank);
                start..start.saturating_add(limit)
            }
            Some(edge) => {
                let end = rooms.partition_point(|room| rank(room) < edge.rank);
                end.saturating_sub(limit)..end
            }
        };
        let range = range.start..range.end.min(rooms.len());
        let page = &rooms[range.clone()];
        let next = page.last().filter(|_| range.end < rooms.len());
        let previous = page.first().filter(|_| range.start > 0);
        Ok(PublicRoomsPage {
            next_batch: next.map(|room| Edge::token('n', room)),
            prev_batch: previous.map(|room| Edge::token('p', room)),
            total: rooms.len() as u64,
            chunk: page.iter().map(|room| PublicRoom::clone(room)).collect(),
        })
    }

    async fn listed_in(&self, network: &str) -> Result<Vec<OwnedRoomId>, Error> {
        let range = Range::all().limit(MAX_LISTED);
        let rows = self.inner.store.scan::<Published>(network, range).await?;
        Ok(rows.into_iter().filter_map(|row| RoomId::parse(row.sort).ok()).collect())
    }

    async fn listed_rooms(&self, network: Network<'_>) -> Result<Vec<Arc<PublicRoom>>, Error> {
        let listed = match network {
            Network::Own => self.listed_in(OWN).await?,
            Network::One(network) => self.listed_in(network).await?,
            Network::All => {
                let mut all = self.listed_in(OWN).await?;
                let range = Range::all().limit(MAX_NETWORKS);
                for row in self.inner.store.scan::<PublishedNetworks>(OWN, range).await? {
                    all.extend(self.listed_in(&row.sort).await?);
                }
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        if network == Network::Own {
            self.inner.directory.retain(&listed);
        }
        let mut rooms = Vec::with_capacity(listed.len());
        for room_id in listed {
            let room = self.listed_room(room_id).await?;
            rooms.extend(room.filter(|room| room.num_joined_members > 0));
        }
        Ok(rooms)
    }

    async fn listed_room(&self, room_id: OwnedRoomId) -> Result<Option<Arc<PublicRoom>>, Error> {
        // Not the view: a list of many rooms must not push those in use out of memory.
        let Some(head) = self.inner.store.get::<Heads>(&room_id, ()).await? else {
            return Ok(None);
        };
        if let Some(known) = self.inner.directory.get(&room_id, &head) {
            return Ok(Some(known));
        }
        let room = self.public_room(room_id, head.state, head.joined_members).await?;
        let room = Arc::new(room);
        // The row may be ahead of the log, and then not all of the state is shown yet.
        if head.position <= self.inner.store.log().position() {
            self.inner.directory.put(head.state, Arc::clone(&room));
        }
        Ok(Some(room))
    }

    /// Whether anybody may join the room or look into it.
    pub async fn is_public(&self, room: &RoomId) -> Result<bool, Error> {
        // Not the view: whoever asks may ask of many rooms.
        let Some(head) = self.inner.store.get::<Heads>(room, ()).await? else { return Ok(false) };
        let root = head.state;
        let join_rule = self.setting::<String>(root, "m.room.join_rules", "join_rule").await?;
        Ok(join_rule.as_deref() == Some("public") || self.is_world_readable(root).await?)
    }

    /// What a state says about its room.
    pub(crate) async fn public_room(
        &self,
        room_id: OwnedRoomId,
        root: Root,
        num_joined_members: u64,
    ) -> Result<PublicRoom, Error> {
        let alias = self.setting::<String>(root, "m.room.canonical_alias", "alias").await?;
        let visibility =
            self.setting::<String>(root, "m.room.history_visibility", "history_visibility").await?;
        let guests = self.setting::<String>(root, "m.room.guest_access", "guest_access").await?;
        let join_rule = self.setting::<String>(root, "m.room.join_rules", "join_rule").await?;
        let text = async |event_type, key| {
            let text = self.setting::<String>(root, event_type, key).await?;
            Ok::<_, Error>(text.filter(|text| !text.is_empty()))
        };
        Ok(PublicRoom {
            room_id,
            name: text("m.room.name", "name").await?,
            topic: text("m.room.topic", "topic").await?,
            canonical_alias: alias.and_then(|alias| RoomAliasId::parse(alias).ok()),
            avatar_url: text("m.room.avatar", "url").await?,
            room_type: self.setting(root, "m.room.create", "type").await?,
            join_rule: join_rule.unwrap_or_else(|| "invite".to_owned()),
            num_joined_members,
            world_readable: visibility.as_deref() == Some("world_readable"),
            guest_can_join: guests.as_deref() == Some("can_join"),
        })
    }

    /// One key of the content of a state event without a state key, if it is of that type.
    pub(crate) async fn setting<T: DeserializeOwned>(
        &self,
        root: Root,
        event_type: &str,
        key: &str,
    ) -> Result<Option<T>, Error> {
        let Some(event) = self.state_get(root, event_type, "").await? else { return Ok(None) };
        let content = Content::parse(event.pdu.content(), "the content of an event")?;
        Ok(content.get(key).and_then(|value| serde_json::from_str(value.get()).ok()))
    }
}
