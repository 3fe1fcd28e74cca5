//! Which events of a room another server may see: what one of its users may have seen.

use std::collections::HashMap;

use ruma::{OwnedUserId, RoomId, ServerName, UserId, events::room::member::MembershipState};
use storage::Range;

use crate::{
    Error, Root, StoredEvent, rooms::Inner, store::Members, trie::NewNodes, visibility::Visibility,
};

/// The most that a user of the server was in a state of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Presence {
    Absent,
    Invited,
    Joined,
}

impl Presence {
    fn of(membership: &MembershipState) -> Self {
        match membership {
            MembershipState::Join => Self::Joined,
            MembershipState::Invite => Self::Invited,
            _ => Self::Absent,
        }
    }
}

/// What a server that is in the room sees of it; for one request.
pub(super) struct ServerSight<'a> {
    inner: &'a Inner,
    server: &'a ServerName,
    room: &'a RoomId,
    /// Its users that ever had a membership, once somebody asked.
    users: Option<Vec<String>>,
    /// Most events of an answer share a state.
    by_root: HashMap<Root, (Visibility, Presence)>,
    /// Whether senders were erased.
    erased: HashMap<OwnedUserId, bool>,
}

impl<'a> ServerSight<'a> {
    pub(super) fn new(inner: &'a Inner, server: &'a ServerName, room: &'a RoomId) -> Self {
        let (by_root, erased) = (HashMap::new(), HashMap::new());
        Self { inner, server, room, users: None, by_root, erased }
    }

    pub(super) async fn allows(&mut self, event: &StoredEvent) -> Result<bool, Error> {
        let (before, presence) = self.at(event.state_before).await?;
        // "before *or* after the event", as for users.
        let pdu = &event.pdu;
        let after = match (pdu.event_type(), pdu.state_key()) {
            ("m.room.history_visibility", Some("")) => Visibility::of(Some(event)),
            _ => before,
        };
        let presence = match pdu.membership() {
            Some(membership) if self.is_of_server(pdu.state_key()) => {
                presence.max(Presence::of(&membership))
            }
            _ => presence,
        };
        Ok(suffices(before, presence) || suffices(after, presence))
    }

    pub(super) async fn is_erased(&mut self, sender: &UserId) -> Result<bool, Error> {
        if let Some(erased) = self.erased.get(sender) {
            return Ok(*erased);
        }
        let erased = self.inner.is_erased(sender).await?;
        self.erased.insert(sender.to_owned(), erased);
        Ok(erased)
    }

    async fn at(&mut self, root: Root) -> Result<(Visibility, Presence), Error> {
        if let Some(known) = self.by_root.get(&root) {
            return Ok(*known);
        }
        let nodes = NewNodes::default();
        let trie = &self.inner.trie;
        let setting = match trie.get(root, "m.room.history_visibility", "", &nodes).await? {
            Some(id) => {
                let event = self.inner.events.get_latest(&id).await?;
                let missing = || Error::Internal(format!("{id} is in the state, not in the store"));
                Visibility::of(Some(&*event.ok_or_else(missing)?))
            }
            None => Visibility::of(None),
        };
        let presence = if suffices(setting, Presence::Absent) {
            Presence::Absent
        } else {
            self.presence_in(root).await?
        };
        self.by_root.insert(root, (setting, presence));
        Ok((setting, presence))
    }

    async fn presence_in(&mut self, root: Root) -> Result<Presence, Error> {
        let users = match self.users.take() {
            Some(users) => users,
            None => {
                let rows = self.inner.store.scan::<Members>(self.room, Range::all()).await?;
                let users = rows.into_iter().map(|row| row.sort);
                users.filter(|user| self.is_of_server(Some(user))).collect()
            }
        };
        let nodes = NewNodes::default();
        let mut found = Presence::Absent;
        for user in &users {
            let id = self.inner.trie.get(root, "m.room.member", user, &nodes).await?;
            if let Some(id) = id {
                found = found.max(Presence::of(&self.inner.membership_of(&id).await?));
            }
            if found == Presence::Joined {
                break;
            }
        }
        self.users = Some(users);
        Ok(found)
    }

    fn is_of_server(&self, user: Option<&str>) -> bool {
        let server = user.and_then(|user| user.split_once(':')).map(|(_, server)| server);
        server == Some(self.server.as_str())
    }
}

/// The server is in the room now, so what its users may read who joined later needs no more.
fn suffices(visibility: Visibility, presence: Presence) -> bool {
    match visibility {
        Visibility::WorldReadable | Visibility::Shared => true,
        Visibility::Invited => presence >= Presence::Invited,
        Visibility::Joined => presence == Presence::Joined,
    }
}
