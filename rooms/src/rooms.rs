//! The handle on the room engine and what all its parts share.

use std::sync::Arc;

use ruma::{OwnedServerName, RoomId};
use stdx::{Rng, SharedClock};
use storage::Store;

use crate::{Error, RoomView};

/// Bounds of what is kept in memory.
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_room_version: events::RoomVersion::DEFAULT.to_owned(),
            cached_rooms: 4096,
            event_cache_bytes: 128 << 20,
            state_cache_bytes: 64 << 20,
        }
    }
}

/// The room engine. Cheap to clone.
#[derive(Clone)]
pub struct Rooms {
    inner: Arc<Inner>,
}

struct Inner {
    server_name: OwnedServerName,
}

impl Rooms {
    pub fn new(
        _config: Config,
        _store: Store,
        _clock: SharedClock,
        _rng: Rng,
        server_name: OwnedServerName,
        _key: events::SigningKey,
    ) -> Result<Self, Error> {
        Ok(Self { inner: Arc::new(Inner { server_name }) })
    }

    pub fn server_name(&self) -> &ruma::ServerName {
        &self.inner.server_name
    }

    /// The room as of the log's position; `None` if this server does not know it.
    pub async fn room(&self, _room_id: &RoomId) -> Result<Option<Arc<RoomView>>, Error> {
        unimplemented!()
    }
}
