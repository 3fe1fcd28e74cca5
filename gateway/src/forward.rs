//! Requests go to the core as HTTP/2 over its Unix socket, and their answers come back, both as
//! streams: a slow client holds up its own stream only.

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use frames::link::CLIENT_HEADER;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, uri::Authority};
use hyper::client::conn::http2::SendRequest;

use crate::{gateway::Client, refusal};

/// They are about one connection and say nothing on the next.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

pub(crate) async fn forward(mut core: SendRequest<Body>, mut request: Request) -> Response {
    let Some(Client(client)) = request.extensions().get().copied() else {
        return refusal::bad_request("It is not known where the request comes from");
    };
    let Ok(uri) = absolute(request.uri(), request.headers()) else {
        return refusal::bad_request("The request's target cannot be read");
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    request.extensions_mut().clear();
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    headers.remove(header::HOST);
    let client = HeaderValue::from_str(&client.to_string()).expect("an address is ASCII");
    // In place of whatever the client may have written there.
    headers.insert(CLIENT_HEADER, client);
    if core.ready().await.is_err() {
        return refusal::core_is_away();
    }
    match core.send_request(request).await {
        Ok(mut response) => {
            remove_hop_by_hop(response.headers_mut());
            *response.version_mut() = Version::HTTP_11;
            response.map(Body::new).into_response()
        }
        Err(error) if error.is_canceled() => refusal::core_is_away(),
        Err(error) => {
            tracing::debug!(%error, "a request was not answered");
            refusal::core_went_away()
        }
    }
}

/// HTTP/2 names the host in the target.
fn absolute(uri: &Uri, headers: &HeaderMap) -> http::Result<Uri> {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    let authority: Option<Authority> = uri.authority().cloned().or(named);
    let authority = authority.unwrap_or_else(|| Authority::from_static("localhost"));
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Uri::builder().scheme("http").authority(authority).path_and_query(target).build()
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Uri};

    use super::{absolute, remove_hop_by_hop};

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let lines = lines.iter();
        lines
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn the_target_names_the_host() {
        let rows = [
            ("/a?b=c", Some("x.test:80"), "http://x.test:80/a?b=c"),
            ("/", None, "http://localhost/"),
            ("/", Some("not a host"), "http://localhost/"),
            ("http://y.test/a", Some("x.test"), "http://y.test/a"),
        ];
        for (target, host, expected) in rows {
            let target: Uri = target.parse().expect("a target");
            let host: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
            let uri = absolute(&target, &headers(&host)).expect("it becomes a target");
            assert_eq!(uri.to_string(), expected);
        }
    }

    #[test]
    fn what_is_about_the_connection_does_not_travel() {
        let mut map = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer x"),
        ]);
        remove_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("authorization", "Bearer x")]));
    }
}
