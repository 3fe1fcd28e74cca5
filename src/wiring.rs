//! Puts the pieces together. The only place that knows all of them.

mod appservices;
mod gateway;
mod peers;
mod sign_on;

use anyhow::Context as _;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _, sync::Arc};
use stdx::{Rng, SharedClock, SystemClock, Tasks};
use storage::Store;

use self::peers::{Local, Peers};
use crate::{
    app_state::{AppState, SharedState},
    config::Config,
    delegation, health, identity, mail, page,
};

/// A region in this process, without a listener.
#[derive(Clone)]
pub struct Region {
    pub(crate) state: SharedState,
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
        let accounts = open_accounts(config, &store, &clock, &rng, &identity).await?;
        let devices = devices::Devices::new(store.clone(), clock.clone(), rng.clone(), &tasks);
        let presence =
            presence::Presence::new(config.presence(), clock.clone(), &tasks, store.clone());
        let peers = Peers::build(config, &identity, &store, &clock)?;
        let rooms = open_rooms(config, &store, &clock, &rng, identity, peers.ports()).await?;
        peers.know_profiles(&accounts);
        if let Some(mailer) = config.mailer()? {
            let name = config.server_name()?;
            let mailer = mail::SmtpMailer::new(mailer, name, clock.clone(), rng.clone())?;
            accounts.set_mailer(Arc::new(mailer));
        }
        let media = open_media(config, &store, &clock, &rng, &tasks).await?;
        peers.know_media(&media);
        tasks.spawn_until_stopped("typing", rooms.clone().expire_typing());
        let user_directory = user_directory::UserDirectory::new(store.clone(), rooms.clone());
        tasks.spawn_until_stopped("user directory", user_directory.clone().follow());
        let search = search::Search::new(store.clone(), rooms.clone());
        if config.search.enabled {
            tasks.spawn_until_stopped("search", search.clone().follow());
        }
        let local = Local {
            store: store.clone(),
            clock,
            rng,
            tasks: tasks.clone(),
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            devices: devices.clone(),
            presence: presence.clone(),
        };
        let sync = open_sync(&local);
        let push = open_push(config, &local, &sync, &peers).await?;
        let delayed_events = open_delayed_events(&local).await?;
        let sso = sign_on::open(config, &local)?;
        let appservices = appservices::open(config, &local).await?;
        let (gate, sockets) = open_gate(config, &local, &sync, appservices)?;
        let inbound = peers.federate(local);
        // Whoever goes on from an earlier start holds the log by now.
        tasks.spawn_until_stopped("log pruning", store.clone().prune_followed());
        let state = AppState {
            gate,
            store,
            accounts,
            delayed_events,
            devices,
            presence,
            push,
            media,
            rooms,
            search,
            sso,
            sync,
            user_directory,
            sockets,
            inbound,
            federates: config.federation.enabled,
            delegate_to: config.delegate_to()?,
            metrics,
        };
        Ok(Self { state: state.into(), tasks })
    }

    /// The tasks that end with the region; [`crate::serve`] takes them to know when to stop.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Everything that is served.
    pub fn router(&self) -> Router {
        let others = match self.state.federates {
            true => federation::router().merge(federation::media_router()),
            false => Router::new(),
        };
        let delegate_to = self.state.delegate_to.clone().filter(|_| self.state.federates);
        others
            .merge(delegate_to.map(delegation::router).unwrap_or_default())
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
        self.state.devices.forget_remote_keys();
        let store = self.state.store.clone();
        drop(self);
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        if closed.is_err() {
            tracing::error!("the store did not close in order");
        }
    }
}

fn open_sync(local: &Local) -> sync::Sync {
    let sources = sync::Sources {
        store: local.store.clone(),
        rooms: local.rooms.clone(),
        accounts: local.accounts.clone(),
        devices: local.devices.clone(),
        presence: local.presence.clone(),
    };
    let (clock, tasks) = (local.clock.clone(), local.tasks.clone());
    sync::Sync::new(sync::Config::default(), sources, clock, tasks)
}

async fn open_delayed_events(local: &Local) -> anyhow::Result<delayed_events::DelayedEvents> {
    let pieces = delayed_events::Pieces {
        store: local.store.clone(),
        clock: local.clock.clone(),
        rng: local.rng.clone(),
        rooms: local.rooms.clone(),
        accounts: local.accounts.clone(),
    };
    let opened = delayed_events::DelayedEvents::open(delayed_events::Config::default(), pieces);
    let delayed_events = opened.await.context("cannot load the delayed events")?;
    local.tasks.spawn_until_stopped("delayed events", delayed_events.clone().run());
    Ok(delayed_events)
}

async fn open_push(
    config: &Config,
    local: &Local,
    sync: &sync::Sync,
    peers: &Peers,
) -> anyhow::Result<push::Push> {
    let pieces = push::Pieces {
        store: local.store.clone(),
        clock: local.clock.clone(),
        rng: local.rng.clone(),
        tasks: local.tasks.clone(),
        accounts: local.accounts.clone(),
        rooms: local.rooms.clone(),
        sync: sync.clone(),
        gateway: peers.gateway(),
    };
    push::Push::open(config.push(), pieces).await.context("cannot begin to push")
}

/// What lets clients in, and their sockets.
fn open_gate(
    config: &Config,
    local: &Local,
    sync: &sync::Sync,
    appservices: appservice::Appservices,
) -> anyhow::Result<(client_api::Gate, client_api::Sockets)> {
    let gate = client_api::Gate::new(
        config.client_api()?,
        local.accounts.clone(),
        local.devices.clone(),
        appservices,
        local.clock.clone(),
    );
    let sockets = client_api::Sockets::new(client_api::Pieces {
        gate: gate.clone(),
        accounts: local.accounts.clone(),
        devices: local.devices.clone(),
        presence: local.presence.clone(),
        rooms: local.rooms.clone(),
        sync: sync.clone(),
        rng: local.rng.clone(),
        tasks: local.tasks.clone(),
    });
    Ok((gate, sockets))
}

async fn open_accounts(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
    rng: &Rng,
    identity: &identity::Identity,
) -> anyhow::Result<accounts::Accounts> {
    let (store, clock, rng) = (store.clone(), clock.clone(), rng.clone());
    let name = identity.server_name.clone();
    let opened = accounts::Accounts::open(config.accounts()?, store, clock, rng, name).await;
    opened.context("cannot load the accounts")
}

async fn open_rooms(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
    rng: &Rng,
    identity: identity::Identity,
    ports: rooms::ports::Ports,
) -> anyhow::Result<rooms::Rooms> {
    let (store, clock, rng) = (store.clone(), clock.clone(), rng.clone());
    let identity::Identity { server_name, signing_key } = identity;
    let mut rooms = config.rooms();
    if config.policy_server.enabled {
        let key = identity::policy_key(&store, &rng).await?;
        rooms.policy_server = Some(config.policy_server.config(key)?);
    }
    let opened = rooms::Rooms::new(rooms, store, clock, rng, server_name, signing_key, ports);
    opened.context("cannot open the rooms")
}

async fn open_media(
    config: &Config,
    store: &Store,
    clock: &SharedClock,
    rng: &Rng,
    tasks: &Tasks,
) -> anyhow::Result<media::Media> {
    let pieces = media::Pieces {
        store: store.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
        tasks: tasks.clone(),
        server_name: config.server_name()?,
    };
    media::Media::open(config.media(), pieces).await.context("cannot open the media")
}
