//! A network of our own on loopback: names that lead where a test says, and servers behind TLS that
//! do what a test says.

mod authority;
mod names;
mod peer;

use std::{sync::Arc, time::Duration};

use federation::{Client, Config};
use ruma::{OwnedServerName, ServerName, server_name};
use stdx::ManualClock;

pub(crate) use self::{
    authority::{Authority, Certificate},
    names::Names,
    peer::{Canary, Peer, Reply, Seen, json, status},
};

pub(crate) const START: u64 = 1_700_000_000_000;
pub(crate) const MINUTE: u64 = 60 * 1000;
pub(crate) const HOUR: u64 = 60 * MINUTE;

/// What a test needs before there are servers.
pub(crate) struct Net {
    pub(crate) authority: Authority,
    pub(crate) names: Arc<Names>,
    pub(crate) clock: Arc<ManualClock>,
}

impl Net {
    pub(crate) fn new() -> Self {
        let (authority, names) = (Authority::new(), Arc::default());
        Self { authority, names, clock: ManualClock::new(START) }
    }

    /// Trusts the authority and may connect to 127.0.0.1 and ::1. Other loopback addresses are the
    /// inside of the house.
    pub(crate) fn config(&self) -> Config {
        let open = ["127.0.0.1/32", "::1/128"].map(|net| net.parse().expect("a network"));
        Config {
            certificate_authorities: vec![self.authority.pem()],
            allowed_addresses: open.to_vec(),
            ..Config::default()
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(&self.config())
    }

    pub(crate) fn client_with(&self, config: &Config) -> Client {
        let (names, clock) = (self.names.clone(), self.clock.clone());
        Client::with_resolver(config, names, us().to_owned(), our_key(), clock)
            .expect("the configuration is good")
    }

    /// A server with a certificate for `host`, which is where `host` on `port` leads.
    pub(crate) async fn peer(
        &self,
        host: &str,
        port: u16,
        answer: impl Fn(&Seen) -> peer::Reply + Send + Sync + 'static,
    ) -> Peer {
        let peer = Peer::start(self.authority.issue(&[host]), answer).await;
        self.names.lead(host, port, peer.address);
        peer
    }
}

pub(crate) fn us() -> &'static ServerName {
    server_name!("us.test")
}

pub(crate) fn our_key() -> events::SigningKey {
    events::SigningKey::from_seed(&[7; 32], "us").expect("a key")
}

pub(crate) fn name(server: &str) -> OwnedServerName {
    ServerName::parse(server).expect("a server name")
}

/// Lets time pass for whatever waits, and for nobody who works: what is on the network meanwhile
/// takes no time.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
