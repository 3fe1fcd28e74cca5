//! The server under test: a child process over a data directory, started, killed and read out from
//! `/proc`. Only this child is ever killed.

use std::{
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Method;

use crate::connection::Connection;

const READY_WITHIN: Duration = Duration::from_secs(120);
const SIGTERM: i32 = 15;
const POLL: Duration = Duration::from_millis(2);

/// How to start the server, again and again, over the same data.
pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    pub(crate) engine: String,
    /// Holds the data, the log and whatever else belongs to the run.
    pub(crate) directory: PathBuf,
    pub(crate) environment: Vec<(String, PathBuf)>,
    pub(crate) address: SocketAddr,
}

pub(crate) struct Server {
    child: Child,
    ticks_per_second: u64,
}

impl Plan {
    pub(crate) fn new(binary: &Path, engine: &str, directory: &Path) -> anyhow::Result<Self> {
        let binary = binary.canonicalize().with_context(|| binary.display().to_string())?;
        fs::create_dir_all(directory.join("data"))?;
        let directory = directory.canonicalize()?;
        // Free now, and ours until the run ends: nobody else binds a port in that moment.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        Ok(Self { binary, engine: engine.to_owned(), directory, environment: Vec::new(), address })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts the server and waits until it answers; tells how long that took.
    pub(crate) async fn start(&self) -> anyhow::Result<(Server, Duration)> {
        let ticks_per_second = ticks_per_second()?;
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let begin = Instant::now();
        let child = self
            .command("serve")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.binary.display().to_string())?;
        let mut server = Server { child, ticks_per_second };
        while !self.answers().await {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended with {status}:\n{}", self.log_tail());
            }
            if begin.elapsed() > READY_WITHIN {
                bail!("the server did not answer in {READY_WITHIN:?}:\n{}", self.log_tail());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok((server, begin.elapsed()))
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(subcommand)
            .current_dir(&self.directory)
            .env("MERIDIAN_DATA_DIR", self.data())
            .env("MERIDIAN_LISTEN", self.address.to_string())
            .env("MERIDIAN_SERVER_NAME", "load.test")
            .env("MERIDIAN_STORAGE__ENGINE", &self.engine)
            .env("MERIDIAN_RATE_LIMITS__ENABLED", "false")
            .env("MERIDIAN_REGISTRATION__ENABLED", "true")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs another command over the same data, while no server does, and returns what it prints.
    pub(crate) fn run(&self, subcommand: &str) -> anyhow::Result<String> {
        let output = self.command(subcommand).output().context(subcommand.to_owned())?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{subcommand}: {complaint}");
        Ok(String::from_utf8(output.stdout)?)
    }

    async fn answers(&self) -> bool {
        let path = "/_matrix/client/versions";
        Connection::new(self.address)
            .request(Method::GET, path, None, Bytes::new())
            .await
            .is_ok_and(|response| response.status.is_success())
    }

    fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Server {
    /// SIGKILL, and gone when this returns.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server was gone before it was killed: {status}");
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and gone in good order when this returns; tells how long that took.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let script = format!("kill -TERM {}", self.child.id());
        Command::new("sh").args(["-c", &script]).status()?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                // Death by that very signal is no good order, but it is an end.
                if !status.success() && status.signal() != Some(SIGTERM) {
                    bail!("the server ended with {status} after SIGTERM");
                }
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > READY_WITHIN {
                bail!("the server did not end after SIGTERM");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of the process so far, in user and kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.cpu_of(self.pid())
    }

    /// The same of another process of this machine.
    pub(crate) fn cpu_of(&self, pid: u32) -> anyhow::Result<Duration> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).context(path)?;
        let ticks = cpu_ticks(&stat).context("utime and stime in /proc/PID/stat")?;
        Ok(Duration::from_micros(ticks * 1_000_000 / self.ticks_per_second))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        resident(self.pid())
    }
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(path)?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .context("VmRSS in /proc/PID/status")?;
    Ok(kilobytes * 1024)
}

/// A tool that fails half-way leaves no server behind.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program's name may hold spaces and brackets, so fields count from the last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(user + kernel)
}

fn ticks_per_second() -> anyhow::Result<u64> {
    let output = Command::new("getconf").arg("CLK_TCK").output().context("getconf CLK_TCK")?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 120 34 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("7 (a)"), None);
    }
}
