//! The tables of this crate. Nothing else here names one.

use std::collections::BTreeSet;

use rooms::StoredEvent;
use ruma::RoomId;
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Range, Store, Table, Versioned};

use crate::{
    Error,
    lists::{Block, Lists},
};

/// Where an event stands among those of all rooms: by the time that its sender gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Milliseconds since 1970.
    pub time: u64,
    /// Tells events of one moment apart.
    pub position: u64,
}

impl Place {
    pub(crate) fn of(event: &StoredEvent) -> Self {
        Self { time: event.pdu.origin_server_ts(), position: event.position }
    }

    /// The least that is greater.
    pub(crate) fn next(self) -> Self {
        Self { position: self.position.saturating_add(1), ..self }
    }
}

/// An event that is in no segment yet.
#[derive(Debug, Serialize, Deserialize)]
struct TailRecord {
    time: u64,
    /// Each once, with spaces between them.
    words: String,
}

impl Versioned for TailRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

#[derive(Debug, Serialize, Deserialize)]
struct SegmentRecord {
    events: u32,
    oldest: Place,
    newest: Place,
}

impl Versioned for SegmentRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Versioned for Block {
    const VERSION: u8 = 1;
    type Previous = First;
}

macro_rules! table {
    ($(#[$doc:meta])* $name:ident = $on_disk:literal [$partition:ty | $sort:ty] $value:ty) => {
        $(#[$doc])*
        struct $name;

        impl Table for $name {
            const NAME: &'static str = $on_disk;
            type Partition = $partition;
            type Sort = $sort;
            type Value = $value;
        }
    };
}

table! {
    /// Room | position.
    Tail = "search_tail" [String | u64] TailRecord
}
table! {
    /// Room | number.
    Segments = "search_segments" [String | u64] SegmentRecord
}
table! {
    /// Room, number of the segment | first word, number of the row of that word.
    Blocks = "search_blocks" [(String, u64) | (String, u32)] Block
}

/// The words of an event of a room's tail.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) place: Place,
    /// Each once, with spaces between them.
    pub(crate) words: String,
}

/// A run of a room's events, in the order in which they became known, and what of them is known
/// without looking into it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) events: u32,
    pub(crate) oldest: Place,
    pub(crate) newest: Place,
}

#[derive(Clone, Debug)]
pub(crate) struct SearchStore(pub(crate) Store);

impl SearchStore {
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.0.commit(batch).await?;
        Ok(())
    }

    pub(crate) async fn tail(&self, room: &RoomId) -> Result<Vec<Said>, Error> {
        let rows = self.0.scan::<Tail>(room, Range::all()).await?.into_iter();
        let said = rows.map(|row| Said {
            place: Place { time: row.value.time, position: row.sort },
            words: row.value.words,
        });
        Ok(said.collect())
    }

    pub(crate) fn put_tail(batch: &mut Batch, room: &RoomId, said: &Said) {
        let record = TailRecord { time: said.place.time, words: said.words.clone() };
        batch.derive_put::<Tail>(room, said.place.position, &record);
    }

    pub(crate) fn delete_tail(batch: &mut Batch, room: &RoomId, place: Place) {
        batch.derive_delete::<Tail>(room, place.position);
    }

    /// In the order in which they were made.
    pub(crate) async fn segments(&self, room: &RoomId) -> Result<Vec<Segment>, Error> {
        let rows = self.0.scan::<Segments>(room, Range::all()).await?.into_iter();
        let segment = rows.map(|row| {
            let SegmentRecord { events, oldest, newest } = row.value;
            Segment { number: row.sort, events, oldest, newest }
        });
        Ok(segment.collect())
    }

    pub(crate) async fn has_segment(&self, room: &RoomId, number: u64) -> Result<bool, Error> {
        Ok(self.0.get::<Segments>(room, number).await?.is_some())
    }

    pub(crate) fn put_segment(batch: &mut Batch, room: &RoomId, segment: Segment, lists: Lists) {
        let Segment { number, events, oldest, newest } = segment;
        batch.derive_put::<Segments>(room, number, &SegmentRecord { events, oldest, newest });
        for ((word, part), block) in lists.into_blocks() {
            batch.derive_put::<Blocks>((room, number), (&word, part), &block);
        }
    }

    /// Puts all of a segment into the lists, and deletes it.
    pub(crate) async fn take_segment(
        &self,
        batch: &mut Batch,
        room: &RoomId,
        number: u64,
        lists: &mut Lists,
    ) -> Result<(), Error> {
        batch.derive_delete::<Segments>(room, number);
        for row in self.0.scan::<Blocks>((room, number), Range::all()).await? {
            batch.derive_delete::<Blocks>((room, number), (&row.sort.0, row.sort.1));
            lists.add_block(row.value);
        }
        Ok(())
    }

    /// Takes events out of a segment. A block keeps its key, which is no later than its first word.
    pub(crate) async fn take_out(
        &self,
        batch: &mut Batch,
        room: &RoomId,
        number: u64,
        gone: &BTreeSet<Place>,
    ) -> Result<(), Error> {
        for row in self.0.scan::<Blocks>((room, number), Range::all()).await? {
            let ((word, part), mut block) = (row.sort, row.value);
            if !block.take_out(gone) {
                continue;
            }
            if block.is_empty() {
                batch.derive_delete::<Blocks>((room, number), (&word, part));
            } else {
                batch.derive_put::<Blocks>((room, number), (&word, part), &block);
            }
        }
        Ok(())
    }

    /// The places of a word in a segment, oldest first.
    pub(crate) async fn places(
        &self,
        room: &RoomId,
        number: u64,
        word: &str,
    ) -> Result<Vec<Place>, Error> {
        let up_to = Range::all().up_to((word, u32::MAX)).reversed().limit(1);
        let rows = self.0.scan::<Blocks>((room, number), up_to).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(Vec::new()) };
        if row.sort.0 != word || row.sort.1 == 0 {
            return Ok(row.value.places(word));
        }
        let parts = self.0.scan::<Blocks>((room, number), Range::prefix((word,))).await?;
        Ok(parts.iter().flat_map(|row| row.value.places(word)).collect())
    }
}
