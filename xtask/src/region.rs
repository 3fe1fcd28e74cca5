//! A region for the real clients: the release server on a free loopback port over a directory of its
//! own, which can be killed and started again from another process (`e2e/run` asks for that).

use std::{
    fs::{self, OpenOptions},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// What a later process must know to kill and restart the region.
#[derive(Serialize, Deserialize)]
struct Record {
    server: PathBuf,
    port: u16,
    pid: u32,
}

/// Starts `server` over an empty directory and returns its address once it answers.
pub(crate) fn start(directory: &Path, server: &Path) -> anyhow::Result<String> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    let port = free_port()?;
    launch(directory, server.to_owned(), port)?;
    Ok(format!("http://127.0.0.1:{port}"))
}

/// A free port below those that the kernel gives to clients: while the region is down, a client
/// that tries again must not be given its port.
fn free_port() -> anyhow::Result<u16> {
    let start = 20_000 + u16::try_from(std::process::id() % 10_000)?;
    (start..32_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("there is no free port between 20000 and 32000")
}

/// Kills the region with SIGKILL and starts it again on the same port over the same data.
pub(crate) fn restart(directory: &Path) -> anyhow::Result<()> {
    let record = read(directory)?;
    kill(record.pid)?;
    wait_until_free(record.port)?;
    launch(directory, record.server, record.port)
}

/// The first thread of a killed process can be gone while another still holds the listener.
fn wait_until_free(port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            bail!("port {port} is still in use after the region was killed");
        }
        thread::sleep(POLL);
    }
    Ok(())
}

pub(crate) fn stop(directory: &Path) -> anyhow::Result<()> {
    kill(read(directory)?.pid)
}

fn read(directory: &Path) -> anyhow::Result<Record> {
    let path = directory.join("region.json");
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice(&text)?)
}

fn launch(directory: &Path, server: PathBuf, port: u16) -> anyhow::Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(directory.join("server.log"))?;
    let mut child = Command::new(&server)
        .arg("serve")
        .current_dir(directory)
        .env("MERIDIAN_DATA_DIR", directory.join("data"))
        .env("MERIDIAN_LISTEN", format!("127.0.0.1:{port}"))
        .env("MERIDIAN_SERVER_NAME", format!("127.0.0.1:{port}"))
        .env("MERIDIAN_REGISTRATION__ENABLED", "true")
        .env("MERIDIAN_RATE_LIMITS__ENABLED", "false")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| server.display().to_string())?;
    let record = Record { server, port, pid: child.id() };
    fs::write(directory.join("region.json"), serde_json::to_vec(&record)?)?;
    let deadline = Instant::now() + READY_WITHIN;
    while !answers(port) {
        if let Some(status) = child.try_wait()? {
            bail!("the server ended with {status}; see {}/server.log", directory.display());
        }
        if Instant::now() > deadline {
            kill(record.pid)?;
            bail!("the server did not answer within {READY_WITHIN:?}");
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn answers(port: u16) -> bool {
    let request = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(
            b"GET /_matrix/client/versions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    request().unwrap_or(false)
}

fn kill(pid: u32) -> anyhow::Result<()> {
    if is_running(pid) {
        // The shell's own kill: the program of that name is not on every machine.
        Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status()?;
    }
    let deadline = Instant::now() + READY_WITHIN;
    while is_running(pid) {
        if Instant::now() > deadline {
            bail!("process {pid} is still there after SIGKILL");
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// A killed process whose parent has not looked yet is a zombie: it holds no port and no file.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state != Some('Z')
}
