//! What an event takes on disk for good: in a room with very many members, where a part of the events
//! change the state, with every index, after a compaction.
//!
//! The members are an application service's users: to make them costs no hash of a password.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use http::Method;
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    Scale,
    report::{Report, Target},
};
use crate::{
    client::{Account, Client, encode},
    server::Plan,
};

const MEMBERS: usize = 10_000;
const BYTES_TARGET: f64 = 400.0;
const AT_ONCE: usize = 32;
/// Every so many events one is a member's new name.
const STATE_EVERY: u64 = 10;
/// Tables that take less an event are not listed.
const LISTED_FROM: f64 = 0.5;
const TOKEN: &str = "bench-disk-as-token";
const SERVER: &str = "load.test";

/// Held ready and as large however many events there are: the file that is given up when the disk is
/// full, and the journal of what is not in a table yet, of which a compaction leaves nothing to read.
const BALLAST: &str = "ballast";
const JOURNAL: &str = "jnl";

/// On a server of its own.
pub(super) async fn measure(report: &mut Report, scale: &Scale, plan: &Plan) -> anyhow::Result<()> {
    let bridge = Bridge::prepare(plan)?;
    let members = MEMBERS.min(usize::try_from(scale.events)? / 20);
    println!("bench: disk, a room of {members} members");
    let (server, _) = plan.start().await?;
    let room = bridge.gather(members).await?;
    server.terminate().await?;
    let gathered = Taken::after_compaction(plan)?;
    let each = gathered.files as f64 / members as f64;
    report.add(&format!("disk per user who joined a room of {members}"), each, "B", None);

    let parts = [scale.events / 4, scale.events - scale.events / 4];
    let mut taken = vec![gathered];
    for part in parts {
        println!("bench: disk, {part} events");
        let (server, _) = plan.start().await?;
        bridge.talk(&room, members, part).await?;
        server.terminate().await?;
        taken.push(Taken::after_compaction(plan)?);
    }
    let slopes = [0, 1].map(|at| taken[at].slope(&taken[at + 1], parts[at]));
    let name = format!("disk per event, compacted, {members} members");
    report.add(&name, slopes[1], "B", Some(Target::AtMost(BYTES_TARGET)));
    report.add(&format!("{name}, its first quarter"), slopes[0], "B", None);
    for (table, bytes) in taken[1].by_table(&taken[2], parts[1]) {
        report.add(&format!("disk per event, table {table}"), bytes, "B", None);
    }
    Ok(())
}

/// What the data takes.
struct Taken {
    tables: BTreeMap<String, u64>,
    /// All files but the two kinds that do not grow with the events.
    files: u64,
}

impl Taken {
    fn after_compaction(plan: &Plan) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let printed = plan.run("compact")?;
        let mut tables = BTreeMap::new();
        for line in printed.lines().filter(|line| !line.ends_with("in all tables")) {
            let (bytes, table) = line.trim().split_once(' ').context("a line of `compact`")?;
            tables.insert(table.to_owned(), bytes.parse()?);
        }
        let files = bytes_that_grow(&plan.data())?;
        let listed: u64 = tables.values().sum();
        println!("bench: disk, compacted to {listed} bytes in {:?}", begin.elapsed());
        // A few files say what is in the others; more would mean that something was left behind.
        ensure!(files < listed + listed / 20 + (4 << 20), "{files} bytes, {listed} in tables");
        Ok(Self { tables, files })
    }

    fn slope(&self, after: &Self, events: u64) -> f64 {
        (after.files as f64 - self.files as f64) / events as f64
    }

    fn by_table(&self, after: &Self, events: u64) -> Vec<(String, f64)> {
        let each = |(table, bytes): (&String, &u64)| {
            let before = self.tables.get(table).copied().unwrap_or(0);
            (table.clone(), (*bytes as f64 - before as f64) / events as f64)
        };
        let mut each: Vec<_> = after.tables.iter().map(each).collect();
        each.retain(|(_, bytes)| bytes.abs() >= LISTED_FROM);
        each.sort_by(|one, other| other.1.total_cmp(&one.1));
        each
    }
}

fn bytes_that_grow(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, status) = (entry.path(), entry.metadata()?);
        let fixed = path.file_name().is_some_and(|name| name == BALLAST)
            || path.extension().is_some_and(|extension| extension == JOURNAL);
        bytes += match status.is_dir() {
            true => bytes_that_grow(&path)?,
            false if fixed => 0,
            false => status.len(),
        };
    }
    Ok(bytes)
}

/// The application service whose users the members are.
struct Bridge {
    client: Client,
}

impl Bridge {
    /// Writes its registration, and the configuration that names it.
    fn prepare(plan: &Plan) -> anyhow::Result<Self> {
        let registration = json!({
            "id": "bench", "url": null, "as_token": TOKEN, "hs_token": "bench-disk-hs-token",
            "sender_localpart": "bench", "rate_limited": false,
            "namespaces": {
                "users": [{ "exclusive": true, "regex": "@member[0-9]+:.*" }],
                "aliases": [], "rooms": [],
            },
        });
        let directory = &plan.directory;
        fs::write(directory.join("bridge.yaml"), registration.to_string())?;
        let file = directory.join("bridge.yaml");
        let named = format!("[appservices]\nregistrations = [\"{}\"]\n", file.display());
        fs::write(directory.join("meridian.toml"), named)?;
        let account = Account { user_id: format!("@bench:{SERVER}"), token: TOKEN.to_owned() };
        Ok(Self { client: Client::new(plan.address, &account) })
    }

    /// Registers the members, and has them join a room of the first.
    async fn gather(&self, members: usize) -> anyhow::Result<String> {
        each(members, |number| async move {
            let body =
                json!({ "type": "m.login.application_service", "username": format!("member{number}") });
            let path = "/_matrix/client/v3/register";
            self.client.again().call_bytes(Method::POST, path, Some(&body)).await.map(drop)
        })
        .await
        .context("register")?;
        let path = format!("/_matrix/client/v3/createRoom?user_id={}", encode(&member(0)));
        let body = json!({ "preset": "public_chat" });
        let created = self.client.again().call_bytes(Method::POST, &path, Some(&body)).await?;
        let created: Value = serde_json::from_slice(&created)?;
        let room = created["room_id"].as_str().context("a room id")?.to_owned();
        let room_ref = &room;
        each(members - 1, |number| async move {
            let user = encode(&member(number + 1));
            let path = format!("/_matrix/client/v3/join/{}?user_id={user}", encode(room_ref));
            self.client.again().call_bytes(Method::POST, &path, Some(&json!({}))).await.map(drop)
        })
        .await
        .context("join")?;
        Ok(room)
    }

    /// Members in turn say something or change their name.
    async fn talk(&self, room: &str, members: usize, events: u64) -> anyhow::Result<()> {
        let (next, salt) = (&AtomicU64::new(0), rand::rng().random::<u64>());
        let talking = (0..AT_ONCE as u64).map(|speaker| async move {
            let mut client = self.client.again();
            let mut rng: StdRng = rand::SeedableRng::seed_from_u64(salt ^ speaker);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= events {
                    return anyhow::Ok(());
                }
                let user = member(rng.random_range(0..members));
                let (path, body) = if number.is_multiple_of(STATE_EVERY) {
                    let path = format!("state/m.room.member/{}", encode(&user));
                    (path, json!({ "membership": "join", "displayname": words(&mut rng, 2) }))
                } else {
                    let path = format!("send/m.room.message/{salt:x}n{number}");
                    (path, json!({ "msgtype": "m.text", "body": words(&mut rng, 13) }))
                };
                let (room, user) = (encode(room), encode(&user));
                let path = format!("/_matrix/client/v3/rooms/{room}/{path}?user_id={user}");
                client.call_bytes(Method::PUT, &path, Some(&body)).await?;
            }
        });
        future::try_join_all(talking).await.map(drop)
    }
}

fn member(number: usize) -> String {
    format!("@member{number}:{SERVER}")
}

async fn each<F: Future<Output = anyhow::Result<()>>>(
    count: usize,
    call: impl Fn(usize) -> F,
) -> anyhow::Result<()> {
    stream::iter(0..count).map(call).buffer_unordered(AT_ONCE).try_collect().await
}

/// Drawn, since a text that repeats would be compressed to nothing.
fn words(rng: &mut StdRng, count: usize) -> String {
    const WORDS: [&str; 32] = [
        "ferry", "leaves", "at", "ten", "past", "six", "from", "the", "second", "pier", "bring",
        "blue", "folder", "nobody", "heard", "storm", "lantern", "because", "quiet", "harbour",
        "yellow", "umbrella", "tomorrow", "they", "seldom", "wait", "for", "us", "under", "old",
        "bridge", "again",
    ];
    let drawn = (0..count).map(|_| WORDS[rng.random_range(0..WORDS.len())]);
    drawn.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_no_cost_of_an_event() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes| {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("created");
            fs::write(path, vec![0; bytes]).expect("written");
        };
        write("ballast", 1000);
        write("fjall/0.jnl", 1000);
        write("fjall/keyspaces/1/tables/1", 30);
        write("meridian-store", 4);
        assert_eq!(bytes_that_grow(directory.path()).expect("readable"), 34);
    }

    #[test]
    fn the_slope_leaves_out_what_was_there() {
        let taken = |bytes: u64| Taken {
            tables: BTreeMap::from([("events".to_owned(), bytes), ("heads".to_owned(), 5)]),
            files: bytes + 100,
        };
        let (before, after) = (taken(1000), taken(5000));
        assert!((before.slope(&after, 10) - 400.0).abs() < f64::EPSILON);
        assert_eq!(before.by_table(&after, 10), [("events".to_owned(), 400.0)]);
    }
}
