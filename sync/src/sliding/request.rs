//! What a client asks for, in one form for both dialects of the endpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ruma::{DeviceId, OwnedRoomId, UserId, presence::PresenceState};

use super::{filters::Filters, required::Required};

/// Which form of the endpoint is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `/_matrix/client/unstable/org.matrix.simplified_msc3575/sync`.
    Unstable,
    /// `/_matrix/client/v4/sync`.
    Stable,
}

/// The body of a request, checked.
#[derive(Clone, Debug)]
pub struct SlidingBody {
    /// The unstable dialect has these three in the query instead.
    pub pos: Option<String>,
    pub timeout_ms: Option<u64>,
    pub set_presence: Option<String>,
    pub(crate) dialect: Dialect,
    pub(crate) conn_id: String,
    pub(crate) lists: BTreeMap<String, List>,
    pub(crate) subscriptions: BTreeMap<OwnedRoomId, RoomConfig>,
    pub(crate) extensions: Extensions,
}

/// What replaces parts of an earlier request, each as a whole.
#[derive(Clone, Debug)]
pub struct SlidingUpdate {
    pub(crate) lists: Option<BTreeMap<String, List>>,
    pub(crate) subscriptions: Option<BTreeMap<OwnedRoomId, RoomConfig>>,
    pub(crate) extensions: Option<Extensions>,
}

impl SlidingBody {
    pub(crate) fn update(&mut self, update: SlidingUpdate) {
        let SlidingUpdate { lists, subscriptions, extensions } = update;
        if let Some(lists) = lists {
            self.lists = lists;
        }
        if let Some(subscriptions) = subscriptions {
            self.subscriptions = subscriptions;
        }
        if let Some(extensions) = extensions {
            self.extensions = extensions;
        }
    }
}

/// One request of sliding sync.
#[derive(Clone, Debug)]
pub struct SlidingRequest<'a> {
    pub user: &'a UserId,
    pub device: &'a DeviceId,
    pub pos: Option<&'a str>,
    pub timeout: Duration,
    pub set_presence: PresenceState,
    pub body: SlidingBody,
}

#[derive(Clone, Debug)]
pub(crate) struct List {
    /// Inclusive, first before last; `None`: all rooms.
    pub(crate) ranges: Option<Vec<(u64, u64)>>,
    pub(crate) filters: Filters,
    pub(crate) config: RoomConfig,
}

/// What is to be told of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomConfig {
    pub(crate) timeline_limit: usize,
    pub(crate) required: Arc<Required>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Extensions {
    pub(crate) to_device: Option<ToDevice>,
    pub(crate) e2ee: bool,
    pub(crate) account_data: Option<Reach>,
    pub(crate) receipts: Option<Reach>,
    /// With the key under which it was asked for.
    pub(crate) typing: Option<(&'static str, Reach)>,
    /// The key under which it was asked for.
    pub(crate) presence: Option<&'static str>,
    pub(crate) profiles: Option<Profiles>,
    /// How many changes are wanted.
    pub(crate) thread_subscriptions: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct Profiles {
    /// The key under which it was asked for.
    pub(crate) key: &'static str,
    pub(crate) reach: Reach,
    /// `None`: all fields.
    pub(crate) fields: Option<BTreeSet<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct ToDevice {
    pub(crate) since: Option<String>,
    pub(crate) limit: usize,
}

/// The lists and subscriptions an extension applies to; `None`: all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) lists: Option<BTreeSet<String>>,
    pub(crate) rooms: Option<BTreeSet<String>>,
}
