//! The table of connections. Nothing else here names one.

use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Range, Store, Table, Versioned};

use super::{connections::Key, state::StateRecord};
use crate::SyncError;

/// "Servers SHOULD limit the amount of data that they store per-user […], e.g. limiting the number
/// of connections a device can have active." The least recently written of the user go.
const CONNECTIONS_MAX: usize = 50;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConnectionRecord {
    /// When it was last written, in milliseconds.
    pub(crate) written_ts: u64,
    /// At most two, older first.
    pub(crate) versions: Vec<(u64, StateRecord)>,
}

impl Versioned for ConnectionRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user, by device and the connection's name.
struct Connections;

impl Table for Connections {
    const NAME: &'static str = "sliding_connections";
    type Partition = String;
    type Sort = (String, String);
    type Value = ConnectionRecord;
}

pub(crate) async fn get(store: &Store, key: &Key) -> Result<Option<ConnectionRecord>, SyncError> {
    let sort = (key.device.as_str(), key.conn_id.as_str());
    Ok(store.get::<Connections>(&key.user, sort).await?)
}

/// Waits until the row is durable.
pub(crate) async fn put(
    store: &Store,
    key: &Key,
    record: &ConnectionRecord,
    is_new: bool,
) -> Result<(), PutError> {
    let mut batch = Batch::new();
    let sort = (key.device.as_str(), key.conn_id.as_str());
    batch.put::<Connections>(&key.user, sort, record);
    if is_new {
        for (device, conn_id) in superfluous(store, key).await? {
            batch.delete::<Connections>(&key.user, (device.as_str(), conn_id.as_str()));
        }
    }
    Ok(store.commit(batch).await.map(drop)?)
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

async fn superfluous(
    store: &Store,
    new: &Key,
) -> Result<Vec<(String, String)>, storage::ReadError> {
    let mut others = store.scan::<Connections>(&new.user, Range::all()).await?;
    others.retain(|row| row.sort.0 != new.device.as_str() || row.sort.1 != new.conn_id);
    others.sort_by_key(|row| row.value.written_ts);
    let surplus = (others.len() + 1).saturating_sub(CONNECTIONS_MAX);
    Ok(others.into_iter().take(surplus).map(|row| row.sort).collect())
}
