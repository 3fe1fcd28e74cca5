//! Downloads and thumbnails, with the headers that keep what strangers uploaded from running in a
//! browser.

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, header, request::Parts};
use media::{Content, Media, MediaOf, Method, Wanted, disposition};
use ruma::{OwnedServerName, ServerName};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{error::Error, extract::AuthedRaw};

/// "The default is 20000"
const WAIT_MS: u64 = 20_000;
const WAIT_MS_MAX: u64 = 120_000;
const OCTETS: &str = "application/octet-stream";
/// As section "Content repository" recommends.
const POLICY: &str = "sandbox; default-src 'none'; script-src 'none'; plugin-types \
                      application/pdf; style-src 'unsafe-inline'; object-src 'self';";

#[derive(Deserialize)]
struct DownloadQuery {
    timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
struct ThumbnailQuery {
    width: u32,
    height: u32,
    #[serde(default)]
    method: QueryMethod,
    timeout_ms: Option<u64>,
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

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Error> {
    serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))
}

/// A name that is none has no content.
pub(super) fn server(text: &str) -> Result<OwnedServerName, Error> {
    ServerName::parse(text).map_err(|_| media::Error::NotFound.into())
}

pub(super) async fn get_content(
    State(media): State<Media>,
    AuthedRaw { parts, path_args, .. }: AuthedRaw,
) -> Result<Response, Error> {
    let (server_name, media_id, filename) = match &path_args[..] {
        [server, media_id] => (server, media_id, None),
        [server, media_id, filename] => (server, media_id, Some(filename)),
        _ => return Err(Error::unrecognized()),
    };
    let DownloadQuery { timeout_ms } = query(&parts)?;
    let server = server(server_name)?;
    let media_of = MediaOf { server: &server, media_id };
    let mut content = media.download(media_of, wait(timeout_ms)).await?;
    if let Some(filename) = filename {
        content.filename = Some(filename.clone());
    }
    Ok(served(content))
}

pub(super) async fn get_content_thumbnail(
    State(media): State<Media>,
    AuthedRaw { parts, path_args, .. }: AuthedRaw,
) -> Result<Response, Error> {
    let [server_name, media_id] = &path_args[..] else { return Err(Error::unrecognized()) };
    let ThumbnailQuery { width, height, method, timeout_ms } = query(&parts)?;
    if width == 0 || height == 0 {
        return Err(Error::invalid_param("A thumbnail has a width and a height"));
    }
    let method = match method {
        QueryMethod::Crop => Method::Crop,
        QueryMethod::Scale => Method::Scale,
    };
    let server = server(server_name)?;
    let media_of = MediaOf { server: &server, media_id };
    let wanted = Wanted { width, height, method };
    Ok(served(media.thumbnail(media_of, wanted, wait(timeout_ms)).await?))
}

fn served(content: Content) -> Response {
    let text = |text: &str| {
        HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(OCTETS))
    };
    let disposition = disposition(content.content_type.as_deref(), content.filename.as_deref());
    let headers = [
        (header::CONTENT_TYPE, text(content.content_type.as_deref().unwrap_or(OCTETS))),
        (header::CONTENT_LENGTH, HeaderValue::from(content.bytes)),
        (header::CONTENT_DISPOSITION, text(&disposition)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // What is under an id never changes; only who asked may see it.
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
    ];
    (headers, Body::from_stream(content.into_stream())).into_response()
}
