//! The content repository ([spec]): uploads, downloads, thumbnails.
//!
//! The unauthenticated downloads of old (`/_matrix/media/*/download` and `/thumbnail`) are not
//! served: servers froze them for whatever is newer than Matrix 1.12, and nothing here is older.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#content-repository

mod download;

use std::time::Duration;

use accounts::{Accounts, Session};
use axum::{
    Router,
    body::Body,
    extract::{FromRef, State},
    routing::{get, post, put},
};
use futures_util::StreamExt as _;
use http::{StatusCode, header};
use http_body_util::BodyDataStream;
use media::{Media, MediaOf, Upload};
use serde::Deserialize;
use serde_json::json;

use crate::{
    error::Error,
    extract::{AuthedRaw, AuthedStream},
    gate::Gate,
    respond::{Empty, RawJson},
};

/// Of what is refused, so much is read, within this time.
const HEARD_OUT_BYTES: usize = 64 << 20;
const HEARD_OUT_FOR: Duration = Duration::from_secs(10);

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Media: FromRef<S>,
{
    let authed = "/_matrix/client/v1/media";
    let of = "{server_name}/{media_id}";
    let router = Router::new()
        .route("/_matrix/media/v1/create", post(create_mxc_uri))
        .route(&format!("{authed}/config"), get(get_media_config))
        .route(&format!("{authed}/preview_url"), get(get_media_preview))
        .route(&format!("{authed}/download/{of}"), get(download::get_content))
        .route(&format!("{authed}/download/{of}/{{file_name}}"), get(download::get_content))
        .route(&format!("{authed}/thumbnail/{of}"), get(download::get_content_thumbnail));
    ["r0", "v3"].into_iter().fold(router, |router, version| {
        let base = format!("/_matrix/media/{version}");
        router
            .route(&format!("{base}/config"), get(get_media_config))
            .route(&format!("{base}/preview_url"), get(get_media_preview))
            .route(&format!("{base}/upload"), post(create_content))
            .route(&format!("{base}/upload/{of}"), put(create_content_async))
    })
}

async fn get_media_config(State(media): State<Media>, _authed: AuthedRaw) -> RawJson {
    RawJson(json!({ "m.upload.size": media.upload_bytes_max() }).to_string().into())
}

/// `ts`, the time of which a preview is wanted, is a wish; the newest is given.
async fn get_media_preview(
    State(media): State<Media>,
    AuthedRaw { session, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        url: String,
    }
    let Query { url } = serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|_| Error::missing_param("There is no `url`"))?;
    let preview = media.preview(&session.user_id, &url).await?;
    Ok(RawJson(preview.as_bytes().to_vec().into()))
}

async fn create_mxc_uri(
    State(media): State<Media>,
    AuthedRaw { session, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let created = media.create(&session.user_id).await?;
    let uri = uri(&session, &created.media_id);
    let body = json!({ "content_uri": uri, "unused_expires_at": created.unused_expires_at });
    Ok(RawJson(body.to_string().into()))
}

fn uri(session: &Session, media_id: &str) -> String {
    format!("mxc://{}/{media_id}", session.user_id.server_name())
}

async fn create_content(
    State(media): State<Media>,
    request: AuthedStream,
) -> Result<RawJson, Error> {
    let upload = described(&request)?;
    let AuthedStream { session, body, .. } = request;
    let mut body = BodyDataStream::new(body);
    let taken = media.upload(&session.user_id, upload, &mut body).await;
    let media_id = heard_out(taken, body).await?;
    Ok(RawJson(json!({ "content_uri": uri(&session, &media_id) }).to_string().into()))
}

async fn create_content_async(
    State(media): State<Media>,
    request: AuthedStream,
) -> Result<Empty, Error> {
    let upload = described(&request)?;
    let AuthedStream { session, path_args, body, .. } = request;
    let [server, media_id] = &path_args[..] else { return Err(Error::unrecognized()) };
    let server = download::server(server)?;
    let media_of = MediaOf { server: &server, media_id };
    let mut body = BodyDataStream::new(body);
    let taken = media.upload_to(&session.user_id, media_of, upload, &mut body).await;
    heard_out(taken, body).await?;
    Ok(Empty)
}

fn described(request: &AuthedStream) -> Result<Upload, Error> {
    #[derive(Deserialize)]
    struct Query {
        filename: Option<String>,
    }
    let query = request.parts.uri.query().unwrap_or_default();
    let Query { filename } = serde_html_form::from_str(query)
        .map_err(|_| Error::invalid_param("The query is not valid"))?;
    let text = |name| request.parts.headers.get(name)?.to_str().ok().map(str::to_owned);
    let content_type = text(header::CONTENT_TYPE);
    let bytes = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    Ok(Upload { content_type, filename, bytes })
}

/// A client that is refused while it still sends sees a broken connection and not the reason, so it
/// is listened to for a while.
async fn heard_out<T>(
    taken: Result<T, media::Error>,
    mut body: BodyDataStream<Body>,
) -> Result<T, Error> {
    if taken.is_err() {
        let mut left = HEARD_OUT_BYTES;
        let rest = async {
            while let Some(Ok(piece)) = body.next().await
                && piece.len() <= left
            {
                left -= piece.len();
            }
        };
        let _heard_enough = tokio::time::timeout(HEARD_OUT_FOR, rest).await;
    }
    Ok(taken?)
}

impl From<media::Error> for Error {
    fn from(error: media::Error) -> Self {
        use media::Error as E;
        let text = error.to_string();
        match error {
            E::NotFound => Self::not_found(text),
            E::NotYetUploaded => Self::new(StatusCode::GATEWAY_TIMEOUT, "M_NOT_YET_UPLOADED", text),
            E::CannotOverwrite => Self::new(StatusCode::CONFLICT, "M_CANNOT_OVERWRITE_MEDIA", text),
            E::NotYours => Self::forbidden(text),
            E::TooLarge(_) | E::ImageTooLarge => Self::too_large(text),
            E::RemoteTooLarge => Self::new(StatusCode::BAD_GATEWAY, "M_TOO_LARGE", text),
            // "400: … or the server cannot thumbnail the content"
            E::BadUrl => Self::invalid_param(text),
            E::NoThumbnail(_) => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", text),
            E::Busy { retry_after } => Self::limit_exceeded(retry_after),
            E::Remote(_) => Self::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", text),
            E::Broken(_) => Self::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", text),
            E::LowSpace => Self::low_space(),
            E::File(_) | E::Store(_) => Self::internal(&text),
        }
    }
}
