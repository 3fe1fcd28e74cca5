//! What identity servers are asked: `/pubkey/isvalid`, at the URL that the room has, and whatever
//! the accounts ask of a server that a user named.

use std::time::Duration;

use accounts::{IdentityAnswer, IdentityAuth, IdentityFuture, IdentityRequest, IdentityServers};
use serde::Deserialize;

use super::{Remote, paths::encode};
use crate::{Limits, client::InNameOf};

/// Another server waits for the answer.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), body: 16 << 10 };

impl Remote {
    /// "The query string and response for the provided URL must match the Identity Service
    /// Specification."
    pub(super) async fn ask_whether_valid(&self, url: &str, public_key: &str) -> bool {
        #[derive(Deserialize)]
        struct Body {
            valid: bool,
        }
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}public_key={}", encode(public_key));
        let answer = self.client.get_url(&url, LIMITS).await;
        let answer = answer.inspect_err(|error| tracing::debug!(%error, %url, "no answer"));
        answer.is_ok_and(|answer| {
            answer.status.is_success()
                && serde_json::from_slice(&answer.body).is_ok_and(|body: Body| body.valid)
        })
    }
}

impl IdentityServers for Remote {
    fn ask<'a>(&'a self, request: IdentityRequest<'a>) -> IdentityFuture<'a> {
        let IdentityRequest { server, path, auth, body } = request;
        let in_name_of = match auth {
            IdentityAuth::Token(token) => InNameOf::User(token),
            IdentityAuth::Signed => InNameOf::Us,
        };
        Box::pin(async move {
            let asked = self.client.ask_identity_server(server, path, in_name_of, body, LIMITS);
            let answer = asked.await.map_err(|error| error.to_string())?;
            Ok(IdentityAnswer { status: answer.status.as_u16(), body: answer.body })
        })
    }
}
