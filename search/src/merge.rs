//! The events of several rooms that have all of some words, as one stream, newest first.

use std::collections::{BTreeSet, BinaryHeap};

use ruma::{OwnedRoomId, RoomId};

use crate::{
    Error,
    store::{Place, Said, SearchStore, Segment},
};

struct Stream {
    room: OwnedRoomId,
    /// Found and not yet taken.
    ready: BTreeSet<Place>,
    /// Not looked into yet; the one with the newest event last.
    segments: Vec<Segment>,
}

impl Stream {
    /// Nothing that is left is newer.
    fn bound(&self) -> Option<Place> {
        let unread = self.segments.last().map(|segment| segment.newest);
        self.ready.last().copied().max(unread)
    }
}

pub(crate) struct Merge<'a> {
    store: &'a SearchStore,
    words: &'a [String],
    /// Only what is older.
    before: Option<Place>,
    streams: Vec<Stream>,
    /// The bound of each stream that has one, and the stream's number.
    heads: BinaryHeap<(Place, usize)>,
    /// Segments that were looked into.
    opened: usize,
}

impl<'a> Merge<'a> {
    /// Reads the tail of each room.
    pub(crate) async fn begin(
        store: &'a SearchStore,
        words: &'a [String],
        rooms: Vec<OwnedRoomId>,
        before: Option<Place>,
    ) -> Result<Self, Error> {
        let (streams, heads) = (Vec::new(), BinaryHeap::new());
        let mut merge = Self { store, words, before, streams, heads, opened: 0 };
        for room in rooms {
            let stream = merge.stream(room).await?;
            let Some(bound) = stream.bound() else { continue };
            merge.heads.push((bound, merge.streams.len()));
            merge.streams.push(stream);
        }
        Ok(merge)
    }

    /// The tail is read first: what goes from there into a segment meanwhile is seen twice, not missed.
    async fn stream(&self, room: OwnedRoomId) -> Result<Stream, Error> {
        let has_all = |said: &Said| {
            self.words.iter().all(|word| said.words.split(' ').any(|one| one == word))
        };
        let tail = self.store.tail(&room).await?;
        let found = tail.iter().filter(|said| self.is_older(said.place) && has_all(said));
        let ready = found.map(|said| said.place).collect();
        let mut segments = self.store.segments(&room).await?;
        segments.retain(|segment| self.is_older(segment.oldest));
        segments.sort_by_key(|segment| segment.newest);
        Ok(Stream { room, ready, segments })
    }

    fn is_older(&self, place: Place) -> bool {
        self.before.is_none_or(|before| place < before)
    }

    /// The room of the next event, and where it is. `None` if there is none, or if that would take
    /// looking into more segments than these.
    pub(crate) async fn next(
        &mut self,
        opened_max: usize,
    ) -> Result<Option<(&RoomId, Place)>, Error> {
        while let Some((bound, number)) = self.heads.pop() {
            let stream = &mut self.streams[number];
            if stream.ready.last() == Some(&bound) {
                stream.ready.pop_last();
                // What is seen twice is taken once, and what is left is older.
                self.before = Some(bound);
                self.heads.extend(stream.bound().map(|bound| (bound, number)));
                return Ok(Some((&self.streams[number].room, bound)));
            }
            if self.opened >= opened_max {
                self.heads.push((bound, number));
                return Ok(None);
            }
            self.open(number).await?;
            self.heads.extend(self.streams[number].bound().map(|bound| (bound, number)));
        }
        Ok(None)
    }

    async fn open(&mut self, number: usize) -> Result<(), Error> {
        self.opened += 1;
        let stream = &mut self.streams[number];
        let Some(segment) = stream.segments.pop() else { return Ok(()) };
        let mut common: Option<BTreeSet<Place>> = None;
        for word in self.words {
            let places = self.store.places(&stream.room, segment.number, word).await?;
            common = Some(match common {
                None => places.into_iter().collect(),
                Some(common) => places.into_iter().filter(|at| common.contains(at)).collect(),
            });
            if common.as_ref().is_some_and(BTreeSet::is_empty) {
                break;
            }
        }
        // If it became part of another meanwhile, what was read may not be all.
        if !self.store.has_segment(&stream.room, segment.number).await? {
            let room = stream.room.clone();
            self.streams[number] = self.stream(room).await?;
            return Ok(());
        }
        let before = self.before;
        let found = common.into_iter().flatten();
        stream.ready.extend(found.filter(|place| before.is_none_or(|before| *place < before)));
        Ok(())
    }

    /// Nothing that is left is newer. `None` at the end.
    pub(crate) fn bound(&self) -> Option<Place> {
        self.heads.peek().map(|(bound, _)| *bound)
    }

    /// Events that were found and not taken.
    pub(crate) fn waiting(&self) -> usize {
        self.streams.iter().map(|stream| stream.ready.len()).sum()
    }
}
