//! What an operator can set.

use std::time::Duration;

use ipnet::IpNet;
use ruma::OwnedServerName;

#[derive(Clone, Debug)]
pub struct Config {
    /// PEM certificates of authorities that are trusted besides the public ones.
    pub certificate_authorities: Vec<Vec<u8>>,
    /// Addresses that may be connected to although they are denied by default.
    pub allowed_addresses: Vec<IpNet>,
    /// Addresses that are never connected to, besides private and special ones.
    pub denied_addresses: Vec<IpNet>,
    /// Servers that are asked for the keys of servers that do not answer.
    pub notaries: Vec<OwnedServerName>,
    /// The first pause before a server that failed is tried again.
    pub retry_min: Duration,
    /// The longest pause.
    pub retry_max: Duration,
    /// How long presence of local users is gathered before a server is told.
    pub presence_interval: Duration,
    /// Events, and messages to devices, that wait for one server; beyond, the newest are kept.
    pub waiting_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            certificate_authorities: Vec::new(),
            allowed_addresses: Vec::new(),
            denied_addresses: Vec::new(),
            notaries: Vec::new(),
            retry_min: Duration::from_secs(10),
            retry_max: Duration::from_secs(60 * 60),
            presence_interval: Duration::from_secs(10),
            waiting_max: 50_000,
        }
    }
}
