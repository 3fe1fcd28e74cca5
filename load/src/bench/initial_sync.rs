//! The first sync of a client that knows nothing, in an account with very many rooms.

use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::{
    many_rooms::Measured,
    report::{Latency, Report, Target},
};
use crate::client::{Client, encode};

const CPU_TARGET_MS: f64 = 65.0;
/// What a client asks for that names members as they are needed, as most do.
const LAZY: &str = r#"{"room":{"state":{"lazy_load_members":true}}}"#;
/// Fewer are no measurement, however long they take.
const SYNCS_MIN: u32 = 5;

pub(super) async fn measure(report: &mut Report, measured: &Measured<'_>) -> anyhow::Result<()> {
    let rooms = measured.many.rooms.len();
    for (what, filter) in [("all members", "{}"), ("lazy members", LAZY)] {
        println!("bench: initial sync of {rooms} rooms, {what}");
        let mut client = Client::new(measured.address, &measured.many.account);
        let bytes = check(measured, &first_sync(&mut client, filter).await?)?;
        let (begin, cpu) = (Instant::now(), measured.server.cpu()?);
        let (mut latency, mut count) = (Latency::new(), 0);
        while begin.elapsed() < measured.time || count < SYNCS_MIN {
            let begin = Instant::now();
            first_sync(&mut client, filter).await?;
            latency.record(begin.elapsed());
            count += 1;
        }
        let cpu = (measured.server.cpu()? - cpu).as_secs_f64() * 1e3 / f64::from(count);
        let name = format!("initial sync of {rooms} rooms, {what}");
        report.add(&format!("{name}, CPU"), cpu, "ms", Some(Target::AtMost(CPU_TARGET_MS)));
        report.add(&format!("{name}, size"), bytes as f64 / 1024.0, "KiB", None);
        report.add_latency(&name, &latency, None);
    }
    Ok(())
}

/// The same while nothing is in memory yet.
pub(super) async fn measure_after_start(
    report: &mut Report,
    measured: &Measured<'_>,
) -> anyhow::Result<()> {
    let rooms = measured.many.rooms.len();
    let cpu = measured.server.cpu()?;
    let mut client = Client::new(measured.address, &measured.many.account);
    let body = first_sync(&mut client, LAZY).await?;
    let cpu = (measured.server.cpu()? - cpu).as_secs_f64() * 1e3;
    check(measured, &body)?;
    let name = format!("initial sync of {rooms} rooms after a start, CPU");
    report.add(&name, cpu, "ms", None);
    Ok(())
}

async fn first_sync(client: &mut Client, filter: &str) -> anyhow::Result<Bytes> {
    let path = format!("/_matrix/client/v3/sync?timeout=0&filter={}", encode(filter));
    client.call_bytes(Method::GET, &path, None).await
}

/// An answer without the rooms would be quick.
fn check(measured: &Measured<'_>, body: &[u8]) -> anyhow::Result<usize> {
    let answer: Value = serde_json::from_slice(body)?;
    let joined = answer["rooms"]["join"].as_object().map_or(0, serde_json::Map::len);
    let rooms = measured.many.rooms.len();
    ensure!(joined >= rooms, "the first sync tells of {joined} rooms of {rooms}");
    Ok(body.len())
}
