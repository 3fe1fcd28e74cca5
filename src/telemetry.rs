//! Logs to standard error, metrics for Prometheus.

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::Config;

/// Starts logging. Called once per process.
pub(crate) fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.logging.filter)
        .with_context(|| format!("[logging] `filter`: {:?}", config.logging.filter))?;
    let registry = tracing_subscriber::registry().with(filter);
    let stderr = fmt::layer().with_writer(std::io::stderr);
    if config.logging.format == "json" {
        registry.with(stderr.json()).try_init()?;
    } else {
        registry.with(stderr.with_target(false)).try_init()?;
    }
    Ok(())
}

/// Installs the recorder that `/_meridian/metrics` renders.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets(&[0.000_25, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0])
        .and_then(PrometheusBuilder::install_recorder)
        .context("cannot start the metrics recorder")
}
