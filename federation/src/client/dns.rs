//! Names to addresses, and SRV records.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{TokioResolver, proto::rr::RData};

use super::RequestError;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Targets of one name that are tried.
const TARGETS_MAX: usize = 8;

#[derive(Clone)]
pub(super) struct Dns(TokioResolver);

impl Dns {
    pub(super) fn new() -> Result<Self, RequestError> {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        resolver.map(Self).map_err(|error| {
            RequestError::Discovery(format!("the system's resolver cannot be used: {error}"))
        })
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
        let lookup = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host, port))).await;
        let found = lookup.map_err(|_elapsed| failed("no answer of the resolver".to_owned()))?;
        let found = found.map_err(|error| failed(error.to_string()))?;
        Ok(found.take(TARGETS_MAX).collect())
    }

    /// `(host, port)` in the order in which they are to be tried; empty if there is no record.
    pub(super) async fn services(&self, name: &str) -> Vec<(String, u16)> {
        let lookup = tokio::time::timeout(TIMEOUT, self.0.srv_lookup(name)).await;
        let Ok(Ok(found)) = lookup else { return Vec::new() };
        let mut services: Vec<_> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(srv),
                _ => None,
            })
            .map(|srv| {
                let target = srv.target.to_utf8();
                let host = target.trim_end_matches('.').to_owned();
                (srv.priority, u16::MAX - srv.weight, host, srv.port)
            })
            .filter(|(.., host, port)| !host.is_empty() && *port != 0)
            .collect();
        services.sort_unstable();
        services.truncate(TARGETS_MAX);
        services.into_iter().map(|(.., host, port)| (host, port)).collect()
    }
}
