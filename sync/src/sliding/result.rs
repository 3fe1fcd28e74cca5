//! What is told of one room, and how each dialect says it.

use ruma::{OwnedUserId, events::room::member::MembershipState};
use storage::Position;

use super::Dialect;
use crate::{
    json::{self, Events, Object},
    unread::Count,
};

/// A value of a room that may have been told before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum News<T> {
    #[default]
    Unchanged,
    Removed,
    Set(T),
}

impl<T> News<T> {
    pub(crate) fn of(value: Option<T>) -> Self {
        value.map_or(Self::Removed, Self::Set)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Hero {
    pub(crate) user_id: OwnedUserId,
    pub(crate) displayname: Option<String>,
    pub(crate) avatar_url: Option<String>,
}

/// One entry of `rooms`.
pub(crate) struct RoomResult {
    pub(crate) membership: MembershipState,
    pub(crate) initial: bool,
    pub(crate) expanded: bool,
    pub(crate) bump_stamp: Position,
    pub(crate) name: News<String>,
    pub(crate) avatar: News<String>,
    pub(crate) heroes: Option<Vec<Hero>>,
    pub(crate) is_dm: Option<bool>,
    pub(crate) required_state: Events,
    /// Type and state key of entries that the state has no more.
    pub(crate) removed_state: Vec<(String, String)>,
    pub(crate) timeline: Events,
    pub(crate) prev_batch: Option<String>,
    pub(crate) limited: bool,
    /// Of a room in which the user is or was.
    pub(crate) num_live: Option<u64>,
    /// Joined and invited users.
    pub(crate) counts: Option<(u64, u64)>,
    pub(crate) unread: Option<Count>,
    /// Of a room in which the user never was.
    pub(crate) stripped: Option<Events>,
}

impl RoomResult {
    pub(crate) fn new(membership: MembershipState, bump_stamp: Position) -> Self {
        Self {
            membership,
            bump_stamp,
            initial: false,
            expanded: false,
            name: News::Unchanged,
            avatar: News::Unchanged,
            heroes: None,
            is_dm: None,
            required_state: Events::default(),
            removed_state: Vec::new(),
            timeline: Events::default(),
            prev_batch: None,
            limited: false,
            num_live: None,
            counts: None,
            unread: None,
            stripped: None,
        }
    }

    pub(crate) fn write(mut self, dialect: Dialect, lists: &[&str], out: &mut Vec<u8>) {
        self.add_stubs(dialect);
        let mut room = Object::open(out);
        json::number(room.key("bump_stamp"), self.bump_stamp);
        if dialect == Dialect::Stable {
            json::text(room.key("membership"), self.membership.as_str());
            if !lists.is_empty() {
                serde_json::to_writer(room.key("lists"), lists).expect("names are written");
            }
        }
        if self.initial {
            room.raw("initial", b"true");
        }
        self.write_names(dialect, &mut room);
        if !self.required_state.is_empty() {
            self.required_state.write_list(room.key("required_state"));
        }
        self.write_timeline(dialect, &mut room);
        self.write_counts(dialect, &mut room);
        if let Some(stripped) = &self.stripped {
            let key = match dialect {
                Dialect::Unstable => "invite_state",
                Dialect::Stable => "stripped_state",
            };
            stripped.write_list(room.key(key));
        }
        room.close();
    }

    fn write_names(&self, dialect: Dialect, room: &mut Object<'_>) {
        for (key, news) in [("name", &self.name), ("avatar", &self.avatar)] {
            match news {
                News::Set(value) => json::text(room.key(key), value),
                // "When `initial` is set to `true` then an omitted field means that the field is
                // not set".
                News::Removed if !self.initial && is_nullable(dialect, key) => {
                    room.raw(key, b"null");
                }
                _ => (),
            }
        }
        if let Some(is_dm) = self.is_dm {
            room.raw("is_dm", if is_dm { b"true" } else { b"false" });
        }
        let Some(heroes) = &self.heroes else { return };
        let mut list = Events::default();
        for hero in heroes {
            let mut object = Object::open(list.next());
            json::text(object.key("user_id"), hero.user_id.as_str());
            for (key, value) in
                [("displayname", &hero.displayname), ("avatar_url", &hero.avatar_url)]
            {
                if let Some(value) = value {
                    json::text(object.key(key), value);
                }
            }
            object.close();
        }
        list.write_list(room.key("heroes"));
    }

    /// "To handle state being deleted".
    fn add_stubs(&mut self, dialect: Dialect) {
        if dialect != Dialect::Stable {
            return;
        }
        for (event_type, state_key) in &self.removed_state {
            let mut stub = Object::open(self.required_state.next());
            json::text(stub.key("type"), event_type);
            json::text(stub.key("state_key"), state_key);
            stub.close();
        }
    }

    fn write_timeline(&self, dialect: Dialect, room: &mut Object<'_>) {
        let Some(num_live) = self.num_live else { return };
        if !self.timeline.is_empty() {
            self.timeline.write_list(room.key("timeline"));
        }
        if let Some(prev_batch) = &self.prev_batch {
            json::text(room.key("prev_batch"), prev_batch);
        }
        room.raw("limited", if self.limited { b"true" } else { b"false" });
        json::number(room.key("num_live"), num_live);
        if self.expanded {
            let key = match dialect {
                Dialect::Unstable => "unstable_expanded_timeline",
                Dialect::Stable => "expanded_timeline",
            };
            room.raw(key, b"true");
        }
    }

    fn write_counts(&self, dialect: Dialect, room: &mut Object<'_>) {
        if let Some((joined, invited)) = self.counts {
            json::number(room.key("joined_count"), joined);
            json::number(room.key("invited_count"), invited);
        }
        // Clients take counts that are missing for 0.
        if let (Dialect::Unstable, Some(unread)) = (dialect, self.unread) {
            json::number(room.key("notification_count"), unread.notifications);
            json::number(room.key("highlight_count"), unread.highlights);
        }
    }
}

/// Clients of the unstable dialect do not all read a `name` of `null`.
fn is_nullable(dialect: Dialect, key: &str) -> bool {
    dialect == Dialect::Stable || key == "avatar"
}
