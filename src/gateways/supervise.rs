//! Starts gateways as children, and starts the dead again.
//!
//! A child holds the far ends of two pipes. When its output ends, it is dead; when its input ends, we are, or
//! want it to end.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use stdx::Tasks;
use tokio::{io::AsyncReadExt as _, net::unix::pipe, time::Instant};

/// Before a dead gateway is started again; doubled if it dies soon.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Who lived this long did not die of how it was started.
const LIVED: Duration = Duration::from_secs(10);
/// What a gateway may take to send its clients away, beyond the time of open requests.
const LEAVE: Duration = Duration::from_secs(8);

/// How gateways are started.
#[derive(Clone, Debug)]
pub(crate) struct Supervisor {
    /// The configuration file, if one was named.
    pub(crate) config: Option<PathBuf>,
    pub(crate) listen: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) drain: Duration,
}

struct Running {
    child: Child,
    output: pipe::Receiver,
}

impl Supervisor {
    /// Keeps one gateway running until `tasks` is told to stop.
    pub(crate) async fn keep(self, tasks: Tasks) {
        let mut pause = PAUSE_MIN;
        while !tasks.is_stopping() {
            let begin = Instant::now();
            match self.start() {
                Ok(running) => self.watch(running, &tasks).await,
                Err(error) => tracing::error!(%error, "cannot start a gateway"),
            }
            if tasks.is_stopping() {
                return;
            }
            pause = if begin.elapsed() >= LIVED { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
            tokio::select! {
                () = tokio::time::sleep(pause) => (),
                () = tasks.stopping() => (),
            }
        }
    }

    fn start(&self) -> io::Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("gateway").arg("--supervised").arg("--listen").arg(self.listen.to_string());
        command.arg("--socket").arg(&self.socket);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        match pipe::Receiver::from_owned_fd(OwnedFd::from(output)) {
            Ok(output) => Ok(Running { child, output }),
            Err(error) => {
                end(child);
                Err(error)
            }
        }
    }

    /// Waits for the end of a gateway, or ends it.
    async fn watch(&self, running: Running, tasks: &Tasks) {
        let Running { mut child, mut output } = running;
        tokio::select! {
            () = until_closed(&mut output) => {
                let status = child.wait();
                tracing::warn!(pid = child.id(), ?status, "a gateway has died");
                return;
            }
            () = tasks.stopping() => (),
        }
        drop(child.stdin.take());
        let left = tokio::time::timeout(self.drain + LEAVE, until_closed(&mut output)).await;
        if left.is_err() {
            tracing::warn!(pid = child.id(), "a gateway did not end in time and is killed");
        }
        end(child);
    }
}

async fn until_closed(output: &mut pipe::Receiver) {
    let mut bytes = [0; 64];
    while let Ok(1..) = output.read(&mut bytes).await {}
}

/// Kills it if it lives, and does not leave it as a zombie.
fn end(mut child: Child) {
    let _dead_already = child.kill();
    if let Err(error) = child.wait() {
        tracing::warn!(%error, "a gateway was not waited for");
    }
}
