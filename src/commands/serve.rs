//! `meridian serve`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::runtime;
use crate::{
    admin,
    config::Config,
    serve::{self},
    telemetry, tls,
    wiring::Region,
};

/// How often metrics are tidied up; without it histograms grow.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    telemetry::start_logging(config)?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(serve(config));
    // What still blocks is not waited for: everything acknowledged is on disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let tls = match (&config.tls.certificate, &config.tls.private_key) {
        (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    // Before the store is opened: a second region on the same address changes nothing.
    let listener = bind(&config.listen).await?;
    let (tls, tls_only) = match &config.tls.listen {
        Some(_) if tls.is_none() => bail!("[tls] `listen` needs a certificate and its key"),
        Some(address) => (None, Some((bind(address).await?, tls))),
        None => (tls, None),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
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
    let address = listener.local_addr().context("the listener has no address")?;
    println!("{} is up: {scheme}://{address}/", config.server_name);

    let limits = serve::Limits {
        header_timeout: Duration::from_secs(config.http.header_timeout_seconds),
        connections_max: config.http.connections_max,
        drain: Duration::from_secs(config.http.drain_seconds),
    };
    let store = region.state.store.clone();
    let app = region.router();
    let served = async {
        let plain = serve::serve(listener, tls, app.clone(), limits.clone(), tasks.clone());
        match tls_only {
            None => plain.await,
            Some((listener, tls)) => {
                let other = serve::serve(listener, tls, app, limits, tasks.clone());
                tokio::join!(plain, other);
            }
        }
    };
    tokio::pin!(served);
    let failure = tokio::select! {
        () = &mut served => None,
        () = stop_signal() => None,
        reason = store.failed() => Some(reason),
    };
    if let Some(reason) = failure {
        // Fail-stop: no further answer could be kept, and a restart recovers from disk.
        bail!("the store failed: {reason}");
    }
    tracing::info!("stopping");
    tasks.stop();
    served.as_mut().await;
    drop(store);
    region.close().await;
    Ok(())
}

async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

async fn stop_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM is not watched");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => (),
        interrupted = tokio::signal::ctrl_c() => {
            if let Err(error) = interrupted {
                tracing::warn!(%error, "SIGINT is not watched");
                std::future::pending::<()>().await;
            }
        }
    }
}
