//! Where names lead.

use std::{collections::HashMap, net::SocketAddr};

use federation::{Lookup, Resolver, Service};
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct Names {
    hosts: Mutex<HashMap<(String, u16), Vec<SocketAddr>>>,
    services: Mutex<HashMap<String, Vec<Service>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    /// A port is part of it, so that the ports of the procedure can be those of a test.
    pub(crate) fn lead(&self, host: &str, port: u16, to: SocketAddr) {
        self.lead_to_each(host, port, &[to]);
    }

    pub(crate) fn lead_to_each(&self, host: &str, port: u16, to: &[SocketAddr]) {
        self.hosts.lock().insert((host.to_owned(), port), to.to_vec());
    }

    /// An SRV record: `(priority, weight, host, port)`.
    pub(crate) fn serve(&self, name: &str, record: (u16, u16, &str, u16)) {
        let (priority, weight, host, port) = record;
        let service = Service { priority, weight, host: host.to_owned(), port };
        self.services.lock().entry(name.to_owned()).or_default().push(service);
    }

    /// What was looked up since this was asked last: `host:port` and names of services.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock())
    }
}

impl Resolver for Names {
    fn addresses<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Lookup<'a, Result<Vec<SocketAddr>, String>> {
        self.asked.lock().push(format!("{host}:{port}"));
        let found = self.hosts.lock().get(&(host.to_owned(), port)).cloned();
        Box::pin(async move { found.ok_or_else(|| "there is no such name".to_owned()) })
    }

    fn services<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Service>> {
        self.asked.lock().push(name.to_owned());
        let found = self.services.lock().get(name).cloned().unwrap_or_default();
        Box::pin(async move { found })
    }
}
