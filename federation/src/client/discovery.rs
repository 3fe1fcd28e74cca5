//! Where a server is: section "Resolving server names", all of its steps.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use ruma::{OwnedServerName, ServerName};
use std::collections::HashMap;
use stdx::SharedClock;

use super::{RequestError, connect::Connector, dns::Dns, well_known::WellKnown};

const DEFAULT_PORT: u16 = 8448;
/// How long a result counts. `.well-known` answers have times of their own.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// Servers that are remembered.
const SERVERS_MAX: usize = 65_536;

/// How to reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The `Host` header, and the authority of the URL.
    pub(super) authority: String,
    /// What the certificate must be for: a name or an address, without port.
    pub(super) tls_name: String,
    /// In the order in which they are to be tried.
    pub(super) addresses: Vec<SocketAddr>,
}

struct Found {
    target: Target,
    until: u64,
}

pub(super) struct Discovery {
    dns: Dns,
    well_known: WellKnown,
    clock: SharedClock,
    found: Mutex<HashMap<OwnedServerName, Arc<Found>>>,
}

impl Discovery {
    pub(super) fn new(connector: &Connector, dns: Dns, clock: SharedClock) -> Self {
        let well_known = WellKnown::new(connector.apart(), dns.clone(), clock.clone());
        Self { dns, well_known, clock, found: Mutex::default() }
    }

    pub(super) async fn find(&self, server: &ServerName) -> Result<Target, RequestError> {
        let now = self.clock.now_ms();
        let known = self.found.lock().get(server).cloned();
        if let Some(known) = known.filter(|known| now < known.until) {
            return Ok(known.target.clone());
        }
        let target = self.resolve(server).await?;
        let until = now + u64::try_from(FRESH.as_millis()).unwrap_or(u64::MAX);
        let mut found = self.found.lock();
        if found.len() >= SERVERS_MAX {
            found.clear();
        }
        found.insert(server.to_owned(), Arc::new(Found { target: target.clone(), until }));
        Ok(target)
    }

    async fn resolve(&self, server: &ServerName) -> Result<Target, RequestError> {
        // Steps 1 and 2: an address literal, or a port.
        if let Some(target) = self.explicit(server).await? {
            return Ok(target);
        }
        // Step 3: delegation.
        if let Some(delegated) = self.well_known.find(server.host()).await {
            if let Some(target) = self.explicit(&delegated).await? {
                return Ok(target);
            }
            return self.by_service(delegated.host()).await;
        }
        // Steps 4 to 6.
        self.by_service(server.host()).await
    }

    /// A name that needs no records to be looked up but addresses.
    async fn explicit(&self, server: &ServerName) -> Result<Option<Target>, RequestError> {
        let host = server.host();
        if server.port().is_none() && !server.is_ip_literal() {
            return Ok(None);
        }
        let port = server.port().unwrap_or(DEFAULT_PORT);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Some(Target {
            authority: match server.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            addresses: self.dns.addresses(&bare, port).await?,
            tls_name: bare,
        }))
    }

    /// By SRV records, the current and the deprecated, or at the default port. The name in the
    /// record says where to connect, not who is expected there.
    async fn by_service(&self, host: &str) -> Result<Target, RequestError> {
        for service in ["_matrix-fed._tcp", "_matrix._tcp"] {
            let mut addresses = Vec::new();
            for (name, port) in self.dns.services(&format!("{service}.{host}.")).await {
                if let Ok(found) = self.dns.addresses(&name, port).await {
                    addresses.extend(found);
                }
            }
            if !addresses.is_empty() {
                let (authority, tls_name) = (host.to_owned(), host.to_owned());
                return Ok(Target { authority, tls_name, addresses });
            }
        }
        Ok(Target {
            authority: host.to_owned(),
            tls_name: host.to_owned(),
            addresses: self.dns.addresses(host, DEFAULT_PORT).await?,
        })
    }
}
