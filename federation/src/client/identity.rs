//! Requests to identity servers: found by their name alone, in a user's or in this server's name.

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::Full;
use ruma::ServerName;

use super::{Answer, Client, Limits, RequestError, bounded_body, outside::is_acceptable};

/// In whose name an identity server is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InNameOf<'a> {
    /// The user with this token, which is one of that server's.
    User(&'a str),
    /// This server, which signs.
    Us,
}

impl Client {
    /// Posts a body, or gets an answer without one. Redirects are not followed: they would take the
    /// token along. Cancelled when dropped.
    pub(crate) async fn ask_identity_server(
        &self,
        server: &ServerName,
        path: &str,
        in_name_of: InNameOf<'_>,
        body: Option<Bytes>,
        limits: Limits,
    ) -> Result<Answer, RequestError> {
        let bad = |error: &dyn std::fmt::Display| RequestError::Request(error.to_string());
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let authorization = match in_name_of {
            InNameOf::User(token) => format!("Bearer {token}"),
            InNameOf::Us => self.authorization(server, &method, path, body.as_deref())?,
        };
        let uri = format!("https://{server}{path}").parse::<Uri>().map_err(|error| bad(&error))?;
        if !is_acceptable(&uri) {
            return Err(bad(&"the URL is not followed"));
        }
        let mut request = Request::builder().method(method).uri(uri);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .header(header::AUTHORIZATION, authorization)
            .header(header::USER_AGENT, concat!("Meridian/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| bad(&error))?;
        let exchange = async {
            let response = self.inner.outside.send(request).await?;
            let status = response.status();
            Ok(Answer { status, body: bounded_body(response.into_body(), limits.body).await? })
        };
        tokio::time::timeout(limits.time, exchange).await.unwrap_or(Err(RequestError::Timeout))
    }
}
