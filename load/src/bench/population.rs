//! Users for a measurement.

use std::net::SocketAddr;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::client::{self, Account, Client};

/// Registrations hash passwords: more at once than there are cores only queue.
const AT_ONCE: usize = 4;

pub(crate) struct Population {
    pub(crate) address: SocketAddr,
    pub(crate) accounts: Vec<Account>,
}

impl Population {
    pub(crate) async fn create(
        address: SocketAddr,
        prefix: &str,
        count: usize,
    ) -> anyhow::Result<Self> {
        let names = (0..count).map(|number| format!("{prefix}{number}"));
        let accounts = stream::iter(names)
            .map(|name| async move { client::register(address, &name).await })
            .buffered(AT_ONCE)
            .try_collect()
            .await
            .context("register")?;
        Ok(Self { address, accounts })
    }

    /// One room for each user, created by that user.
    pub(crate) async fn own_rooms(&self) -> anyhow::Result<Vec<String>> {
        stream::iter(&self.accounts)
            .map(|account| async {
                Client::new(self.address, account).create_room().await.context("create a room")
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Everybody but the first, who created the room, joins it.
    pub(crate) async fn join_all(&self, room: &str) -> anyhow::Result<()> {
        for account in &self.accounts[1..] {
            Client::new(self.address, account).join(room).await.context("join")?;
        }
        Ok(())
    }
}
