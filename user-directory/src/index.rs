//! Bringing the index up to what the rooms say.

use std::collections::{BTreeMap, BTreeSet};

use rooms::Profile;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use storage::Batch;

use crate::{
    Error, UserDirectory,
    store::{DirectoryStore, Entry, Scope},
    words,
};

/// Members of a room whose entries are written in one batch.
const PAGE_MEMBERS: usize = 200;

/// What happened that may change who is found.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Rooms of which it may have changed who may look into them.
    pub(crate) rooms: BTreeSet<OwnedRoomId>,
    /// Events that were redacted: somebody's name may be gone.
    pub(crate) redacted: Vec<OwnedEventId>,
    /// By user, the rooms that they came to, left, or are called otherwise in.
    pub(crate) members: BTreeMap<OwnedUserId, BTreeSet<OwnedRoomId>>,
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.members.is_empty() && self.redacted.is_empty()
    }
}

impl UserDirectory {
    /// What happened is only where to look: what is written is what the rooms say now, so that the
    /// same news again, after a crash, change nothing. What is returned remains to be written.
    pub(crate) async fn take(&self, news: &mut News) -> Result<Batch, Error> {
        self.note_redacted(news).await?;
        let mut public = BTreeMap::new();
        let rooms = news.rooms.iter().chain(news.members.values().flatten());
        for room in rooms.collect::<BTreeSet<_>>() {
            let now = self.is_public(room).await?;
            if self.inner.store.indexed_room(room).await? != now {
                self.index_room(room, now).await?;
            }
            public.insert(room.clone(), now);
        }
        let mut batch = Batch::new();
        for (user, rooms) in &news.members {
            let mut changes = Vec::with_capacity(rooms.len());
            for room in rooms {
                let public = public.get(room).copied().flatten();
                changes.push((&**room, self.entry_now(user, room, public).await?));
            }
            self.update(&mut batch, user, changes).await?;
        }
        Ok(batch)
    }

    async fn note_redacted(&self, news: &mut News) -> Result<(), Error> {
        for event_id in &news.redacted {
            let event = self.inner.rooms.event_by_id(event_id).await?;
            let Some(event) = event.filter(|event| event.pdu.event_type() == "m.room.member")
            else {
                continue;
            };
            if let Some(user) = event.pdu.state_key().and_then(|user| UserId::parse(user).ok()) {
                news.members.entry(user).or_default().insert(event.pdu.room_id().to_owned());
            }
        }
        Ok(())
    }

    /// `None` for a room that nobody of this server is in: nothing is heard of it any more.
    async fn is_public(&self, room: &RoomId) -> Result<Option<bool>, Error> {
        let rooms = &self.inner.rooms;
        if rooms.joined_local_users(room).await?.is_empty() {
            return Ok(None);
        }
        Ok(Some(rooms.is_public(room).await?))
    }

    async fn entry_now(
        &self,
        user: &UserId,
        room: &RoomId,
        public: Option<bool>,
    ) -> Result<Option<Entry>, Error> {
        let Some(public) = public else { return Ok(None) };
        let profile = self.inner.rooms.joined_profile(room, user).await?;
        Ok(profile.map(|Profile { displayname, avatar_url }| Entry {
            display_name: displayname,
            avatar_url,
            public,
        }))
    }

    /// All members of a room that begins or ceases to be what it is indexed as. The room is noted
    /// last: after a crash it is done again.
    async fn index_room(&self, room: &RoomId, public: Option<bool>) -> Result<(), Error> {
        let mut after: Option<OwnedUserId> = None;
        loop {
            let rooms = &self.inner.rooms;
            let page = rooms.joined_users_after(room, after.as_deref(), PAGE_MEMBERS).await?;
            let mut batch = Batch::new();
            for user in &page.users {
                let entry = self.entry_now(user, room, public).await?;
                self.update(&mut batch, user, vec![(room, entry)]).await?;
            }
            if page.next.is_none() {
                DirectoryStore::put_indexed_room(&mut batch, room, public);
            }
            self.inner.store.commit(batch).await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes what a user is called in some rooms, and moves them in the indices accordingly. What
    /// they are called in their other rooms is only looked at if they lose a name.
    async fn update(
        &self,
        batch: &mut Batch,
        user: &UserId,
        changes: Vec<(&RoomId, Option<Entry>)>,
    ) -> Result<(), Error> {
        let store = &self.inner.store;
        let (mut lost, mut got, mut moved) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (room, entry) in changes {
            let old = store.entry(user, room).await?;
            if old == entry {
                continue;
            }
            let (from, to) = (words_in(user, &old, false), words_in(user, &entry, false));
            DirectoryStore::put_words(batch, Scope::Room(room), user, &from, &to);
            DirectoryStore::put_entry(batch, user, room, entry.as_ref());
            lost.extend(words_in(user, &old, true));
            got.extend(words_in(user, &entry, true));
            moved.insert(room);
        }
        lost.retain(|word| !got.contains(word));
        if !lost.is_empty() {
            let mut others = store.entries(user).await?;
            others.retain(|(room, entry)| entry.public && !moved.contains(&**room));
            // They are called the same in most rooms.
            let names: BTreeSet<_> =
                others.iter().map(|(_, entry)| entry.display_name.as_deref()).collect();
            for word in names.into_iter().flat_map(|name| words::of_user(user, name)) {
                lost.remove(&word);
            }
        }
        let mut new = BTreeSet::new();
        for word in got {
            if !store.has_word(Scope::Public, &word, user).await? {
                new.insert(word);
            }
        }
        DirectoryStore::put_words(batch, Scope::Public, user, &lost, &new);
        Ok(())
    }
}

/// The words of what a user is called in a room, if it is of the public ones or of the others.
fn words_in(user: &UserId, entry: &Option<Entry>, public: bool) -> BTreeSet<String> {
    let entry = entry.as_ref().filter(|entry| entry.public == public);
    entry.map(|entry| words::of_user(user, entry.display_name.as_deref())).unwrap_or_default()
}
