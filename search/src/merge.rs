//! The events of several rooms that have a word, as one stream, newest first.

use std::collections::{BinaryHeap, VecDeque};

use ruma::{OwnedRoomId, RoomId};

use crate::{
    Error,
    store::{Place, SearchStore},
};

/// Events of one room that are read at a time.
const PAGE: usize = 32;

struct Stream {
    room: OwnedRoomId,
    read: VecDeque<Place>,
    /// There may be more behind what is read.
    more: bool,
}

pub(crate) struct Merge<'a> {
    store: &'a SearchStore,
    word: &'a str,
    streams: Vec<Stream>,
    /// The newest of each stream that has one, and the stream's number.
    heads: BinaryHeap<(Place, usize)>,
}

impl<'a> Merge<'a> {
    /// Reads the first page of each room.
    pub(crate) async fn begin(
        store: &'a SearchStore,
        word: &'a str,
        rooms: Vec<OwnedRoomId>,
        before: Option<Place>,
    ) -> Result<Self, Error> {
        let mut streams = Vec::new();
        let mut heads = BinaryHeap::new();
        for room in rooms {
            let read = store.places(&room, word, before, PAGE).await?;
            let Some(head) = read.first() else { continue };
            heads.push((*head, streams.len()));
            streams.push(Stream { more: read.len() == PAGE, read: read.into(), room });
        }
        Ok(Self { store, word, streams, heads })
    }

    /// The room of the next event, and where it is.
    pub(crate) async fn next(&mut self) -> Result<Option<(&RoomId, Place)>, Error> {
        let Some((_, number)) = self.heads.pop() else { return Ok(None) };
        let stream = &mut self.streams[number];
        let Some(place) = stream.read.pop_front() else { return Ok(None) };
        if stream.read.is_empty() && stream.more {
            let read = self.store.places(&stream.room, self.word, Some(place), PAGE).await?;
            stream.more = read.len() == PAGE;
            stream.read = read.into();
        }
        if let Some(head) = stream.read.front() {
            self.heads.push((*head, number));
        }
        Ok(Some((&self.streams[number].room, place)))
    }

    /// Events that were read and not taken: of what is left, what is known.
    pub(crate) fn waiting(&self) -> usize {
        self.streams.iter().map(|stream| stream.read.len()).sum()
    }
}
