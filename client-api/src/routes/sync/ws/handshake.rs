//! The opening handshake of RFC 6455, section 4.2, and of RFC 8441 for HTTP/2.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header,
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use sha1::{Digest as _, Sha1};

use super::{link::LinkUpgrade, transport::Upgrade};
use crate::error::Error;

/// Appended to a client's key before it is hashed.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request opens no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Version,
    Other(&'static str),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Self::Version => (StatusCode::UPGRADE_REQUIRED, "The WebSocket's version has to be 13"),
            Self::Other(why) => (StatusCode::BAD_REQUEST, why),
        };
        let mut response = Error::new(status, "M_UNKNOWN", why).into_response();
        if self == Self::Version {
            let version = HeaderValue::from_static("13");
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
        }
        response
    }
}

/// A valid opening of a WebSocket.
pub(super) struct Handshake {
    upgrade: Upgrade,
    /// HTTP/2 knows none.
    accept: Option<HeaderValue>,
}

impl Handshake {
    pub(super) fn read(parts: &mut Parts) -> Result<Self, Refusal> {
        let accept = match parts.version {
            Version::HTTP_2 => {
                if parts.method != Method::CONNECT || !asks_for_websocket_in_http2(parts) {
                    return Err(Refusal::Other(
                        "HTTP/2 opens a WebSocket with an extended CONNECT",
                    ));
                }
                None
            }
            _ => Some(answer_to_key(parts)?),
        };
        if parts.headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|value| value != "13") {
            return Err(Refusal::Version);
        }
        let upgrade = upgrade(&mut parts.extensions);
        let upgrade = upgrade.ok_or(Refusal::Other("The connection cannot be upgraded"))?;
        Ok(Self { upgrade, accept })
    }

    /// The answer that opens the WebSocket, and the connection once it is written.
    pub(super) fn accept(self, protocol: Option<&'static str>) -> (Upgrade, Response) {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        if let Some(accept) = self.accept {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        (self.upgrade, response)
    }
}

/// The connection of this process that is upgraded, or that of a gateway.
fn upgrade(extensions: &mut Extensions) -> Option<Upgrade> {
    if let Some(link) = extensions.remove::<LinkUpgrade>() {
        return link.take().map(Upgrade::Link);
    }
    extensions.remove::<OnUpgrade>().map(Upgrade::Http)
}

/// What the client's key is answered with.
fn answer_to_key(parts: &Parts) -> Result<HeaderValue, Refusal> {
    if parts.method != Method::GET {
        return Err(Refusal::Other("A WebSocket is opened with GET"));
    }
    if !lists(&parts.headers, header::CONNECTION, "upgrade") {
        return Err(Refusal::Other("`Connection` has to say `upgrade`"));
    }
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| BASE64.decode(key).is_ok_and(|key| key.len() == 16));
    let key = key.ok_or(Refusal::Other("`Sec-WebSocket-Key` is 16 bytes in base64"))?;
    let hash = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    Ok(HeaderValue::from_str(&BASE64.encode(hash)).expect("base64 is a header's value"))
}

fn asks_for_websocket_in_http2(parts: &Parts) -> bool {
    let protocol = parts.extensions.get::<hyper::ext::Protocol>();
    protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

fn lists(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use http::{Request, StatusCode};

    use super::{Handshake, answer_to_key};

    fn parts(headers: &[(&str, &str)]) -> http::request::Parts {
        let mut request = Request::get("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_key_is_answered() {
        let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let parts = parts(&[("Connection", "keep-alive, Upgrade"), key]);
        let accept = answer_to_key(&parts).expect("a valid opening");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_opens_no_websocket_is_refused() {
        let upgrade = ("Connection", "Upgrade");
        let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("Sec-WebSocket-Version", "13");
        let rows = [
            ("nothing", vec![], 400),
            ("no connection", vec![key, version], 400),
            ("no key", vec![upgrade, version], 400),
            ("a short key", vec![upgrade, ("Sec-WebSocket-Key", "c2hvcnQ="), version], 400),
            ("a key that is no base64", vec![upgrade, ("Sec-WebSocket-Key", "?"), version], 400),
            ("no version", vec![upgrade, key], 426),
            ("another version", vec![upgrade, key, ("Sec-WebSocket-Version", "8")], 426),
        ];
        for (row, headers, status) in rows {
            let refused = Handshake::read(&mut parts(&headers)).err().expect(row).into_response();
            assert_eq!(refused.status(), StatusCode::from_u16(status).expect("a status"), "{row}");
            let says_version = refused.headers().get("Sec-WebSocket-Version").is_some();
            assert_eq!(says_version, status == 426, "{row}");
        }
    }
}
