//! The handle: what is served, and what runs beside it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
};
use stdx::{Rng, Tasks};

use crate::{forward, opening, refusal, uplink::Core};

#[derive(Clone, Debug)]
pub struct Config {
    /// The core's socket.
    pub socket: PathBuf,
    /// Whether a WebSocket that sends very many frames is closed.
    pub frames_limited: bool,
}

/// The address of a request's client. The listener puts it into each request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Client(pub SocketAddr);

/// A gateway in this process, without a listener. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    core: Arc<Core>,
}

impl Gateway {
    /// Connects to the core, now and whenever it comes back, until `tasks` is told to stop; then
    /// clients are told that it was a restart. Must be called within a Tokio runtime.
    pub fn start(config: Config, rng: Rng, tasks: &Tasks) -> Self {
        let core = Arc::new(Core::new(config, rng, tasks.clone()));
        tasks.spawn("core", Arc::clone(&core).keep());
        Self { core }
    }

    /// Waits until the core is connected: before that, everybody would be refused.
    pub async fn ready(&self) {
        self.core.ready().await;
    }

    /// Everything that is served.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// How many WebSockets end here.
    pub fn sockets(&self) -> usize {
        self.core.connected().map_or(0, |connected| connected.link.count())
    }
}

async fn answer(State(gateway): State<Gateway>, request: Request) -> Response {
    let Some(connected) = gateway.core.connected() else { return refusal::core_is_away() };
    if opening::asks_for_websocket(&request) {
        opening::open(&gateway.core, connected.link, request).await
    } else {
        forward::forward(connected.requests, request).await
    }
}
