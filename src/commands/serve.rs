//! `meridian serve`.

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use stdx::Tasks;
use tokio::net::TcpSocket;

use super::{
    listeners::{self, Listener, Port},
    runtime, stop_signal,
};
use crate::{
    admin,
    config::Config,
    gateways::{self, Supervisor},
    serve::{self, Limits},
    telemetry,
    wiring::Region,
};

/// How often metrics are tidied up; without it histograms grow.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What is served, and how it was asked for.
pub(super) struct Options {
    pub(super) config: Config,
    /// The configuration's file, if one was named.
    pub(super) file: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    telemetry::start_logging(&options.config)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(options));
    // What still blocks is not waited for: everything acknowledged is on disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(options: &Options) -> anyhow::Result<()> {
    let config = &options.config;
    // Before the store is opened: a second region on the same address changes nothing.
    let edge = Edge::bind(config).await?;
    let metrics = telemetry::start_metrics()?;
    let region = Region::open(config, Some(metrics.clone())).await?;
    let tasks = region.tasks.clone();
    admin::listen(&admin::socket_path(&config.data_dir), region.state.clone(), &tasks)?;
    tasks.spawn_until_stopped("metrics upkeep", async move {
        let mut interval = tokio::time::interval(METRICS_UPKEEP);
        loop {
            interval.tick().await;
            metrics.run_upkeep();
        }
    });
    let (serving, gateways) = (Tasks::new(), Tasks::new());
    let socket = listen_for_gateways(config, &region, &gateways)?;
    let url = edge.open(options, &region, &serving, socket.map(|socket| (socket, &gateways)))?;
    println!("{} is up: {url}", config.server_name);

    let store = region.state.store.clone();
    let failure = tokio::select! {
        () = stop_signal() => None,
        reason = store.failed() => Some(reason),
    };
    if let Some(reason) = failure {
        // Fail-stop: no further answer could be kept, and a restart recovers from disk.
        bail!("the store failed: {reason}");
    }
    tracing::info!("stopping");
    tasks.stop();
    serving.shutdown().await;
    // The sockets take their leave, those of gateways over the links, which end afterwards.
    tasks.shutdown().await;
    gateways.shutdown().await;
    drop(store);
    region.close().await;
    Ok(())
}

/// Where clients come in.
enum Edge {
    Here(Vec<Listener>),
    /// The address is kept for the gateways as long as this lives.
    Gateways(TcpSocket, std::net::SocketAddr),
}

impl Edge {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        if config.gateways.processes == 0 {
            return Ok(Self::Here(listeners::bind(config, &config.listen, Port::Own).await?));
        }
        let (socket, address) = listeners::reserve(config.gateway_listen()).await?;
        Ok(Self::Gateways(socket, address))
    }

    /// Lets clients in, and tells at which address.
    fn open(
        self,
        options: &Options,
        region: &Region,
        serving: &Tasks,
        gateways: Option<(PathBuf, &Tasks)>,
    ) -> anyhow::Result<String> {
        let limits = limits(&options.config);
        let (reserved, listen, (socket, gateways)) = match (self, gateways) {
            (Self::Here(listeners), _) => {
                let url = listeners.first().map(Listener::url).transpose()?.unwrap_or_default();
                for Listener { socket, tls } in listeners {
                    let (app, stop) = (region.router(), region.tasks.clone());
                    let served = serve::serve(socket, tls, app, limits.clone(), stop);
                    serving.spawn("listener", served);
                }
                return Ok(url);
            }
            (Self::Gateways(reserved, listen), Some(gateways)) => (reserved, listen, gateways),
            (Self::Gateways(..), None) => bail!("gateways need a socket"),
        };
        let stop = gateways.clone();
        gateways.spawn("address", async move {
            stop.stopping().await;
            drop(reserved);
        });
        let config = options.file.clone();
        let supervisor = Supervisor { config, listen, socket, drain: limits.drain };
        for _ in 0..options.config.gateways.processes {
            gateways.spawn("supervisor", supervisor.clone().keep(gateways.clone()));
        }
        let tls = &options.config.tls;
        let secure = tls.certificate.is_some() && tls.listen.is_none();
        Ok(format!("{}://{listen}/", if secure { "https" } else { "http" }))
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        header_timeout: Duration::from_secs(config.http.header_timeout_seconds),
        connections_max: config.http.connections_max,
        drain: Duration::from_secs(config.http.drain_seconds),
    }
}

/// Serves gateways, if there may be any, and tells where.
fn listen_for_gateways(
    config: &Config,
    region: &Region,
    tasks: &Tasks,
) -> anyhow::Result<Option<PathBuf>> {
    let Some(path) = config.gateway_socket() else { return Ok(None) };
    let listener = gateways::listen(&path)?;
    let (app, sockets) = (region.router(), region.state.sockets.clone());
    tasks.spawn("gateways", gateways::serve(listener, app, sockets, tasks.clone()));
    Ok(Some(path))
}
