//! The first window of sliding sync: what a phone asks for when it is opened.

use std::time::Instant;

use anyhow::ensure;
use http::Method;
use serde_json::{Value, json};

use super::{
    many_rooms::Measured,
    report::{Latency, Report, Target},
};
use crate::client::Client;

const CPU_TARGET_MS: f64 = 2.0;
const WINDOW: usize = 20;
const PATH: &str = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=0";
/// Before the measurement.
const WARM_UP: usize = 5;

/// As a client's list of rooms asks: names, avatars and what tells encrypted rooms from others, and
/// the newest message of each.
fn request() -> Value {
    json!({
        "conn_id": "room-list",
        "lists": { "all_rooms": {
            "ranges": [[0, WINDOW - 1]],
            "timeline_limit": 1,
            "required_state": [
                ["m.room.name", ""], ["m.room.avatar", ""], ["m.room.encryption", ""],
                ["m.room.member", "$LAZY"], ["m.room.member", "$ME"], ["m.room.topic", ""],
                ["m.room.canonical_alias", ""], ["m.room.power_levels", ""],
                ["m.room.create", ""], ["m.room.history_visibility", ""], ["m.room.tombstone", ""],
                ["m.room.join_rules", ""], ["m.space.child", "*"], ["m.space.parent", "*"],
            ],
            "filters": { "not_room_types": ["m.space"] },
        }},
        "extensions": {
            "account_data": { "enabled": true }, "receipts": { "enabled": true },
            "typing": { "enabled": true }, "e2ee": { "enabled": true },
            "to_device": { "enabled": true },
        },
    })
}

pub(super) async fn measure(report: &mut Report, measured: &Measured<'_>) -> anyhow::Result<()> {
    let rooms = measured.many.rooms.len();
    println!("bench: first window of sliding sync, {WINDOW} rooms of {rooms}");
    let mut client = Client::new(measured.address, &measured.many.account);
    let request = request();
    for _ in 0..WARM_UP {
        let answer: Value =
            serde_json::from_slice(&client.call_bytes(Method::POST, PATH, Some(&request)).await?)?;
        let told = answer["rooms"].as_object().map_or(0, serde_json::Map::len);
        let wanted = WINDOW.min(rooms);
        ensure!(told == wanted, "the first window tells of {told} rooms of {wanted}");
        let count = answer["lists"]["all_rooms"]["count"].as_u64();
        ensure!(count == Some(rooms as u64), "the list has {count:?} rooms of {rooms}");
    }
    let (begin, cpu) = (Instant::now(), measured.server.cpu()?);
    let mut latency = Latency::new();
    while begin.elapsed() < measured.time {
        let begin = Instant::now();
        client.call_bytes(Method::POST, PATH, Some(&request)).await?;
        latency.record(begin.elapsed());
    }
    let cpu = measured.server.cpu()? - cpu;
    let cpu = cpu.as_secs_f64() * 1e3 / latency.count().max(1) as f64;
    let name = format!("sliding sync, first {WINDOW} of {rooms} rooms");
    report.add(&format!("{name}, CPU"), cpu, "ms", Some(Target::AtMost(CPU_TARGET_MS)));
    report.add_latency(&name, &latency, None);
    Ok(())
}
