//! The handle that other crates hold.

use std::sync::Arc;

use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId};
use stdx::{Rng, SharedClock};
use storage::Store;

use crate::{config::Config, store::StoreError};

/// All accounts of this server. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) server_name: OwnedServerName,
}

impl Accounts {
    /// Loads the session table and the signing keys.
    pub async fn open(
        config: Config,
        store: Store,
        clock: SharedClock,
        rng: Rng,
        server_name: OwnedServerName,
    ) -> Result<Self, StoreError> {
        let _ = (store, clock, rng);
        Ok(Self { inner: Arc::new(Inner { config, server_name }) })
    }

    pub fn server_name(&self) -> &ServerName {
        &self.inner.server_name
    }

    /// The user that a login form means: a localpart or a whole id of this server, in any case.
    pub fn user_id(&self, _localpart_or_id: &str) -> Option<OwnedUserId> {
        unimplemented!()
    }

    pub fn is_local(&self, user_id: &UserId) -> bool {
        user_id.server_name() == self.inner.server_name
    }
}
