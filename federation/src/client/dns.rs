//! Names to addresses, and SRV records.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{TokioResolver, proto::rr::RData};

use super::RequestError;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Targets of one name that are tried.
const TARGETS_MAX: usize = 8;

/// The answer of a [`Resolver`]. Dropping it cancels the lookup.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where names are looked up: the system's resolver, or what a test says.
pub trait Resolver: Send + Sync {
    /// Where to connect for `port` of a host that is not an address literal, in order.
    fn addresses<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Lookup<'a, Result<Vec<SocketAddr>, String>>;

    /// The SRV records of a fully qualified name, in any order; empty if there are none.
    fn services<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Service>>;
}

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The lowest is tried first.
    pub priority: u16,
    /// Among records of one priority the highest is tried first.
    pub weight: u16,
    pub host: String,
    pub port: u16,
}

#[derive(Clone)]
pub(super) struct Dns(Arc<dyn Resolver>);

impl Dns {
    pub(super) fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self(resolver)
    }

    pub(super) async fn addresses(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, RequestError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let failed = |reason: String| RequestError::Discovery(format!("{host}: {reason}"));
        let lookup = tokio::time::timeout(TIMEOUT, self.0.addresses(host, port)).await;
        let found = lookup.map_err(|_elapsed| failed("no answer of the resolver".to_owned()))?;
        let mut found = found.map_err(failed)?;
        found.truncate(TARGETS_MAX);
        Ok(found)
    }

    /// `(host, port)` in the order in which they are to be tried; empty if there is no record.
    pub(super) async fn services(&self, name: &str) -> Vec<(String, u16)> {
        let lookup = tokio::time::timeout(TIMEOUT, self.0.services(name)).await;
        let mut services: Vec<_> = lookup
            .unwrap_or_default()
            .into_iter()
            .map(|Service { priority, weight, host, port }| {
                (priority, u16::MAX - weight, host.trim_end_matches('.').to_owned(), port)
            })
            .filter(|(.., host, port)| !host.is_empty() && *port != 0)
            .collect();
        services.sort_unstable();
        services.truncate(TARGETS_MAX);
        services.into_iter().map(|(.., host, port)| (host, port)).collect()
    }
}

/// Addresses as every program of the machine sees them; SRV records, which the system's own
/// function does not know, from the name servers that it is configured with.
pub(super) struct SystemResolver(TokioResolver);

impl SystemResolver {
    pub(super) fn new() -> Result<Self, RequestError> {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        resolver.map(Self).map_err(|error| {
            RequestError::Discovery(format!("the system's resolver cannot be used: {error}"))
        })
    }
}

impl Resolver for SystemResolver {
    fn addresses<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Lookup<'a, Result<Vec<SocketAddr>, String>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, port)).await;
            found.map(Iterator::collect).map_err(|error| error.to_string())
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Service>> {
        Box::pin(async move {
            let Ok(found) = self.0.srv_lookup(name).await else { return Vec::new() };
            let records = found.answers().iter().filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv),
                _ => None,
            });
            records
                .map(|srv| Service {
                    priority: srv.priority,
                    weight: srv.weight,
                    host: srv.target.to_utf8(),
                    port: srv.port,
                })
                .collect()
        })
    }
}
