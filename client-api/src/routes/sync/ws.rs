//! `/_matrix/client/unstable/im.meridian/sync/ws`: sync and sending over one WebSocket.
//!
//! The protocol is described in `docs/websocket.md`. Whatever fails before the upgrade is an
//! ordinary HTTP Matrix error.

mod channel;
mod delivered;
mod end;
mod filters;
mod frame;
mod handshake;
mod in_flight;
mod link;
mod methods;
mod registry;
mod running;
mod socket;
mod transport;

use std::sync::Arc;

use accounts::{Accounts, Session};
use axum::{
    Router,
    extract::{FromRef, Request, State},
    response::{IntoResponse as _, Response},
    routing::{any, post},
};
use devices::Devices;
use http::{HeaderMap, StatusCode, header};
use presence::Presence;
use rooms::Rooms;
use serde::Deserialize;
use serde_json::json;
use stdx::{Rng, Tasks};
use sync::{Filter, Sync as SyncEngine};

use self::{
    filters::Filters,
    handshake::Handshake,
    registry::Registry,
    socket::{Mode, Start},
};
use crate::{error::Error, extract::AuthedRaw, gate::Gate, respond::RawJson};

/// The largest frame of a client: an event of 65,536 bytes and what is around it.
const FRAME_BYTES_MAX: usize = 65_536 + 1024;
const PROTOCOL: &str = "im.meridian.v1.json";
const PROTOCOL_DRAFT: &str = "m.json";

/// All open WebSockets. Cheap to clone.
#[derive(Clone)]
pub struct Sockets {
    inner: Arc<Inner>,
}

struct Inner {
    pieces: Pieces,
    registry: Arc<Registry>,
    filters: Filters,
}

/// What a socket's methods call.
#[derive(Clone)]
pub struct Pieces {
    pub gate: Gate,
    pub accounts: Accounts,
    pub devices: Devices,
    pub presence: Presence,
    pub rooms: Rooms,
    pub sync: SyncEngine,
    pub rng: Rng,
    pub tasks: Tasks,
}

impl Sockets {
    /// Must be called within a Tokio runtime.
    pub fn new(pieces: Pieces) -> Self {
        let config = pieces.gate.config();
        let registry = Arc::new(Registry::new(config.sockets_per_device, config.sockets_per_user));
        let (tasks, open) = (pieces.tasks.clone(), Arc::clone(&registry));
        pieces.tasks.spawn("sockets' end", async move {
            tasks.stopping().await;
            open.call_all();
        });
        Self { inner: Arc::new(Inner { pieces, registry, filters: Filters::default() }) }
    }

    /// The filter of a sync, over whichever transport: many ask with the same one.
    pub(super) fn parse_filter(&self, json: &str) -> Result<Arc<Filter>, Error> {
        self.inner.filters.parse(json)
    }

    /// How many sockets are open.
    pub fn count(&self) -> usize {
        self.inner.registry.count()
    }
}

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Sockets: FromRef<S>,
{
    let base = "/_matrix/client/unstable/im.meridian/sync/ws";
    Router::new()
        // HTTP/2 opens a WebSocket with CONNECT.
        .route(base, any(open))
        .route(&format!("{base}/ticket"), post(create_ticket))
        .route("/_matrix/client/unstable/stream", any(open_legacy))
        .route("/_matrix/client/ws/r0", any(open_legacy))
}

/// A single-use ticket, for browsers, which cannot set headers on a WebSocket.
async fn create_ticket(
    State(sockets): State<Sockets>,
    AuthedRaw { session, .. }: AuthedRaw,
) -> RawJson {
    let Pieces { rng, gate, .. } = &sockets.inner.pieces;
    let ticket = rng.alphanumeric(32);
    let life = sockets.inner.registry.add_ticket(ticket.clone(), session, gate.now_ms());
    RawJson(json!({ "ticket": ticket, "expires_in_ms": life }).to_string().into())
}

#[derive(Default, Deserialize)]
struct Query {
    ticket: Option<String>,
    access_token: Option<String>,
    since: Option<String>,
    filter: Option<String>,
    #[serde(default)]
    full_state: bool,
    presence: Option<String>,
}

async fn open(State(sockets): State<Sockets>, request: Request) -> Result<Response, Error> {
    let offered = offered(request.headers());
    let mode = if offered.iter().any(|name| name == PROTOCOL) {
        Mode::Enveloped
    } else if offered.iter().any(|name| name == PROTOCOL_DRAFT) {
        Mode::Draft
    } else {
        return Err(upgradable(&request).err().unwrap_or_else(|| {
            Error::invalid_param(format!("Offer the subprotocol {PROTOCOL} or {PROTOCOL_DRAFT}"))
        }));
    };
    upgradable(&request)?;
    let (mut parts, _) = request.into_parts();
    let query = query(parts.uri.query())?;
    let session = authenticate(&sockets, &parts, query.ticket.as_deref()).await?;
    Ok(upgrade(sockets, &mut parts, Start { mode, session, query: query.into() }))
}

/// The paths of the 2015 draft: the token stands in the query.
async fn open_legacy(State(sockets): State<Sockets>, request: Request) -> Result<Response, Error> {
    let gate = &sockets.inner.pieces.gate;
    if !gate.config().legacy_websocket {
        return Err(Error::unrecognized());
    }
    upgradable(&request)?;
    let (mut parts, _) = request.into_parts();
    let query = query(parts.uri.query())?;
    let token = query.access_token.as_deref().ok_or_else(Error::missing_token)?;
    let session = gate.session(token)?;
    let start = Start { mode: Mode::Draft, session: Some(session), query: query.into() };
    Ok(upgrade(sockets, &mut parts, start))
}

fn query(text: Option<&str>) -> Result<Query, Error> {
    serde_html_form::from_str(text.unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))
}

/// Refuses what is not the opening of a WebSocket.
fn upgradable(request: &Request) -> Result<(), Error> {
    let asks = request.headers().get(header::UPGRADE).is_some_and(|value| {
        value.to_str().is_ok_and(|value| value.eq_ignore_ascii_case("websocket"))
    });
    if asks || request.method() == http::Method::CONNECT {
        return Ok(());
    }
    Err(Error::new(StatusCode::UPGRADE_REQUIRED, "M_UNRECOGNIZED", "This is a WebSocket endpoint"))
}

fn offered(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect()
}

/// `None`: the first frame has to authenticate.
async fn authenticate(
    sockets: &Sockets,
    parts: &http::request::Parts,
    ticket: Option<&str>,
) -> Result<Option<Session>, Error> {
    let Pieces { gate, .. } = &sockets.inner.pieces;
    if parts.headers.contains_key(header::AUTHORIZATION) {
        return gate.authenticate(parts).await.map(Some);
    }
    let Some(ticket) = ticket else { return Ok(None) };
    let session = sockets.inner.registry.take_ticket(ticket, gate.now_ms());
    session.map(Some).ok_or_else(|| Error::unknown_token(false))
}

fn upgrade(sockets: Sockets, parts: &mut http::request::Parts, start: Start) -> Response {
    let handshake = match Handshake::read(parts) {
        Ok(handshake) => handshake,
        Err(refusal) => return refusal.into_response(),
    };
    let protocol = match start.mode {
        Mode::Enveloped => PROTOCOL,
        Mode::Draft => PROTOCOL_DRAFT,
    };
    let is_offered = offered(&parts.headers).iter().any(|name| name == protocol);
    let (upgrade, response) = handshake.accept(is_offered.then_some(protocol));
    let tasks = sockets.inner.pieces.tasks.clone();
    // Owned, so that the server's end waits for each socket to be told.
    tasks.spawn("socket", socket::run(sockets, upgrade, start));
    response
}
