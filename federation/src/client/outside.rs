//! Requests by URL, to whoever that names: with the rules about addresses and certificates that
//! hold for servers, and without a signature.

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioExecutor};

use super::{RequestError, chain, connect::Connector, discovery::Target, dns::Dns};

pub(super) struct Outside {
    http: legacy::Client<Connector, Full<Bytes>>,
    connector: Connector,
    dns: Dns,
}

impl Outside {
    pub(super) fn new(connector: Connector, dns: Dns) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector.clone());
        Self { http, connector, dns }
    }

    /// The answer at the end of at most so many redirects. Bounded in time by the caller.
    pub(super) async fn get(
        &self,
        mut uri: Uri,
        redirects_max: usize,
    ) -> Result<Response<Incoming>, RequestError> {
        for _ in 0..=redirects_max {
            self.register(&uri).await?;
            let request = Request::get(uri.clone()).body(Full::new(Bytes::new()));
            let request = request.map_err(|error| RequestError::Request(error.to_string()))?;
            let response = self.http.request(request).await;
            let response = response.map_err(|error| RequestError::Connection(chain(&error)))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION);
            let location = location.and_then(|value| value.to_str().ok());
            uri = location.and_then(|location| redirected(&uri, location)).ok_or_else(|| {
                RequestError::Request("it redirects to where nobody may go".to_owned())
            })?;
        }
        Err(RequestError::Request("it redirects too often".to_owned()))
    }

    /// One request, wherever that leads. Bounded in time by the caller.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, RequestError> {
        self.register(request.uri()).await?;
        let response = self.http.request(request).await;
        response.map_err(|error| RequestError::Connection(chain(&error)))
    }

    async fn register(&self, uri: &Uri) -> Result<(), RequestError> {
        self.connector.register(&target_of(&self.dns, uri).await?);
        Ok(())
    }
}

/// Where a URL leads.
pub(super) async fn target_of(dns: &Dns, uri: &Uri) -> Result<Target, RequestError> {
    let none = || RequestError::Request("the URL names no host".to_owned());
    let authority = uri.authority().ok_or_else(none)?;
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let addresses = dns.addresses(&bare, authority.port_u16().unwrap_or(443)).await?;
    Ok(Target { authority: authority.as_str().to_owned(), tls_name: bare, addresses })
}

/// Only to where the certificate of the next server is checked too.
fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    let to: Uri = if location.starts_with("//") {
        format!("https:{location}").parse().ok()?
    } else if location.starts_with('/') {
        format!("https://{}{location}", from.authority()?).parse().ok()?
    } else {
        location.parse().ok()?
    };
    is_acceptable(&to).then_some(to)
}

/// Whether a URL that somebody else chose may be followed at all.
pub(super) fn is_acceptable(uri: &Uri) -> bool {
    let authority = uri.authority().map(|authority| authority.as_str());
    uri.scheme_str() == Some("https") && authority.is_some_and(|host| !host.contains('@'))
}
