//! How the index grows: a room's newest events are rows of their own, its tail. Once there are enough
//! of them they become a segment, and several segments of a size become one. So an event costs a row
//! now and its share of few rows later, and a word that a room knows well costs a few bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ruma::{OwnedRoomId, RoomId};
use storage::Batch;

use crate::{
    Error,
    lists::Lists,
    store::{Place, Said, SearchStore, Segment},
};

/// Events of a tail. A search reads all of it.
const TAIL_EVENTS: usize = 128;
/// Segments of one size that become one.
const FAN_IN: usize = 8;
/// As many small segments become one as make this.
const SMALL_EVENTS: u32 = 1024;
/// A segment of as many stays as it is: what is read to take something out of it has a bound.
const SEGMENT_EVENTS: u32 = 8192;
/// Rooms whose tails' lengths are kept in memory; about 4 MB.
const ROOMS_KEPT: usize = 50_000;

/// The lengths of tails, of rooms in which something was said lately.
#[derive(Debug, Default)]
pub(crate) struct Tails(HashMap<OwnedRoomId, usize>);

/// Segments of a size are merged with each other only, so each event is merged twice.
fn size(events: u32) -> u32 {
    u32::from(events >= SMALL_EVENTS) + u32::from(events >= SEGMENT_EVENTS)
}

impl SearchStore {
    /// What is said in a room goes into its tail, and with it into a segment where it is enough.
    pub(crate) async fn put(
        &self,
        batch: &mut Batch,
        tails: &mut Tails,
        room: &RoomId,
        said: Vec<Said>,
    ) -> Result<(), Error> {
        let known = tails.0.get(room).copied();
        let before = match known {
            Some(count) => count,
            None => self.tail(room).await?.len(),
        };
        let mut count = before + said.len();
        if count < TAIL_EVENTS {
            said.iter().for_each(|said| Self::put_tail(batch, room, said));
        } else {
            self.make_segment(batch, room, said).await?;
            count = 0;
        }
        if tails.0.len() >= ROOMS_KEPT {
            tails.0.clear();
        }
        tails.0.insert(room.to_owned(), count);
        Ok(())
    }

    async fn make_segment(
        &self,
        batch: &mut Batch,
        room: &RoomId,
        said: Vec<Said>,
    ) -> Result<(), Error> {
        let mut lists = Lists::default();
        // What is said again after a crash replaces itself.
        let mut all: BTreeMap<Place, String> = BTreeMap::new();
        for Said { place, words } in self.tail(room).await? {
            Self::delete_tail(batch, room, place);
            all.insert(place, words);
        }
        all.extend(said.into_iter().map(|said| (said.place, said.words)));
        all.iter().for_each(|(place, words)| lists.add(*place, words));
        let bounds = all.first_key_value().zip(all.last_key_value());
        let Some(((oldest, _), (newest, _))) = bounds else { return Ok(()) };
        let (oldest, newest) = (*oldest, *newest);
        let mut others = self.segments(room).await?;
        let number = others.last().map_or(0, |last| last.number + 1);
        let events = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut segment = Segment { number, events, oldest, newest };
        while segment.events < SEGMENT_EVENTS {
            let own = size(segment.events);
            let is_peer = |other: &Segment| size(other.events) == own;
            let peers: Vec<Segment> = others.iter().copied().filter(is_peer).collect();
            if peers.len() + 1 < FAN_IN {
                break;
            }
            others.retain(|other| !is_peer(other));
            for peer in peers {
                self.take_segment(batch, room, peer.number, &mut lists).await?;
                segment.events = segment.events.saturating_add(peer.events);
                segment.oldest = segment.oldest.min(peer.oldest);
                segment.newest = segment.newest.max(peer.newest);
            }
        }
        Self::put_segment(batch, room, segment, lists);
        Ok(())
    }

    /// Takes events of a room out of the index, as far as they are there.
    pub(crate) async fn take_out_all(
        &self,
        batch: &mut Batch,
        room: &RoomId,
        gone: &BTreeSet<Place>,
    ) -> Result<(), Error> {
        for said in self.tail(room).await? {
            if gone.contains(&said.place) {
                Self::delete_tail(batch, room, said.place);
            }
        }
        for segment in self.segments(room).await? {
            if gone.range(segment.oldest..=segment.newest).next().is_some() {
                self.take_out(batch, room, segment.number, gone).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::{RoomId, room_id};
    use storage::{Batch, Config, Store};

    use super::{SEGMENT_EVENTS, TAIL_EVENTS, Tails};
    use crate::store::{Place, Said, SearchStore};

    fn room() -> &'static RoomId {
        room_id!("!r:x.test")
    }

    fn place(number: u64) -> Place {
        Place { time: 1000 + number, position: number }
    }

    async fn say(store: &SearchStore, tails: &mut Tails, numbers: std::ops::Range<u64>) {
        let said = |number: u64| Said {
            place: place(number),
            words: format!("all odd{} only{number}", number % 2),
        };
        let mut batch = Batch::new();
        let said = numbers.map(said).collect();
        store.put(&mut batch, tails, room(), said).await.expect("the store reads");
        store.commit(batch).await.expect("the store writes");
    }

    /// Wherever they are.
    async fn places(store: &SearchStore, word: &str) -> Vec<u64> {
        let tail = store.tail(room()).await.expect("the store reads");
        let has = |said: &&Said| said.words.split(' ').any(|one| one == word);
        let mut found: Vec<Place> = tail.iter().filter(has).map(|said| said.place).collect();
        for segment in store.segments(room()).await.expect("the store reads") {
            let within = store.places(room(), segment.number, word).await.expect("the store reads");
            assert!(within.iter().all(|at| (segment.oldest..=segment.newest).contains(at)));
            found.extend(within);
        }
        found.sort_unstable();
        found.into_iter().map(|place| place.position).collect()
    }

    #[tokio::test]
    async fn a_room_has_few_segments_and_finds_everything_in_them() {
        let store = SearchStore(Store::open(&Config::memory(), 1).expect("a store"));
        let mut tails = Tails::default();
        let total = u64::from(SEGMENT_EVENTS) * 2 + 77;
        for start in (0..total).step_by(50) {
            if start % 1000 == 0 {
                // As after a restart.
                tails = Tails::default();
            }
            say(&store, &mut tails, start..(start + 50).min(total)).await;
            let tail = store.tail(room()).await.expect("the store reads");
            assert!(tail.len() < TAIL_EVENTS, "{} in the tail", tail.len());
        }
        let segments = store.segments(room()).await.expect("the store reads");
        assert!(segments.len() <= 16, "{segments:?}");
        assert_eq!(places(&store, "all").await, (0..total).collect::<Vec<_>>());
        let odd: Vec<_> = (0..total).filter(|number| number % 2 == 1).collect();
        assert_eq!(places(&store, "odd1").await, odd);
        for number in [0, 127, 128, 5000, total - 1] {
            assert_eq!(places(&store, &format!("only{number}")).await, [number]);
        }
    }

    #[tokio::test]
    async fn what_is_taken_out_is_not_found_by_any_word() {
        let store = SearchStore(Store::open(&Config::memory(), 1).expect("a store"));
        let mut tails = Tails::default();
        say(&store, &mut tails, 0..300).await;
        say(&store, &mut tails, 300..320).await;
        let gone = [place(7), place(299), place(310), place(999)].into();
        let mut batch = Batch::new();
        store.take_out_all(&mut batch, room(), &gone).await.expect("the store reads");
        store.commit(batch).await.expect("the store writes");
        let left: Vec<_> = (0..320).filter(|number| ![7, 299, 310].contains(number)).collect();
        assert_eq!(places(&store, "all").await, left);
        for number in [7, 299, 310] {
            assert_eq!(places(&store, &format!("only{number}")).await, Vec::<u64>::new());
        }
        assert_eq!(places(&store, "only8").await, [8]);
    }
}
