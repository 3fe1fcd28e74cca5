//! The addresses on which clients are served.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio_rustls::TlsAcceptor;

use crate::{config::Config, tls};

/// Connections that wait to be accepted: everybody comes at once after a restart.
const BACKLOG: u32 = 4096;

/// Who else may listen on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Own,
    /// Other processes of the same user; the kernel spreads the clients.
    Shared,
}

pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Where it is, as an address of the web.
    pub(super) fn url(&self) -> anyhow::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let address = self.socket.local_addr().context("the listener has no address")?;
        Ok(format!("{scheme}://{address}/"))
    }
}

/// Listens on `listen`, and on the address for TLS if it has one of its own.
pub(super) async fn bind(
    config: &Config,
    listen: &str,
    port: Port,
) -> anyhow::Result<Vec<Listener>> {
    let tls = match (&config.tls.certificate, &config.tls.private_key) {
        (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    let socket = bind_one(listen, port).await?;
    match &config.tls.listen {
        Some(_) if tls.is_none() => bail!("[tls] `listen` needs a certificate and its key"),
        Some(address) => {
            let other = Listener { socket: bind_one(address, port).await?, tls };
            Ok(vec![Listener { socket, tls: None }, other])
        }
        None => Ok(vec![Listener { socket, tls }]),
    }
}

async fn bind_one(address: &str, port: Port) -> anyhow::Result<TcpListener> {
    let bound = async {
        match port {
            Port::Own => TcpListener::bind(address).await,
            Port::Shared => shared(address).await?.0.listen(BACKLOG),
        }
    };
    bound.await.with_context(|| format!("cannot listen on {address}"))
}

/// Takes an address for processes that share it. Nobody is served as long as none of them listens.
pub(super) async fn reserve(address: &str) -> anyhow::Result<(TcpSocket, SocketAddr)> {
    shared(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn shared(address: &str) -> std::io::Result<(TcpSocket, SocketAddr)> {
    let Some(address) = lookup_host(address).await?.next() else {
        return Err(std::io::ErrorKind::AddrNotAvailable.into());
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}
