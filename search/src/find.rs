//! Answering a search.

use std::{collections::BTreeSet, sync::Arc};

use rooms::StoredEvent;
use ruma::{
    OwnedRoomId, OwnedUserId, RoomId, UserId, api::client::filter::RoomEventFilter,
    events::room::member::MembershipState,
};

use crate::{Error, Keys, Search, merge::Merge, store::Place, text, words::Term};

/// Rooms of the one who searches that are searched.
const ROOMS_MAX: usize = 2000;
/// Segments of the index that are looked into for one answer. A page can end before its limit, and
/// the next goes on.
const OPENED_MAX: usize = 3000;
/// Events that are read for one answer.
const EVENTS_MAX: usize = 500;
/// The newest results, of which the best are found.
const RANKED: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Newest first. Goes on with what is older than this.
    Recent { before: Option<Place> },
    /// Best first, among the newest two hundred before that place. Goes on after so many of them.
    Rank { before: Option<Place>, after: usize },
}

#[derive(Clone, Debug)]
pub struct Query<'a> {
    pub viewer: &'a UserId,
    pub term: &'a str,
    pub keys: Keys,
    pub filter: &'a RoomEventFilter,
    /// Whose events are left out.
    pub ignored: &'a BTreeSet<OwnedUserId>,
    pub order: Order,
    pub limit: usize,
}

#[derive(Clone, Debug)]
pub struct Hit {
    pub event: Arc<StoredEvent>,
    /// The higher the better.
    pub rank: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Found {
    pub hits: Vec<Hit>,
    /// What was searched for, word by word.
    pub words: Vec<String>,
    /// How to go on, unless this is the end.
    pub next: Option<Order>,
    /// How many more there are, as far as has been looked.
    pub further: usize,
}

/// What was found on a walk to older events.
struct Walked {
    hits: Vec<(Place, Hit)>,
    /// The last that was looked at, if there are more.
    at: Option<Place>,
    further: usize,
}

impl Search {
    /// Events with all the words of the term that the viewer may see, in rooms that they are in or
    /// were in.
    pub async fn find(&self, query: Query<'_>) -> Result<Found, Error> {
        let Some(term) = Term::parse(query.term) else { return Ok(Found::default()) };
        let words = term.words().to_vec();
        let found = match query.order {
            Order::Recent { before } => {
                let walked = self.walk(&query, &term, before, query.limit).await?;
                let next = walked.at.map(|at| Order::Recent { before: Some(at) });
                let hits = walked.hits.into_iter().map(|(_, hit)| hit).collect();
                Found { hits, words, next, further: walked.further }
            }
            Order::Rank { before, after } => {
                let walked = self.walk(&query, &term, before, RANKED).await?;
                ranked(walked, &query, before, after, words)
            }
        };
        Ok(found)
    }

    async fn walk(
        &self,
        query: &Query<'_>,
        term: &Term,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Walked, Error> {
        let rooms = self.rooms_of(query).await?;
        let mut merge = Merge::begin(&self.inner.store, term.words(), rooms, before).await?;
        let mut hits = Vec::new();
        let (mut read, mut at) = (0, None);
        while hits.len() < limit && read < EVENTS_MAX {
            let Some((room, place)) = merge.next(OPENED_MAX).await? else {
                at = merge.bound().map(|bound| {
                    let last = at.or(before);
                    last.map_or(bound.next(), |last| last.min(bound.next()))
                });
                break;
            };
            (read, at) = (read + 1, Some(place));
            if let Some(hit) = self.hit(query, term, room, place).await? {
                hits.push((place, hit));
            }
        }
        // A page that comes no further than the one before it is the last.
        let more = merge.bound().is_some() && at != before;
        Ok(Walked { hits, at: at.filter(|_| more), further: merge.waiting() })
    }

    /// The index may be a moment behind, and knows nothing of who may see what.
    async fn hit(
        &self,
        query: &Query<'_>,
        term: &Term,
        room: &RoomId,
        place: Place,
    ) -> Result<Option<Hit>, Error> {
        let rooms = &self.inner.rooms;
        let Some(event) = rooms.event_at(room, place.position).await? else { return Ok(None) };
        let wanted = query.keys.contain(event.pdu.event_type())
            && !query.ignored.contains(event.pdu.sender())
            && rooms.is_wanted(query.filter, &event);
        if !wanted {
            return Ok(None);
        }
        let visible = rooms.visible(query.viewer, room, &[event]).await?;
        let Some(event) = visible.into_iter().next() else { return Ok(None) };
        // Of one that was redacted, or whose sender was erased, nothing is left to be seen.
        let rank = text::of_event(&event).and_then(|text| term.rank(&text));
        Ok(rank.map(|rank| Hit { event, rank }))
    }

    /// The rooms that the viewer is in or was in and has not forgotten.
    async fn rooms_of(&self, query: &Query<'_>) -> Result<Vec<OwnedRoomId>, Error> {
        let filter = query.filter;
        let mut rooms = self.inner.rooms.rooms_of(query.viewer).await?;
        rooms.retain(|room| {
            let was_in = room.membership == MembershipState::Join || room.seen.is_some();
            let named = filter.rooms.as_ref().is_none_or(|rooms| rooms.contains(&room.room_id));
            was_in && !room.forgotten && named && !filter.not_rooms.contains(&room.room_id)
        });
        rooms.truncate(ROOMS_MAX);
        Ok(rooms.into_iter().map(|room| room.room_id).collect())
    }
}

/// The page of the best that begins after so many.
fn ranked(
    walked: Walked,
    query: &Query<'_>,
    before: Option<Place>,
    after: usize,
    words: Vec<String>,
) -> Found {
    let mut hits = walked.hits;
    // So that what is said meanwhile does not move the pages.
    let newest = hits.first().map(|(place, _)| *place);
    let before = before
        .or(newest
            .map(|Place { time, position }| Place { time, position: position.saturating_add(1) }));
    hits.sort_by(|(_, one), (_, other)| other.rank.total_cmp(&one.rank));
    let all = hits.len();
    let page = hits.into_iter().map(|(_, hit)| hit).skip(after).take(query.limit);
    let hits: Vec<_> = page.collect();
    let end = after.saturating_add(hits.len());
    let next = (end < all).then_some(Order::Rank { before, after: end });
    Found { hits, words, next, further: all.saturating_sub(end) }
}
