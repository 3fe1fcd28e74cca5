//! Whether a user or an alias should exist, and whether an application service is there ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/application-service-api/#querying

use std::time::Duration;

use accounts::{UserFuture, UserSource};
use bytes::Bytes;
use rooms::ports::{AliasSource, PortFuture};
use ruma::{RoomAliasId, UserId};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    Appservices, Registration,
    call::{CallError, Request, segment},
    ports::{Answer, Method},
};

/// What an application service may take while somebody waits: it makes what it is asked for.
const PATIENCE: Duration = Duration::from_secs(20);
/// For a ping, which makes nothing.
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// Why a ping did not come back.
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    #[error("the application service has no URL")]
    NoUrl,
    #[error("the application service answers with status {}", .0.status)]
    BadStatus(Answer),
    #[error("the application service does not answer in time")]
    TimedOut,
    #[error("the application service cannot be reached: {0}")]
    Unreachable(String),
}

impl Appservices {
    /// Asks the application services with the user in a namespace, until one says that they exist:
    /// it has made them then.
    pub async fn ask_for_user(&self, user: &UserId) -> bool {
        let user_id = segment(user.as_str());
        let services = self.all().filter(|service| service.covers_user(user));
        self.ask(services, &format!("/users/{user_id}")).await
    }

    /// As [`ask_for_user`](Self::ask_for_user).
    pub async fn ask_for_alias(&self, alias: &RoomAliasId) -> bool {
        let name = segment(alias.as_str());
        let services = self.all().filter(|service| service.covers_alias(alias));
        self.ask(services, &format!("/rooms/{name}")).await
    }

    async fn ask(
        &self,
        services: impl Iterator<Item = &std::sync::Arc<Registration>>,
        path: &str,
    ) -> bool {
        for service in services.filter(|service| service.url.is_some()) {
            let request = Request {
                method: Method::Get,
                path: &format!("/_matrix/app/v1{path}"),
                legacy_path: path,
                body: Bytes::new(),
                time: PATIENCE,
            };
            match self.caller().call(service, &request).await {
                Ok(answer) if (200..300).contains(&answer.status) => return true,
                Ok(_) => {}
                Err(error) => {
                    tracing::info!(%error, service = service.id, "a question is not answered");
                }
            }
        }
        false
    }

    /// How long the application service took to answer.
    pub async fn ping(&self, id: &str, txn_id: Option<&str>) -> Result<Duration, PingError> {
        let found = self.with_urls().find(|(service, _)| service.id == id);
        let (service, contact) = found.ok_or(PingError::NoUrl)?;
        let body = match txn_id {
            Some(txn_id) => json!({ "transaction_id": txn_id }),
            None => json!({}),
        };
        let request = Request {
            method: Method::Post,
            path: "/_matrix/app/v1/ping",
            legacy_path: "",
            body: body.to_string().into(),
            time: PING_PATIENCE,
        };
        let asked = Instant::now();
        let answer = self.caller().call(service, &request).await.map_err(|error| match error {
            CallError::NoUrl => PingError::NoUrl,
            CallError::Unreachable(_) if asked.elapsed() >= PING_PATIENCE => PingError::TimedOut,
            CallError::Unreachable(why) => PingError::Unreachable(why),
        })?;
        if !(200..300).contains(&answer.status) {
            return Err(PingError::BadStatus(answer));
        }
        // What waits for it is tried at once.
        contact.notify_one();
        Ok(asked.elapsed())
    }
}

impl UserSource for Appservices {
    fn make<'a>(&'a self, user: &'a UserId) -> UserFuture<'a> {
        Box::pin(self.ask_for_user(user))
    }
}

impl AliasSource for Appservices {
    fn make<'a>(&'a self, alias: &'a RoomAliasId) -> PortFuture<'a, bool> {
        Box::pin(self.ask_for_alias(alias))
    }
}
