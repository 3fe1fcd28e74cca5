//! Answering a search.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, RoomId, UserId, events::room::member::MembershipState};

use crate::{
    Error, UserDirectory,
    store::{Entry, Scope},
    words::Term,
};

/// Rows of one index that a search looks at.
const SCANNED: usize = 1000;
/// Rooms of the one who searches that are looked into.
const ROOMS_MAX: usize = 2000;
/// Public rooms in which one found is looked for.
const ROOMS_OF_FOUND: usize = 20;
/// Results that are ranked, for each that is asked for.
const RANKED: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundUser {
    pub user_id: OwnedUserId,
    pub display_name: Option<String>,
    pub avatar_url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Those of that very name first, then those whom the one who searches shares a room with.
    pub users: Vec<FoundUser>,
    /// There are more.
    pub limited: bool,
}

struct Results<'a> {
    term: &'a Term,
    max: usize,
    found: BTreeMap<OwnedUserId, (usize, Entry)>,
}

impl Results<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= self.max
    }

    fn add(&mut self, user: OwnedUserId, entry: Entry) {
        let place = self.found.len();
        self.found.entry(user).or_insert((place, entry));
    }

    fn ranked(self, limit: usize) -> Found {
        let Self { term, found, .. } = self;
        let mut users: Vec<_> = found.into_iter().collect();
        users.sort_by_key(|(user, (place, entry))| {
            (!term.is_exactly(user, entry.display_name.as_deref()), *place)
        });
        let limited = users.len() > limit;
        users.truncate(limit);
        let users = users.into_iter().map(|(user_id, (_, entry))| FoundUser {
            user_id,
            display_name: entry.display_name,
            avatar_url: entry.avatar_url,
        });
        Found { users: users.collect(), limited }
    }
}

impl UserDirectory {
    /// Users whose names have words that begin with those of `term`, if `viewer` shares a room with
    /// them or they are in a room that anybody may look into. At most `limit`.
    pub async fn search(&self, viewer: &UserId, term: &str, limit: usize) -> Result<Found, Error> {
        let Some(term) = Term::parse(term) else {
            return Ok(Found { users: Vec::new(), limited: false });
        };
        let max = limit.saturating_mul(RANKED).saturating_add(1);
        let mut results = Results { term: &term, max, found: BTreeMap::new() };
        self.search_shared(viewer, &mut results).await?;
        self.search_public(&mut results).await?;
        Ok(results.ranked(limit))
    }

    async fn search_shared(&self, viewer: &UserId, results: &mut Results<'_>) -> Result<(), Error> {
        let rooms = self.inner.rooms.joined_rooms(viewer).await?;
        for room in rooms.iter().take(ROOMS_MAX) {
            let store = &self.inner.store;
            let users = store.users_with(Scope::Room(room), results.term.rarest(), SCANNED).await?;
            for user in users {
                if results.is_full() {
                    return Ok(());
                }
                // Nobody shares a room with themselves.
                if *user == *viewer || results.found.contains_key(&user) {
                    continue;
                }
                let entry = store.entry(&user, room).await?;
                let entry = entry.filter(|entry| is_called(results.term, &user, entry));
                if let Some(entry) = entry
                    && self.is_in(&user, room).await?
                {
                    results.add(user, entry);
                }
            }
        }
        Ok(())
    }

    async fn search_public(&self, results: &mut Results<'_>) -> Result<(), Error> {
        let store = &self.inner.store;
        let users = store.users_with(Scope::Public, results.term.rarest(), SCANNED).await?;
        for user in users {
            if results.is_full() {
                return Ok(());
            }
            if results.found.contains_key(&user) {
                continue;
            }
            if let Some(entry) = self.public_entry(results.term, &user).await? {
                results.add(user, entry);
            }
        }
        Ok(())
    }

    /// What the user is called in a room that is public now.
    async fn public_entry(&self, term: &Term, user: &UserId) -> Result<Option<Entry>, Error> {
        let entries = self.inner.store.entries(user).await?.into_iter();
        let entries = entries.filter(|(_, entry)| entry.public && is_called(term, user, entry));
        for (room, entry) in entries.take(ROOMS_OF_FOUND) {
            if self.is_in(user, &room).await? && self.inner.rooms.is_public(&room).await? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The index may be a moment behind; nobody is shown who has left.
    async fn is_in(&self, user: &UserId, room: &RoomId) -> Result<bool, Error> {
        let membership = self.inner.rooms.membership(user, room).await?;
        Ok(membership == Some(MembershipState::Join))
    }
}

fn is_called(term: &Term, user: &UserId, entry: &Entry) -> bool {
    term.matches(user, entry.display_name.as_deref())
}
