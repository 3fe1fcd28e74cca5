//! The command line's end of the operator's socket.

use std::path::Path;

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
};

use super::{Answer, Request, socket_path};

/// Asks the region that has `data_dir` open.
pub(crate) async fn request(
    data_dir: &Path,
    request: &Request,
    mut progress: impl FnMut(Answer),
) -> anyhow::Result<String> {
    let path = socket_path(data_dir);
    let stream = UnixStream::connect(&path).await.with_context(|| {
        format!("the data directory is in use, and nobody answers at {}", path.display())
    })?;
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Answer::Done(line) => return Ok(line),
            Answer::Failed(reason) => bail!(reason),
            going @ Answer::Progress { .. } => progress(going),
        }
    }
    bail!("the region ended before it was done")
}
