//! The one struct that knows every piece. Routers ask for the pieces that they name.

use std::{ops::Deref, sync::Arc};

use accounts::Accounts;
use axum::extract::FromRef;
use client_api::{Gate, Sockets};
use delayed_events::DelayedEvents;
use devices::Devices;
use federation::Inbound;
use media::Media;
use metrics_exporter_prometheus::PrometheusHandle;
use presence::Presence;
use push::Push;
use rooms::Rooms;
use ruma::OwnedServerName;
use search::Search;
use sso::Sso;
use storage::Store;
use sync::Sync;
use user_directory::UserDirectory;

pub(crate) struct AppState {
    pub(crate) gate: Gate,
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    pub(crate) delayed_events: DelayedEvents,
    pub(crate) devices: Devices,
    pub(crate) presence: Presence,
    pub(crate) push: Push,
    pub(crate) media: Media,
    pub(crate) rooms: Rooms,
    pub(crate) search: Search,
    pub(crate) sso: Sso,
    pub(crate) sync: Sync,
    pub(crate) user_directory: UserDirectory,
    pub(crate) sockets: Sockets,
    pub(crate) inbound: Inbound,
    /// Whether other servers are answered.
    pub(crate) federates: bool,
    /// Where they are sent, if it is this process that they ask.
    pub(crate) delegate_to: Option<OwnedServerName>,
    pub(crate) metrics: Option<PrometheusHandle>,
}

/// What routers hold. They clone it several times for each request, which must not touch every piece.
#[derive(Clone)]
pub(crate) struct SharedState(Arc<AppState>);

impl From<AppState> for SharedState {
    fn from(state: AppState) -> Self {
        Self(Arc::new(state))
    }
}

impl Deref for SharedState {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

macro_rules! piece {
    ($($field:ident: $type:ty),* $(,)?) => {$(
        impl FromRef<SharedState> for $type {
            fn from_ref(state: &SharedState) -> Self {
                state.$field.clone()
            }
        }
    )*};
}
piece!(
    gate: Gate,
    store: Store,
    accounts: Accounts,
    delayed_events: DelayedEvents,
    devices: Devices,
    presence: Presence,
    push: Push,
    media: Media,
    rooms: Rooms,
    search: Search,
    sso: Sso,
    sync: Sync,
    user_directory: UserDirectory,
    sockets: Sockets,
    inbound: Inbound,
    metrics: Option<PrometheusHandle>,
);
