//! All application services: whose token it is, and whose names.

use std::{collections::HashMap, sync::Arc};

use ruma::{RoomAliasId, UserId};
use sha2::{Digest as _, Sha256};
use stdx::SharedClock;
use tokio::sync::Notify;

use crate::{Registration, call::Caller, ports::Transport, third_party::Protocols};

/// The application services of this server. Cheap to clone.
#[derive(Clone)]
pub struct Appservices {
    inner: Arc<Inner>,
}

struct Inner {
    services: Vec<Arc<Registration>>,
    /// For each, what is told when it has answered a ping.
    contacts: Vec<Arc<Notify>>,
    caller: Caller,
    clock: SharedClock,
    protocols: Protocols,
    /// By the hash of its token, so that the look-up tells nothing by the time it takes.
    by_token: HashMap<[u8; 32], Arc<Registration>>,
}

/// "each `as_token` and `id` MUST be unique"
#[derive(Debug, thiserror::Error)]
#[error("two registrations have the same `{key}`; one of them is {id:?}")]
pub struct RegisteredTwice {
    key: &'static str,
    id: String,
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

impl Appservices {
    pub fn new(
        registrations: Vec<Registration>,
        transport: Arc<dyn Transport>,
        clock: SharedClock,
    ) -> Result<Self, RegisteredTwice> {
        let mut inner = Inner {
            services: Vec::new(),
            contacts: registrations.iter().map(|_| Arc::default()).collect(),
            caller: Caller { transport },
            clock,
            protocols: Protocols::default(),
            by_token: HashMap::new(),
        };
        for registration in registrations {
            let twice = |key| RegisteredTwice { key, id: registration.id.clone() };
            if inner.services.iter().any(|other| other.id == registration.id) {
                return Err(twice("id"));
            }
            let digest = digest(&registration.as_token);
            if inner.by_token.contains_key(&digest) {
                return Err(twice("as_token"));
            }
            let service = Arc::new(registration);
            inner.by_token.insert(digest, Arc::clone(&service));
            inner.services.push(service);
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn is_empty(&self) -> bool {
        self.inner.services.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Registration>> {
        self.inner.services.iter()
    }

    pub(crate) fn with_urls(&self) -> impl Iterator<Item = (&Arc<Registration>, &Arc<Notify>)> {
        self.all().zip(&self.inner.contacts).filter(|(service, _)| service.url.is_some())
    }

    pub(crate) fn caller(&self) -> Caller {
        self.inner.caller.clone()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    pub(crate) fn known_protocols(&self) -> &Protocols {
        &self.inner.protocols
    }

    /// Whose `as_token` it is, if it is one.
    pub fn by_token(&self, token: &str) -> Option<&Arc<Registration>> {
        if self.is_empty() {
            return None;
        }
        self.inner.by_token.get(&digest(token))
    }

    /// Whether the name is for another application service alone than the one named.
    pub fn is_user_of_another(&self, user: &UserId, asking: Option<&str>) -> bool {
        self.others(asking).any(|service| service.owns_user(user))
    }

    /// As [`is_user_of_another`](Self::is_user_of_another).
    pub fn is_alias_of_another(&self, alias: &RoomAliasId, asking: Option<&str>) -> bool {
        self.others(asking).any(|service| service.owns_alias(alias))
    }

    fn others(&self, asking: Option<&str>) -> impl Iterator<Item = &Arc<Registration>> {
        self.all().filter(move |service| Some(service.id.as_str()) != asking)
    }
}
