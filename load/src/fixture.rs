//! Another server, as far as a join needs one: it publishes its key, hands out the template, and
//! answers the join with the whole state of the room, over TLS. It can send transactions too, and
//! tells the state on a branch of its rooms.

mod peer;
pub(crate) mod room;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

pub(crate) use self::peer::Peer;
use self::room::{KEY_ID, Room, Signatory};
use crate::certificates::Certificates;

const DAY: Duration = Duration::from_secs(24 * 3600);

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;

/// How a join is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answering {
    Whole,
    /// The first half of the answer, and nothing more.
    Half,
}

pub(crate) struct Fixture {
    pub(crate) signatory: Signatory,
    rooms: Mutex<BTreeMap<String, Arc<Room>>>,
    /// The last join of each room, by its id.
    joins: Mutex<BTreeMap<String, String>>,
    answering: Mutex<Answering>,
    /// An answer to `send_join` is on its way.
    pub(crate) answered: Notify,
}

impl Fixture {
    /// Serves until the run ends.
    pub(crate) async fn serve(certificates: &Certificates) -> anyhow::Result<Arc<Self>> {
        let chain = CertificateDer::pem_file_iter(&certificates.certificate)?;
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&certificates.key)?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let fixture = Arc::new(Self {
            signatory: Signatory { server: listener.local_addr()?.to_string(), key },
            rooms: Mutex::default(),
            joins: Mutex::default(),
            answering: Mutex::new(Answering::Whole),
            answered: Notify::new(),
        });
        let serving = Arc::clone(&fixture);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).connection(acceptor.clone(), stream));
            }
        });
        Ok(fixture)
    }

    pub(crate) fn open(&self, room: Room) -> String {
        let id = room.id.clone();
        lock(&self.rooms).insert(id.clone(), Arc::new(room));
        id
    }

    pub(crate) fn room(&self, id: &str) -> anyhow::Result<Arc<Room>> {
        lock(&self.rooms).get(id).cloned().context("a room of the fixture")
    }

    /// The id of the event by which somebody joined a room.
    pub(crate) fn join_of(&self, room: &str) -> Option<String> {
        lock(&self.joins).get(room).cloned()
    }

    pub(crate) fn set_answering(&self, answering: Answering) {
        *lock(&self.answering) = answering;
    }

    async fn connection(self: Arc<Self>, acceptor: TlsAcceptor, stream: TcpStream) {
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let service = hyper::service::service_fn(|request| {
            let fixture = Arc::clone(&self);
            async move { fixture.answer(request).await }
        });
        let served = hyper::server::conn::http1::Builder::new();
        // Who is killed hangs up in the middle.
        drop(served.serve_connection(TokioIo::new(stream), service).await);
    }

    async fn answer(&self, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let parts: Vec<String> = path.split('/').map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let room = |id: &str| self.room(id);
        match parts.as_slice() {
            ["", "_matrix", "key", "v2", "server", ..] => whole(StatusCode::OK, self.keys()?),
            ["", "_matrix", "federation", "v1", "make_join", id, user] => {
                whole(StatusCode::OK, room(id)?.template(user))
            }
            ["", "_matrix", "federation", "v2", "send_join", id, event_id] => {
                let room = room(id)?;
                lock(&self.joins).insert(room.id.clone(), (*event_id).to_owned());
                let event = request.into_body().collect().await?.to_bytes();
                let event = String::from_utf8(event.to_vec())?;
                let answer = room.joined(&self.signatory.server, &event);
                let answering = *lock(&self.answering);
                if answering == Answering::Whole {
                    self.answered.notify_one();
                    return whole(StatusCode::OK, answer);
                }
                let half = Bytes::from(answer).slice(..room.joined("", "").len() / 2);
                self.answered.notify_one();
                let first = stream::iter([Ok(Frame::data(half))]);
                let body = StreamBody::new(first.chain(stream::pending()));
                Ok(Response::new(body.boxed_unsync()))
            }
            ["", "_matrix", "federation", "v1", "get_missing_events", _] => {
                whole(StatusCode::OK, r#"{"events":[]}"#.to_owned())
            }
            ["", "_matrix", "federation", "v1", "state_ids", id] => {
                whole(StatusCode::OK, room(id)?.ids_of_branch())
            }
            ["", "_matrix", "federation", "v1", "state", id] => {
                whole(StatusCode::OK, room(id)?.state_of_branch())
            }
            ["", "_matrix", "federation", "v1", "event", id] => {
                let rooms: Vec<Arc<Room>> = lock(&self.rooms).values().cloned().collect();
                let found = rooms.iter().find_map(|room| room.unsent_event(id));
                let event = found.context("an event of a branch")?;
                let origin = &self.signatory.server;
                whole(StatusCode::OK, format!(r#"{{"origin":"{origin}","pdus":[{event}]}}"#))
            }
            _ => whole(StatusCode::NOT_FOUND, r#"{"errcode":"M_UNRECOGNIZED"}"#.to_owned()),
        }
    }

    fn keys(&self) -> anyhow::Result<String> {
        let until = SystemTime::now().duration_since(UNIX_EPOCH)? + DAY;
        let mut keys = json!({
            "server_name": self.signatory.server,
            "valid_until_ts": u64::try_from(until.as_millis())?,
            "verify_keys": { KEY_ID: { "key": self.signatory.verify_key() } },
            "old_verify_keys": {},
        });
        self.signatory.sign(&mut keys);
        Ok(keys.to_string())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole(status: StatusCode, body: String) -> anyhow::Result<Response<Body>> {
    let body = http_body_util::Full::new(Bytes::from(body)).boxed_unsync();
    Ok(Response::builder().status(status).header("content-type", "application/json").body(body)?)
}

/// Percent-decodes a segment of a path. What is no encoding stays.
fn decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = segment.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) if bytes[at] == b'%' => {
                decoded.push(code);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
