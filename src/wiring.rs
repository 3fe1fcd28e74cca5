//! Puts the pieces together. The only place that knows all of them.

use anyhow::Context as _;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, sync::Arc};
use stdx::{Rng, SharedClock, SystemClock, Tasks};
use storage::Store;

use crate::{app_state::AppState, config::Config, health, identity, page};

/// The ways to other servers.
struct Peers {
    config: federation::Config,
    client: federation::Client,
    keys: federation::KeyRing,
    federates: bool,
}

impl Peers {
    fn build(
        config: &Config,
        identity: &identity::Identity,
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

    fn ports(&self) -> rooms::ports::Ports {
        if !self.federates {
            return rooms::ports::Ports::isolated();
        }
        rooms::ports::Ports {
            remote: Arc::new(federation::Remote::new(self.client.clone())),
            keys: Arc::new(self.keys.clone()),
        }
    }
}

/// A region in this process, without a listener.
#[derive(Clone)]
pub struct Region {
    pub(crate) state: AppState,
    /// What ends first: whoever waits for something, such as long polls and sockets.
    pub(crate) tasks: Tasks,
}

/// What a region is built on. A test hands in its own.
pub struct Parts {
    pub store: Store,
    pub clock: SharedClock,
    pub rng: Rng,
}

impl Region {
    /// Opens the store and builds everything on it.
    pub(crate) async fn open(
        config: &Config,
        metrics: Option<PrometheusHandle>,
    ) -> anyhow::Result<Self> {
        // The signing key is in there: nobody but the owner may look.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&config.data_dir)
            .with_context(|| format!("cannot create {}", config.data_dir.display()))?;
        let rng = Rng::from_system();
        let store = Store::open(&config.storage()?, rng.next_u64())?;
        let parts = Parts { store, clock: Arc::new(SystemClock), rng };
        Self::build(config, parts, metrics).await
    }

    /// Builds everything on a store that is open. Must be called within a Tokio runtime.
    pub async fn build(
        config: &Config,
        parts: Parts,
        metrics: Option<PrometheusHandle>,
    ) -> anyhow::Result<Self> {
        let Parts { store, clock, rng } = parts;
        let tasks = Tasks::new();
        let identity = identity::load_or_create(&store, &rng, config.server_name()?).await?;
        let accounts = accounts::Accounts::open(
            config.accounts()?,
            store.clone(),
            clock.clone(),
            rng.clone(),
            identity.server_name.clone(),
        )
        .await
        .context("cannot load the accounts")?;
        let devices = devices::Devices::new(store.clone(), clock.clone(), rng.clone(), &tasks);
        let presence =
            presence::Presence::new(config.presence(), clock.clone(), &tasks, store.clone());
        let peers = Peers::build(config, &identity, &store, &clock)?;
        let rooms = rooms::Rooms::new(
            config.rooms(),
            store.clone(),
            clock.clone(),
            rng.clone(),
            identity.server_name,
            identity.signing_key,
            peers.ports(),
        )
        .context("cannot open the rooms")?;
        if peers.federates {
            let remote = federation::Remote::new(peers.client.clone());
            accounts.set_remote_profiles(Arc::new(remote));
        }
        tasks.spawn_until_stopped("typing", rooms.clone().expire_typing());
        let sources = sync::Sources {
            store: store.clone(),
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
        };
        let sync = sync::Sync::new(sync::Config::default(), sources, clock.clone(), tasks.clone());
        let gate = client_api::Gate::new(
            config.client_api()?,
            accounts.clone(),
            devices.clone(),
            clock.clone(),
        );
        let sockets = client_api::Sockets::new(client_api::Pieces {
            gate: gate.clone(),
            accounts: accounts.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
            rooms: rooms.clone(),
            sync: sync.clone(),
            rng: rng.clone(),
            tasks: tasks.clone(),
        });
        let sender = federation::Sender::new(
            peers.config,
            federation::SenderPieces {
                client: peers.client,
                store: store.clone(),
                clock: clock.clone(),
                rng,
                tasks: tasks.clone(),
                rooms: rooms.clone(),
                presence: presence.clone(),
            },
        );
        let inbound = federation::Inbound::new(federation::Pieces {
            store: store.clone(),
            clock,
            tasks: tasks.clone(),
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
            keys: peers.keys,
            sender,
        });
        let state = AppState {
            gate,
            store,
            accounts,
            devices,
            presence,
            rooms,
            sync,
            sockets,
            inbound,
            metrics,
        };
        Ok(Self { state, tasks })
    }

    /// The tasks that end with the region; [`crate::serve`] takes them to know when to stop.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Everything that is served.
    pub fn router(&self) -> Router {
        federation::router()
            .merge(client_api::router())
            .merge(page::router())
            .merge(health::router())
            .with_state(self.state.clone())
    }

    /// Ends what runs in the background, then writes out what is in memory only.
    pub async fn close(self) {
        self.tasks.shutdown().await;
        if let Err(error) = self.state.devices.flush_seen().await {
            tracing::warn!(%error, "cannot write when devices were seen last");
        }
        let store = self.state.store.clone();
        drop(self);
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        if closed.is_err() {
            tracing::error!("the store did not close in order");
        }
    }
}
