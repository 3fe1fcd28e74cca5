//! A client of a gateway asks for a WebSocket: the same request through the same router.

use std::sync::Arc;

use axum::{Router, body::Body, response::IntoResponse as _};
use bytes::Bytes;
use frames::link::{self, Answer, Kind, Opening};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use tower::ServiceExt as _;

use super::{Link, Linked};
use crate::{address::ClientAddress, error::Error};

/// A refusal is a few words.
const REFUSAL_BYTES_MAX: usize = 16 << 10;

/// Stands in a request's extensions where the server's upgrade would.
#[derive(Clone)]
pub(in super::super) struct LinkUpgrade(Arc<Mutex<Option<Linked>>>);

impl LinkUpgrade {
    pub(in super::super) fn take(&self) -> Option<Linked> {
        self.0.lock().take()
    }
}

pub(super) async fn open(link: Arc<Link>, linked: Linked, opening: Opening, app: Router) {
    let number = linked.number();
    let upgrade = LinkUpgrade(Arc::new(Mutex::new(Some(linked))));
    let answer = match request(opening, upgrade.clone()) {
        Ok(request) => match app.oneshot(request).await {
            Ok(response) => answer(response).await,
            Err(never) => match never {},
        },
        Err(_not_http) => answer(refusal("The request cannot be read")).await,
    };
    if let Ok(payload) = link::to_payload(&answer) {
        // If the link is gone, so is who asked.
        let _gone = link.send(Kind::Answer, number, Bytes::from(payload)).await;
    }
    // A socket that was refused ends after its answer.
    drop(upgrade);
}

fn request(opening: Opening, upgrade: LinkUpgrade) -> http::Result<Request<Body>> {
    let mut request = Request::get(opening.target);
    for (name, value) in opening.headers {
        request = request.header(name, value);
    }
    request.extension(ClientAddress(opening.client)).extension(upgrade).body(Body::empty())
}

async fn answer(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, REFUSAL_BYTES_MAX).collect().await;
    let headers = parts.headers.iter();
    Answer {
        status: parts.status.as_u16(),
        headers: headers.map(|(name, value)| (name.to_string(), value.as_bytes().into())).collect(),
        body: body.map(|body| body.to_bytes().into()).unwrap_or_default(),
    }
}

fn refusal(why: &'static str) -> Response<Body> {
    Error::new(http::StatusCode::BAD_REQUEST, "M_UNKNOWN", why).into_response()
}
