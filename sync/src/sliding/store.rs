//! The tables of connections. Nothing else here names one.

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Pending, Range, ReadError, Store, Table, Versioned};

use super::{
    connections::Key,
    state::{StateRecord, StateRecordV1},
};
use crate::SyncError;

/// "Servers SHOULD limit the amount of data that they store per-user […], e.g. limiting the number
/// of connections a device can have active." Beyond that those go that were not used for longest.
const OF_DEVICE_MAX: usize = 20;
const OF_USER_MAX: usize = 100;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConnectionRecord {
    /// When it was last written, in milliseconds.
    pub(crate) written_ts: u64,
    /// When it was last used, in days since the epoch.
    pub(crate) used_day: u64,
    /// In order.
    pub(crate) versions: Vec<(u64, StateRecord)>,
}

impl Versioned for ConnectionRecord {
    const VERSION: u8 = 2;
    type Previous = ConnectionRecordV1;
}

/// Before connections expired.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConnectionRecordV1 {
    written_ts: u64,
    versions: Vec<(u64, StateRecordV1)>,
}

impl Versioned for ConnectionRecordV1 {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl From<ConnectionRecordV1> for ConnectionRecord {
    fn from(old: ConnectionRecordV1) -> Self {
        let ConnectionRecordV1 { written_ts, versions } = old;
        let versions = versions.into_iter().map(|(version, state)| (version, state.into()));
        Self { written_ts, used_day: day_of(written_ts), versions: versions.collect() }
    }
}

/// The day, since the epoch, of a time in milliseconds.
pub(crate) fn day_of(ts: u64) -> u64 {
    ts / (24 * 60 * 60 * 1000)
}

/// By user, by device and the connection's name.
struct Connections;

impl Table for Connections {
    const NAME: &'static str = "sliding_connections";
    type Partition = String;
    type Sort = (String, String);
    type Value = ConnectionRecord;
}

/// By writer: the day of the last use, user, device and the connection's name.
struct UsedDays;

impl Table for UsedDays {
    const NAME: &'static str = "sliding_connections_used";
    type Partition = u32;
    type Sort = (u64, String, String, String);
    type Value = ();
}

/// One machine is writer 0.
const WRITER: u32 = 0;

pub(crate) async fn get(store: &Store, key: &Key) -> Result<Option<ConnectionRecord>, SyncError> {
    let sort = (key.device.as_str(), key.conn_id.as_str());
    Ok(store.get::<Connections>(&key.user, sort).await?)
}

/// Waits until the row is durable. `used_before`: the day that the row has now; `None`: there is no
/// row. Returns whose rows had to go for it.
pub(crate) async fn put(
    store: &Store,
    key: &Key,
    record: &ConnectionRecord,
    used_before: Option<u64>,
) -> Result<Vec<Key>, PutError> {
    let mut batch = Batch::new();
    write(&mut batch, key, record, used_before);
    let mut gone = Vec::new();
    if used_before.is_none() {
        for (other, used_day) in superfluous(store, key).await? {
            erase(&mut batch, &other, used_day);
            gone.push(other);
        }
    }
    store.commit(batch).await?;
    Ok(gone)
}

/// Notes that the connection was used on another day than before. Does not wait: what is lost with
/// the process is noted with the next use.
pub(crate) fn note_use(
    store: &Store,
    key: &Key,
    record: &ConnectionRecord,
    used_before: u64,
) -> Result<(), CommitError> {
    let mut batch = Batch::new();
    write(&mut batch, key, record, Some(used_before));
    store.submit(batch).map(drop)
}

fn write(batch: &mut Batch, key: &Key, record: &ConnectionRecord, used_before: Option<u64>) {
    let sort = (key.device.as_str(), key.conn_id.as_str());
    batch.put::<Connections>(&key.user, sort, record);
    if used_before == Some(record.used_day) {
        return;
    }
    if let Some(before) = used_before {
        batch.derive_delete::<UsedDays>(WRITER, used(key, before));
    }
    batch.derive_put::<UsedDays>(WRITER, used(key, record.used_day), &());
}

fn erase(batch: &mut Batch, key: &Key, used_day: u64) {
    batch.delete::<Connections>(&key.user, (key.device.as_str(), key.conn_id.as_str()));
    batch.derive_delete::<UsedDays>(WRITER, used(key, used_day));
}

fn used(key: &Key, day: u64) -> (u64, &str, &str, &str) {
    (day, key.user.as_str(), key.device.as_str(), &key.conn_id)
}

/// Deletes a row that was last used on that day.
pub(crate) fn delete(store: &Store, key: &Key, used_day: u64) -> Result<Pending, CommitError> {
    let mut batch = Batch::new();
    erase(&mut batch, key, used_day);
    store.submit(batch)
}

/// Rows that were last used before `day`, the oldest first, with their days.
pub(crate) async fn used_before(
    store: &Store,
    day: u64,
    limit: usize,
) -> Result<Vec<(Key, u64)>, ReadError> {
    let rows = store.scan::<UsedDays>(WRITER, Range::all().limit(limit)).await?;
    let old = rows.into_iter().map(|row| row.sort).take_while(|(used, ..)| *used < day);
    Ok(old
        .filter_map(|(used, user, device, conn_id)| {
            let user = OwnedUserId::try_from(user).ok()?;
            Some((Key { user, device: device.into(), conn_id }, used))
        })
        .collect())
}

/// The rows of a user, or of one of their devices, with their days.
pub(crate) async fn of(
    store: &Store,
    user: &UserId,
    device: Option<&str>,
) -> Result<Vec<(Key, ConnectionRecord)>, ReadError> {
    let range = device.map_or_else(Range::all, |device| Range::prefix((device,)));
    let rows = store.scan::<Connections>(&user, range).await?;
    let rows = rows.into_iter().map(|row| {
        let (device, conn_id) = row.sort;
        (Key { user: user.to_owned(), device: OwnedDeviceId::from(device), conn_id }, row.value)
    });
    Ok(rows.collect())
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What has to go so that there is room for another.
async fn superfluous(store: &Store, new: &Key) -> Result<Vec<(Key, u64)>, ReadError> {
    let mut others = of(store, &new.user, None).await?;
    others.retain(|(key, _)| key != new);
    others.sort_by_key(|(_, record)| (record.used_day, record.written_ts));
    let mut gone = Vec::new();
    let is_of_device = |(key, _): &(Key, ConnectionRecord)| key.device == new.device;
    let of_device = others.iter().filter(|other| is_of_device(other)).count();
    for _ in 0..(of_device + 1).saturating_sub(OF_DEVICE_MAX) {
        gone.extend(others.iter().position(is_of_device).map(|oldest| others.remove(oldest)));
    }
    let surplus = (others.len() + 1).saturating_sub(OF_USER_MAX);
    gone.extend(others.drain(..surplus));
    Ok(gone.into_iter().map(|(key, record)| (key, record.used_day)).collect())
}
