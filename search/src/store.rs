//! The tables of this crate. Nothing else here names one.

use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Range, Store, Table, Versioned};

use crate::Error;

/// Where an event stands among those of all rooms: by the time that its sender gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Milliseconds since 1970.
    pub time: u64,
    /// Tells events of one moment apart.
    pub position: u64,
}

impl Place {
    fn key(self) -> (u64, u64) {
        (self.time, self.position)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct PostingRecord {
    event_id: OwnedEventId,
}

impl Versioned for PostingRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// Where an event is in the index, so that it can be taken out once it does not say any more what it
/// said.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IndexedRecord {
    pub(crate) room_id: OwnedRoomId,
    time: u64,
    position: u64,
    words: Vec<String>,
}

impl Versioned for IndexedRecord {
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
    /// Room and word | time, position.
    Postings = "search_postings" [String | (u64, u64)] PostingRecord
}
table! {
    /// Event.
    Indexed = "search_indexed" [String | ()] IndexedRecord
}

/// An event that has a word.
#[derive(Clone, Debug)]
pub(crate) struct Posting {
    pub(crate) place: Place,
    pub(crate) event_id: OwnedEventId,
}

/// No room id has a space.
fn partition(room: &RoomId, word: &str) -> String {
    format!("{room} {word}")
}

#[derive(Clone, Debug)]
pub(crate) struct SearchStore(pub(crate) Store);

impl SearchStore {
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.0.commit(batch).await?;
        Ok(())
    }

    pub(crate) async fn indexed(&self, event: &EventId) -> Result<Option<IndexedRecord>, Error> {
        Ok(self.0.get::<Indexed>(event, ()).await?)
    }

    pub(crate) fn put(
        batch: &mut Batch,
        room: &RoomId,
        posting: &Posting,
        words: impl Iterator<Item = String>,
    ) {
        let Posting { place, event_id } = posting;
        let words: Vec<String> = words.collect();
        for word in &words {
            let record = PostingRecord { event_id: event_id.clone() };
            batch.derive_put::<Postings>(&partition(room, word), place.key(), &record);
        }
        let Place { time, position } = *place;
        let record = IndexedRecord { room_id: room.to_owned(), time, position, words };
        batch.derive_put::<Indexed>(event_id, (), &record);
    }

    pub(crate) fn take_out(batch: &mut Batch, event: &EventId, indexed: &IndexedRecord) {
        for word in &indexed.words {
            let key = (indexed.time, indexed.position);
            batch.derive_delete::<Postings>(&partition(&indexed.room_id, word), key);
        }
        batch.derive_delete::<Indexed>(event, ());
    }

    /// Events of a room that have the word, newest first.
    pub(crate) async fn postings(
        &self,
        room: &RoomId,
        word: &str,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Posting>, Error> {
        let range = match before {
            Some(before) => Range::all().before(before.key()),
            None => Range::all(),
        };
        let range = range.reversed().limit(limit);
        let rows = self.0.scan::<Postings>(&partition(room, word), range).await?.into_iter();
        let postings = rows.map(|row| Posting {
            place: Place { time: row.sort.0, position: row.sort.1 },
            event_id: row.value.event_id,
        });
        Ok(postings.collect())
    }

    /// Whether the event at that place has the word.
    pub(crate) async fn has(&self, room: &RoomId, word: &str, place: Place) -> Result<bool, Error> {
        let row = self.0.get::<Postings>(&partition(room, word), place.key()).await?;
        Ok(row.is_some())
    }
}
