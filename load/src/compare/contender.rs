//! The servers that are compared: Meridian, and Synapse with its PostgreSQL. Each is started over an
//! empty directory, with its limits on rates off and its promises of durability on.

use std::{
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Method;

use super::processes::Processes;
use crate::connection::Connection;

const READY_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);
const SYNAPSE: &str = "Synapse";

pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// From the start of its last process to its first answer.
    pub(super) start_up: Duration,
    processes: Processes,
}

/// Where Synapse comes from.
pub(super) struct Peer<'a> {
    /// `e2e/synapse`, which installs and configures it.
    pub(super) script: &'a Path,
    pub(super) venv: &'a Path,
    /// Where `initdb` and `postgres` are.
    pub(super) postgres: &'a Path,
}

impl Contender {
    pub(super) async fn meridian(binary: &Path, directory: &Path) -> anyhow::Result<Self> {
        let binary = binary.canonicalize().with_context(|| binary.display().to_string())?;
        fs::create_dir_all(directory)?;
        let address = free_address()?;
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .env("MERIDIAN_DATA_DIR", directory.join("data"))
            .env("MERIDIAN_LISTEN", address.to_string())
            .env("MERIDIAN_SERVER_NAME", "load.test")
            .env("MERIDIAN_RATE_LIMITS__ENABLED", "false")
            .env("MERIDIAN_REGISTRATION__ENABLED", "true");
        Self::start("Meridian", address, command, directory, Processes::new(Vec::new())?).await
    }

    pub(super) async fn synapse(peer: &Peer<'_>, directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        let sockets = directory.join("sockets");
        let database = start_postgres(peer.postgres, &directory, &sockets)?;
        let processes = Processes::new(vec![database])?;
        let address = free_address()?;
        let configuration = Command::new("python3")
            .arg(peer.script)
            .args(["--port", &address.port().to_string(), "--dir"])
            .arg(&directory)
            .arg("--venv")
            .arg(peer.venv)
            .arg("--postgres")
            .arg(&sockets)
            .arg("config")
            .output()
            .context("e2e/synapse")?;
        let complaint = String::from_utf8_lossy(&configuration.stderr);
        ensure!(configuration.status.success(), "e2e/synapse: {complaint}");
        let mut command = Command::new(peer.venv.join("bin/python"));
        command.args(["-m", "synapse.app.homeserver", "-c"]);
        command.arg(String::from_utf8(configuration.stdout)?.trim());
        Self::start(SYNAPSE, address, command, &directory, processes).await
    }

    async fn start(
        name: &'static str,
        address: SocketAddr,
        mut command: Command,
        directory: &Path,
        mut processes: Processes,
    ) -> anyhow::Result<Self> {
        let path = directory.join("server.log");
        let log = OpenOptions::new().create(true).append(true).open(&path)?;
        command.current_dir(directory).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let begin = Instant::now();
        processes.push(command.spawn().with_context(|| format!("{command:?}"))?);
        while !answers(address).await {
            if let Some(status) = processes.ended()? {
                let log = fs::read_to_string(&path).unwrap_or_default();
                bail!("{name} ended with {status}:\n{log}");
            }
            ensure!(begin.elapsed() < READY_WITHIN, "{name} did not answer in {READY_WITHIN:?}");
            tokio::time::sleep(POLL).await;
        }
        Ok(Self { name, address, start_up: begin.elapsed(), processes })
    }

    /// How often two people can be told of something: CPU counts in steps of 10 ms, so a server to
    /// which it is little must do it often.
    pub(super) fn tell_two_every(&self) -> Duration {
        Duration::from_millis(if self.name == SYNAPSE { 100 } else { 10 })
    }

    /// How often everybody can be told of something.
    pub(super) fn fan_out_every(&self) -> Duration {
        Duration::from_millis(if self.name == SYNAPSE { 5000 } else { 100 })
    }

    /// CPU time so far of all its processes, the database's included.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        self.processes.cpu()
    }

    /// Memory of all its processes in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        self.processes.memory()
    }
}

async fn answers(address: SocketAddr) -> bool {
    Connection::new(address)
        .request(Method::GET, "/_matrix/client/versions", None, Bytes::new())
        .await
        .is_ok_and(|response| response.status.is_success())
}

/// Free now, and ours until the run ends: nobody else binds a port in that moment.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// PostgreSQL refuses to run as root: its own user, which Debian's package makes, takes over.
fn start_postgres(
    programs: &Path,
    directory: &Path,
    sockets: &Path,
) -> anyhow::Result<std::process::Child> {
    let data = directory.join("postgres");
    fs::create_dir_all(sockets)?;
    fs::create_dir_all(&data)?;
    let as_root =
        fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own))? == 0;
    if as_root {
        let owned: [&PathBuf; 2] = [&sockets.to_owned(), &data];
        succeed(Command::new("chown").arg("postgres").args(owned))?;
    }
    let program = |name: &str| {
        let path = programs.join(name);
        if !as_root {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
        command
    };
    let log = OpenOptions::new().create(true).append(true).open(directory.join("postgres.log"))?;
    succeed(
        program("initdb")
            .args(["--username=synapse", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .current_dir("/")
            .stdout(log.try_clone()?),
    )?;
    let database = program("postgres")
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(sockets)
        .args(["-c", "listen_addresses=", "-c", "fsync=on", "-c", "synchronous_commit=on"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("postgres")?;
    let begin = Instant::now();
    let ready = sockets.join(".s.PGSQL.5432");
    while !ready.exists() {
        ensure!(begin.elapsed() < READY_WITHIN, "PostgreSQL did not start; see postgres.log");
        std::thread::sleep(POLL);
    }
    Ok(database)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
