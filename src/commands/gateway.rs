//! `meridian gateway`.

use std::{io, net::SocketAddr, os::fd::AsFd as _, path::PathBuf, time::Duration};

use anyhow::Context as _;
use axum::{extract::Request, middleware::map_request};
use client_api::ClientAddress;
use gateway::{Client, Gateway};
use stdx::{Rng, Tasks};
use tokio::{io::AsyncReadExt as _, net::unix::pipe};

use super::{
    listeners::{self, Port},
    stop_signal,
};
use crate::{
    config::Config,
    serve::{self},
    telemetry,
};

/// For so long the core is waited for before clients are let in. Then they are told that it is away.
const READY_TIME: Duration = Duration::from_secs(5);

/// How a gateway was started.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The address to listen on, in place of the configuration's.
    #[arg(long)]
    listen: Option<String>,
    /// The socket of the region's process, in place of the configuration's.
    #[arg(long)]
    socket: Option<PathBuf>,
    /// End when standard input does: how the region's process starts gateways.
    #[arg(long, hide = true)]
    supervised: bool,
}

pub(super) fn run(config: &Config, options: &Options) -> anyhow::Result<()> {
    telemetry::start_logging(config)?;
    // One thread: to use more of the machine there are more gateways.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(config, options));
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(config: &Config, options: &Options) -> anyhow::Result<()> {
    let socket = options.socket.clone().or_else(|| config.gateway_socket());
    let socket = socket.context(
        "it is not known where the region's process is reached: set [gateways] `socket`",
    )?;
    let limits = serve::Limits {
        header_timeout: Duration::from_secs(config.http.header_timeout_seconds),
        connections_max: config.http.connections_max,
        drain: Duration::from_secs(config.http.drain_seconds),
    };
    let tasks = Tasks::new();
    let gateway_config = gateway::Config { socket, frames_limited: config.rate_limits.enabled };
    let gateway = Gateway::start(gateway_config, Rng::from_system(), &tasks);
    // A gateway that shares the port with others takes no clients before it can serve them.
    let _anyway = tokio::time::timeout(READY_TIME, gateway.ready()).await;
    let listen = options.listen.as_deref().unwrap_or(config.gateway_listen());
    let listeners = listeners::bind(config, listen, Port::Shared).await?;
    let app = gateway.router().layer(map_request(name_client));
    let serving = Tasks::new();
    for listener in listeners {
        println!("a gateway is up: {}", listener.url()?);
        let served =
            serve::serve(listener.socket, listener.tls, app.clone(), limits.clone(), tasks.clone());
        serving.spawn("listener", served);
    }
    tokio::select! {
        () = stop_signal() => (),
        ended = region_is_gone(), if options.supervised => ended.context("standard input")?,
    }
    tracing::info!("stopping");
    tasks.stop();
    serving.shutdown().await;
    tasks.shutdown().await;
    Ok(())
}

/// The gateway's name for who asks.
async fn name_client(mut request: Request) -> Request {
    let peer: Option<SocketAddr> = request.extensions().get().map(|ClientAddress(peer)| *peer);
    if let Some(peer) = peer {
        request.extensions_mut().insert(Client(peer));
    }
    request
}

/// Reads standard input to its end.
async fn region_is_gone() -> io::Result<()> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let mut input = pipe::Receiver::from_owned_fd(input)?;
    while input.read_u8().await.is_ok() {}
    Ok(())
}
