//! A client asks for a WebSocket. The core answers, as if the client had asked it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use frames::link::{self, Answer, Kind, Opening, SOCKET_PATHS};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use hyper::upgrade::OnUpgrade;

use crate::{
    gateway::Client,
    link::Link,
    refusal,
    socket::{Driver, Socket},
    stream::Stream,
    uplink::Core,
};

pub(crate) fn asks_for_websocket(request: &Request) -> bool {
    let upgrade = request.headers().get(header::UPGRADE).map(HeaderValue::as_bytes);
    upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        && request.method() == Method::GET
        && SOCKET_PATHS.contains(&request.uri().path())
}

pub(crate) async fn open(core: &Core, link: Arc<Link>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let Some(on_upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return refusal::bad_request("The connection cannot be upgraded");
    };
    let Some(opening) = opening(&parts) else {
        return refusal::bad_request("The request is too long");
    };
    let (socket, answered) = link.open(&opening);
    let asking = Asking(Some(Arc::clone(&socket)), link);
    let Ok(answer) = answered.await else { return refusal::core_is_away() };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        let tasks = core.tasks.clone();
        core.tasks.spawn("upgrade", async move {
            // The connection's own task is the smallest that it can be; this one ends.
            if let Some(driver) = asking.connect(on_upgrade).await {
                tasks.spawn("socket", driver);
            }
        });
    }
    response(answer)
}

fn opening(parts: &Parts) -> Option<Vec<u8>> {
    let Client(client) = *parts.extensions.get::<Client>()?;
    let target = parts.uri.path_and_query()?.as_str().to_owned();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    link::to_payload(&Opening { client, target, headers: headers.collect() }).ok()
}

/// A socket without a connection. If it gets none, the core is told.
struct Asking(Option<Arc<Socket>>, Arc<Link>);

impl Asking {
    async fn connect(mut self, on_upgrade: OnUpgrade) -> Option<Driver> {
        let (stream, early) = Stream::of(on_upgrade.await.ok()?);
        let socket = self.0.take()?;
        socket.connect(stream, &early);
        Some(Driver(socket))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Self(Some(socket), link) = self else { return };
        link.send(Kind::Gone, socket.number(), &[]);
        link.forget(socket.number());
    }
}

fn response(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    // Both were a response of HTTP before they came over the link.
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).ok();
        if let Some((name, value)) = name.zip(HeaderValue::from_bytes(&value).ok()) {
            response.headers_mut().append(name, value);
        }
    }
    response.into_response()
}
