//! `GET /media/download/{mediaId}`, `/media/thumbnail/{mediaId}`: what was uploaded here, and never
//! what was fetched from others.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{FromRef, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{StatusCode, header};
use media::{Content, Media, MediaOf, Method, Wanted, disposition};
use serde::Deserialize;

use crate::{
    error::Error,
    extract::{Plain, Signed},
    inbound::Inbound,
};

const WAIT_MS: u64 = 20_000;
const WAIT_MS_MAX: u64 = 120_000;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
    Media: FromRef<S>,
{
    Router::new()
        .route("/_matrix/federation/v1/media/download/{media_id}", get(get_content))
        .route("/_matrix/federation/v1/media/thumbnail/{media_id}", get(get_content_thumbnail))
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum QueryMethod {
    Crop,
    #[default]
    Scale,
}

fn wait(timeout_ms: Option<u64>) -> Duration {
    Duration::from_millis(timeout_ms.unwrap_or(WAIT_MS).min(WAIT_MS_MAX))
}

async fn get_content(
    State(inbound): State<Inbound>,
    State(media): State<Media>,
    Signed { request, .. }: Signed,
) -> Result<Response, Error> {
    #[derive(Deserialize)]
    struct Query {
        timeout_ms: Option<u64>,
    }
    let Query { timeout_ms } = request.query()?;
    let [media_id] = request.path()?;
    let of = MediaOf { server: inbound.server_name(), media_id };
    let content = media.download(of, wait(timeout_ms)).await?;
    Ok(in_parts(&media, content, request))
}

async fn get_content_thumbnail(
    State(inbound): State<Inbound>,
    State(media): State<Media>,
    Signed { request, .. }: Signed,
) -> Result<Response, Error> {
    #[derive(Deserialize)]
    struct Query {
        width: u32,
        height: u32,
        #[serde(default)]
        method: QueryMethod,
        timeout_ms: Option<u64>,
    }
    let Query { width, height, method, timeout_ms } = request.query()?;
    if width == 0 || height == 0 {
        return Err(Error::invalid_param("A thumbnail has a width and a height"));
    }
    let method = match method {
        QueryMethod::Crop => Method::Crop,
        QueryMethod::Scale => Method::Scale,
    };
    let [media_id] = request.path()?;
    let of = MediaOf { server: inbound.server_name(), media_id };
    let wanted = Wanted { width, height, method };
    let content = media.thumbnail(of, wanted, wait(timeout_ms)).await?;
    Ok(in_parts(&media, content, request))
}

/// The metadata, of which there is none, and the content. The request counts among those of its
/// server until the last byte is sent.
fn in_parts(media: &Media, content: Content, request: Plain) -> Response {
    let boundary = media.boundary();
    let content_type = content.content_type.as_deref().unwrap_or("application/octet-stream");
    let shown = disposition(content.content_type.as_deref(), content.filename.as_deref());
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n\
         Content-Type: {content_type}\r\nContent-Disposition: {shown}\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let length = head.len() as u64 + content.bytes + tail.len() as u64;
    let piece = |text: String| stream::iter([Ok(Bytes::from(text))]);
    let body = piece(head).chain(content.into_stream()).chain(piece(tail)).map(move |piece| {
        let _counted = &request;
        piece
    });
    let headers = [
        (header::CONTENT_TYPE, format!("multipart/mixed; boundary={boundary}")),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    (headers, Body::from_stream(body)).into_response()
}

impl From<media::Error> for Error {
    fn from(error: media::Error) -> Self {
        use media::Error as E;
        let text = error.to_string();
        match error {
            E::NotFound => Self::not_found(text),
            E::NotYetUploaded => Self::new(StatusCode::GATEWAY_TIMEOUT, "M_NOT_YET_UPLOADED", text),
            E::TooLarge(_) | E::ImageTooLarge => Self::too_large(text),
            E::NoThumbnail(_) => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", text),
            E::Busy { retry_after } => Self::limit_exceeded(retry_after),
            E::LowSpace => rooms::Error::LowSpace.into(),
            other => Self::internal(&other),
        }
    }
}
