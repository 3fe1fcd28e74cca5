//! The tables of this crate. Nothing else here names one.

use std::collections::BTreeSet;

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, First, Range, Store, Table, Versioned};

use crate::Error;

/// Rooms of a user that are looked at: who is in more is found by what they are called in these.
const ENTRIES_MAX: usize = 1000;
/// Before everything in the order of text is the empty one; after everything that begins with a
/// prefix is the prefix and this.
const LAST: char = char::MAX;

/// What a user is called in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) display_name: Option<String>,
    pub(crate) avatar_url: Option<String>,
    /// Whether anybody may look into the room.
    pub(crate) public: bool,
}

impl Versioned for Entry {
    const VERSION: u8 = 1;
    type Previous = First;
}

#[derive(Debug, Serialize, Deserialize)]
struct RoomRecord {
    public: bool,
}

impl Versioned for RoomRecord {
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
    /// User | room.
    Entries = "user_directory_entries" [String | String] Entry
}
table! {
    /// Room, or the first character of the word for users of public rooms | word, user.
    Words = "user_directory_words" [String | (String, String)] ()
}
table! {
    /// Room whose members are indexed.
    IndexedRooms = "user_directory_rooms" [String | ()] RoomRecord
}
/// Which index a word is in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scope<'a> {
    Public,
    Room(&'a RoomId),
}

impl Scope<'_> {
    fn partition(self, word: &str) -> String {
        match self {
            // No room id begins with a letter or a digit.
            Self::Public => word.chars().take(1).collect(),
            Self::Room(room) => room.as_str().to_owned(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct DirectoryStore(pub(crate) Store);

impl DirectoryStore {
    pub(crate) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.0.commit(batch).await?;
        Ok(())
    }

    /// Whether the room is indexed as public; `None` if it is not indexed.
    pub(crate) async fn indexed_room(&self, room: &RoomId) -> Result<Option<bool>, Error> {
        let record = self.0.get::<IndexedRooms>(room, ()).await?;
        Ok(record.map(|record| record.public))
    }

    pub(crate) fn put_indexed_room(batch: &mut Batch, room: &RoomId, public: Option<bool>) {
        match public {
            Some(public) => batch.derive_put::<IndexedRooms>(room, (), &RoomRecord { public }),
            None => batch.derive_delete::<IndexedRooms>(room, ()),
        };
    }

    pub(crate) async fn entry(&self, user: &UserId, room: &RoomId) -> Result<Option<Entry>, Error> {
        Ok(self.0.get::<Entries>(user, room).await?)
    }

    pub(crate) async fn entries(&self, user: &UserId) -> Result<Vec<(OwnedRoomId, Entry)>, Error> {
        let range = Range::all().limit(ENTRIES_MAX);
        let rows = self.0.scan::<Entries>(user, range).await?;
        let rows = rows.into_iter();
        Ok(rows.filter_map(|row| Some((RoomId::parse(row.sort).ok()?, row.value))).collect())
    }

    pub(crate) fn put_entry(
        batch: &mut Batch,
        user: &UserId,
        room: &RoomId,
        entry: Option<&Entry>,
    ) {
        match entry {
            Some(entry) => batch.derive_put::<Entries>(user, room, entry),
            None => batch.derive_delete::<Entries>(user, room),
        };
    }

    /// Moves the user in an index from the words `before` to the words `after`.
    pub(crate) fn put_words(
        batch: &mut Batch,
        scope: Scope<'_>,
        user: &UserId,
        before: &BTreeSet<String>,
        after: &BTreeSet<String>,
    ) {
        for word in before.difference(after) {
            batch.derive_delete::<Words>(&scope.partition(word), (word, user));
        }
        for word in after.difference(before) {
            batch.derive_put::<Words>(&scope.partition(word), (word, user), &());
        }
    }

    pub(crate) async fn has_word(
        &self,
        scope: Scope<'_>,
        word: &str,
        user: &UserId,
    ) -> Result<bool, Error> {
        Ok(self.0.get::<Words>(&scope.partition(word), (word, user)).await?.is_some())
    }

    /// Users with a word that begins with `prefix`, each once: those first who have that very word.
    pub(crate) async fn users_with(
        &self,
        scope: Scope<'_>,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<OwnedUserId>, Error> {
        let end = format!("{prefix}{LAST}");
        let range = Range::from((prefix, "")).before((&*end, "")).limit(limit);
        let rows = self.0.scan::<Words>(&scope.partition(prefix), range).await?;
        let mut met = BTreeSet::new();
        let users = rows.into_iter().filter_map(|row| UserId::parse(row.sort.1).ok());
        Ok(users.filter(|user| met.insert(user.clone())).collect())
    }
}
