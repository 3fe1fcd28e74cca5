//! The tables of this crate. Nothing else here names one.

use rooms::StoredEvent;
use ruma::RoomId;
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
    pub(crate) fn of(event: &StoredEvent) -> Self {
        Self { time: event.pdu.origin_server_ts(), position: event.position }
    }

    fn key(self) -> (u64, u64) {
        (self.time, self.position)
    }
}

/// The words by which an event is found, so that it can be taken out once it does not say any more
/// what it said.
#[derive(Debug, Serialize, Deserialize)]
struct IndexedRecord {
    /// With spaces between them.
    words: String,
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
    Postings = "search_postings" [String | (u64, u64)] ()
}
table! {
    /// Room | position.
    Indexed = "search_indexed" [String | u64] IndexedRecord
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

    pub(crate) fn put(batch: &mut Batch, room: &RoomId, place: Place, words: &[String]) {
        for word in words {
            batch.derive_put::<Postings>(&partition(room, word), place.key(), &());
        }
        let record = IndexedRecord { words: words.join(" ") };
        batch.derive_put::<Indexed>(room, place.position, &record);
    }

    /// Takes an event out of the index, if it is there.
    pub(crate) async fn take_out(
        &self,
        batch: &mut Batch,
        room: &RoomId,
        place: Place,
    ) -> Result<(), Error> {
        let Some(indexed) = self.0.get::<Indexed>(room, place.position).await? else {
            return Ok(());
        };
        for word in indexed.words.split(' ') {
            batch.derive_delete::<Postings>(&partition(room, word), place.key());
        }
        batch.derive_delete::<Indexed>(room, place.position);
        Ok(())
    }

    /// Where the events of a room are that have the word, newest first.
    pub(crate) async fn places(
        &self,
        room: &RoomId,
        word: &str,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Place>, Error> {
        let range = match before {
            Some(before) => Range::all().before(before.key()),
            None => Range::all(),
        };
        let range = range.reversed().limit(limit);
        let rows = self.0.scan::<Postings>(&partition(room, word), range).await?.into_iter();
        Ok(rows.map(|row| Place { time: row.sort.0, position: row.sort.1 }).collect())
    }

    /// Whether the event at that place has the word.
    pub(crate) async fn has(&self, room: &RoomId, word: &str, place: Place) -> Result<bool, Error> {
        let row = self.0.get::<Postings>(&partition(room, word), place.key()).await?;
        Ok(row.is_some())
    }
}
