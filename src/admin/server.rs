//! The region's end of the operator's socket.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::Context as _;
use stdx::Tasks;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};

use super::{Answer, Request, execute};
use crate::app_state::{AppState, SharedState};

/// A request is a line of at most this many bytes.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Progress that may wait for a slow terminal; more is dropped.
const PROGRESS_WAITING_MAX: usize = 64;

/// Listens until `tasks` is told to stop.
pub(crate) fn listen(path: &Path, state: SharedState, tasks: &Tasks) -> anyhow::Result<()> {
    // The data directory is locked by us, so a socket that is left there is from a dead process.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("cannot protect {}", path.display()))?;
    tasks.spawn_until_stopped("admin", async move {
        // One at a time: these are an operator's commands.
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = serve(stream, &state).await {
                        tracing::debug!(%error, "an admin request ended early");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket is closed");
                    return;
                }
            }
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, state: &AppState) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let request: Request = serde_json::from_str(&line).context("the request cannot be read")?;
    let (told, mut progress) = mpsc::channel(PROGRESS_WAITING_MAX);
    let work = execute(state, request, move |answer| {
        let _dropped_if_slow = told.try_send(answer);
    });
    tokio::pin!(work);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            Some(answer) = progress.recv() => send(&mut write, &answer).await?,
        }
    };
    let answer = match outcome {
        Ok(line) => Answer::Done(line),
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    send(&mut write, &answer).await
}

async fn send(write: &mut tokio::net::unix::OwnedWriteHalf, answer: &Answer) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    Ok(())
}
