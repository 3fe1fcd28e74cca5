//! The handle on the room engine and what all its parts share.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use events::{RoomVersion, SigningKey};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use stdx::{Rng, SharedClock};
use storage::Store;

use crate::{
    Error, RoomView,
    aliases::AliasClaims,
    directory::Directory,
    peers::AclCache,
    policy_server::{PolicyServerConfig, PolicySigner},
    ports::{AliasSource, Ports},
    relations::Summaries,
    remote::{FailedGaps, Flights},
    room::RoomMap,
    stored_event::EventStore,
    trie::Trie,
    typing::Typing,
};

/// Bounds of what is kept in memory, and defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The room version of rooms that name none.
    pub default_room_version: String,
    /// Rooms whose head and recent events stay in memory.
    pub cached_rooms: usize,
    /// Bytes of events kept in memory.
    pub event_cache_bytes: u64,
    /// Bytes of state nodes kept in memory.
    pub state_cache_bytes: u64,
    /// If this server is to be the policy server of rooms.
    pub policy_server: Option<PolicyServerConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_room_version: RoomVersion::DEFAULT.to_owned(),
            cached_rooms: 4096,
            event_cache_bytes: 128 << 20,
            state_cache_bytes: 64 << 20,
            policy_server: None,
        }
    }
}

/// The room engine. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) default_version: &'static RoomVersion,
    pub(crate) store: Store,
    pub(crate) clock: SharedClock,
    pub(crate) rng: Rng,
    pub(crate) server_name: OwnedServerName,
    pub(crate) key: SigningKey,
    pub(crate) ports: Ports,
    pub(crate) map: RoomMap,
    pub(crate) events: EventStore,
    pub(crate) trie: Trie,
    pub(crate) alias_claims: AliasClaims,
    pub(crate) alias_source: OnceLock<Arc<dyn AliasSource>>,
    pub(crate) directory: Directory,
    pub(crate) summaries: Summaries,
    pub(crate) typing: Typing,
    pub(crate) acls: AclCache,
    pub(crate) policy_signer: Option<PolicySigner>,
    pub(crate) join_flights: Flights,
    pub(crate) history_flights: Flights,
    /// What comes before an event, by who sent it.
    pub(crate) gap_flights: Flights<(OwnedServerName, OwnedRoomId)>,
    pub(crate) failed_gaps: FailedGaps,
    /// When the newest room was created, in milliseconds.
    last_creation: AtomicU64,
}

impl Rooms {
    /// Fails if the configured default room version is unknown.
    pub fn new(
        config: Config,
        store: Store,
        clock: SharedClock,
        rng: Rng,
        server_name: OwnedServerName,
        key: SigningKey,
        ports: Ports,
    ) -> Result<Self, Error> {
        let default_version = RoomVersion::parse(&config.default_room_version)
            .ok_or(Error::UnsupportedRoomVersion(config.default_room_version))?;
        let inner = Inner {
            default_version,
            map: RoomMap::new(config.cached_rooms),
            events: EventStore::new(store.clone(), config.event_cache_bytes),
            trie: Trie::new(store.clone(), config.state_cache_bytes),
            alias_claims: AliasClaims::default(),
            alias_source: OnceLock::new(),
            directory: Directory::default(),
            summaries: Summaries::default(),
            typing: Typing::default(),
            acls: AclCache::default(),
            policy_signer: config.policy_server.map(PolicySigner::new),
            join_flights: Flights::default(),
            history_flights: Flights::default(),
            gap_flights: Flights::default(),
            failed_gaps: FailedGaps::default(),
            last_creation: AtomicU64::new(0),
            store,
            clock,
            rng,
            server_name,
            key,
            ports,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says who is asked for aliases of this server that do not exist. Only the first call counts.
    pub fn set_alias_source(&self, source: Arc<dyn AliasSource>) {
        let _first_counts = self.inner.alias_source.set(source);
    }

    pub fn server_name(&self) -> &ServerName {
        &self.inner.server_name
    }

    /// The version of rooms that are created without naming one.
    pub fn default_room_version(&self) -> &'static RoomVersion {
        self.inner.default_version
    }

    /// The room as of the log's position; `None` if this server does not know it.
    pub async fn room(&self, room_id: &RoomId) -> Result<Option<Arc<RoomView>>, Error> {
        self.inner.view(room_id).await
    }
}

impl Inner {
    pub(crate) fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.server_name
    }

    /// The time of a create event: another for each. Where the room's id is a hash of that event,
    /// two rooms made alike in one millisecond would otherwise be the same.
    pub(crate) fn creation_time(&self) -> u64 {
        let now = self.clock.now_ms();
        let next = |last: u64| now.max(last.saturating_add(1));
        let last = self
            .last_creation
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)))
            .unwrap_or_else(|last| last);
        next(last)
    }

    /// For the versions whose room ids are chosen by the server.
    pub(crate) fn new_room_id(&self) -> OwnedRoomId {
        let id = format!("!{}:{}", self.rng.alphanumeric(18), self.server_name);
        RoomId::parse(id).expect("letters, digits and a server name make a room id")
    }
}
