//! The wiring of federation.

use std::sync::Arc;

use accounts::Accounts;
use anyhow::Context as _;
use devices::Devices;
use media::Media;
use presence::Presence;
use rooms::Rooms;
use stdx::{Rng, SharedClock, Tasks};
use storage::Store;

use super::gateway::Gateway;
use crate::{config::Config, identity::Identity};

/// The pieces of the region that other servers come to see.
pub(super) struct Local {
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    pub(super) rng: Rng,
    pub(super) tasks: Tasks,
    pub(super) rooms: Rooms,
    pub(super) accounts: Accounts,
    pub(super) devices: Devices,
    pub(super) presence: Presence,
}

/// The ways to other servers.
pub(super) struct Peers {
    config: federation::Config,
    client: federation::Client,
    keys: federation::KeyRing,
    federates: bool,
}

impl Peers {
    pub(super) fn build(
        config: &Config,
        identity: &Identity,
        store: &Store,
        clock: &SharedClock,
    ) -> anyhow::Result<Self> {
        let federates = config.federation.enabled;
        let config = config.federation()?;
        let (name, key) = (identity.server_name.clone(), identity.signing_key.clone());
        let client = federation::Client::new(&config, name, key.clone(), clock.clone())
            .context("cannot prepare for federation")?;
        let (store, clock) = (store.clone(), clock.clone());
        let keys = federation::KeyRing::new(&config, client.clone(), store, clock, key);
        Ok(Self { config, client, keys, federates })
    }

    /// What the room engine asks of others.
    pub(super) fn ports(&self) -> rooms::ports::Ports {
        if !self.federates {
            return rooms::ports::Ports::isolated();
        }
        rooms::ports::Ports {
            remote: Arc::new(federation::Remote::new(self.client.clone())),
            keys: Arc::new(self.keys.clone()),
        }
    }

    /// Push gateways are no servers of the federation: they are there without it.
    pub(super) fn gateway(&self) -> Arc<dyn push::Gateway> {
        Arc::new(Gateway(self.client.clone()))
    }

    pub(super) fn know_profiles(&self, accounts: &Accounts) {
        if self.federates {
            let remote = federation::Remote::new(self.client.clone());
            accounts.set_remote_profiles(Arc::new(remote.clone()));
            accounts.set_identity_servers(Arc::new(remote));
        }
    }

    pub(super) fn know_media(&self, media: &Media) {
        if self.federates {
            media.set_remote(Arc::new(federation::Remote::new(self.client.clone())));
        }
    }

    /// Starts what sends, and makes what answers. Without federation nobody is sent anything and
    /// nobody's signature is looked at: the routes are not served.
    pub(super) fn federate(self, local: Local) -> federation::Inbound {
        let Local { store, clock, rng, tasks, rooms, accounts, devices, presence } = local;
        let device_lists = federation::DeviceLists::new(federation::DeviceListsPieces {
            client: self.client.clone(),
            store: store.clone(),
            rooms: rooms.clone(),
            devices: devices.clone(),
            tasks: tasks.clone(),
        });
        if self.federates {
            devices.set_remote_keys(Arc::new(device_lists.clone()));
        }
        let pieces = federation::SenderPieces {
            client: self.client,
            store: store.clone(),
            clock: clock.clone(),
            rng,
            tasks: tasks.clone(),
            rooms: rooms.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
        };
        let sender = federation::Sender::new(self.config, pieces);
        let keys = self.keys;
        let pieces = federation::Pieces {
            store,
            clock,
            tasks,
            rooms,
            accounts,
            devices,
            presence,
            keys,
            device_lists,
            sender,
        };
        federation::Inbound::new(pieces)
    }
}
