//! When each user's devices changed last, in the order of those changes; and the followed lists of
//! other servers' users.

use bytes::Bytes;
use ruma::{DeviceId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, Fact, First, Pending, Position, Range, Table, Versioned};

use super::{
    DeviceStore, StoreError,
    keys::{from_bytes, to_bytes, user, write_signing_keys},
    payload,
};
use crate::{
    keys::{DeviceList, DeviceWithKeys, RemoteList, SigningKeys},
    stream::{
        CHANGED_FOR, ChangedForFact, ONE_TIME_KEYS, OneTimeKeysFact, REMOTE_DEVICE_LIST,
        SIGNING_KEYS, SigningKeysFact,
    },
};

/// When a user's devices changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListPosition {
    /// Of the newest change, of cross-signing keys too.
    pub(crate) position: Position,
    /// Of the newest change of a device.
    pub(crate) stream_id: Position,
}

impl Versioned for ListPosition {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user.
struct ListPositionsTable;

impl Table for ListPositionsTable {
    const NAME: &'static str = "device_list_positions";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = ListPosition;
}

/// By writer and position: the user, once, at the newest change.
struct ListOrderTable;

impl Table for ListOrderTable {
    const NAME: &'static str = "device_list_order";
    type Partition = u32;
    type Sort = u64;
    type Value = Bytes;
}

/// One machine is writer 0.
const WRITER: u32 = 0;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct ChangedAt {
    position: Position,
}

impl Versioned for ChangedAt {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By the user for whom alone something changed, and the user whose keys they are.
struct ChangedForTable;

impl Table for ChangedForTable {
    const NAME: &'static str = "device_list_changed_for";
    type Partition = String;
    type Sort = String;
    type Value = ChangedAt;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RemoteListRecord {
    stream_id: u64,
    outdated: bool,
}

impl Versioned for RemoteListRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By followed user.
struct RemoteListsTable;

impl Table for RemoteListsTable {
    const NAME: &'static str = "remote_device_lists";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = RemoteListRecord;
}

/// By writer: followed users whose lists are outdated.
struct OutdatedListsTable;

impl Table for OutdatedListsTable {
    const NAME: &'static str = "remote_device_lists_outdated";
    type Partition = u32;
    type Sort = String;
    type Value = ();
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RemoteDeviceRecord {
    display_name: Option<String>,
    /// Signed JSON.
    keys: Option<Bytes>,
}

impl Versioned for RemoteDeviceRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By followed user and device.
struct RemoteDevicesTable;

impl Table for RemoteDevicesTable {
    const NAME: &'static str = "remote_devices";
    type Partition = String;
    type Sort = String;
    type Value = RemoteDeviceRecord;
}

/// A change of a user's list that is about to be written, under the user's lock.
pub(crate) struct ListChange {
    user_id: OwnedUserId,
    before: ListPosition,
}

impl ListChange {
    /// `position` is that of the change's fact. `of_device`: and not of cross-signing keys only.
    pub(super) fn write(self, batch: &mut Batch, position: Position, of_device: bool) {
        let Self { user_id, before } = self;
        let stream_id = if of_device { position } else { before.stream_id };
        batch.put::<ListPositionsTable>(&user_id, (), &ListPosition { position, stream_id });
        if before.position > 0 {
            batch.derive_delete::<ListOrderTable>(WRITER, before.position);
        }
        let user_id = Bytes::copy_from_slice(user_id.as_bytes());
        batch.derive_put::<ListOrderTable>(WRITER, position, &user_id);
    }

    /// Something about `target` changed in the eyes of `user_id` only.
    pub(super) fn write_for(
        batch: &mut Batch,
        user_id: &UserId,
        target: &UserId,
        position: Position,
    ) {
        batch.put::<ChangedForTable>(&user_id, &target, &ChangedAt { position });
    }
}

impl DeviceStore {
    pub(crate) async fn list_position(&self, user_id: &UserId) -> Result<ListPosition, StoreError> {
        Ok(self.0.get::<ListPositionsTable>(&user_id, ()).await?.unwrap_or_default())
    }

    pub(super) async fn list_change(&self, user_id: &UserId) -> Result<ListChange, StoreError> {
        let before = self.0.get_latest::<ListPositionsTable>(&user_id, ()).await?;
        Ok(ListChange { user_id: user_id.to_owned(), before: before.unwrap_or_default() })
    }

    pub(crate) async fn changed_lists(
        &self,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, OwnedUserId)>, StoreError> {
        let range = Range::after(after).up_to(up_to).limit(limit);
        let rows = self.0.scan::<ListOrderTable>(WRITER, range).await?;
        let users = rows.into_iter().filter_map(|row| {
            let id = String::from_utf8(row.value.to_vec()).ok()?;
            Some((row.sort, user(id)?))
        });
        Ok(users.collect())
    }

    pub(crate) async fn changed_for(
        &self,
        user_id: &UserId,
        after: Position,
    ) -> Result<Vec<OwnedUserId>, StoreError> {
        let rows = self.0.scan::<ChangedForTable>(&user_id, Range::all()).await?;
        let rows = rows.into_iter().filter(|row| row.value.position > after);
        Ok(rows.filter_map(|row| user(row.sort)).collect())
    }

    pub(crate) async fn remote_list(
        &self,
        user_id: &UserId,
    ) -> Result<Option<RemoteList>, StoreError> {
        let record = self.0.get::<RemoteListsTable>(&user_id, ()).await?;
        Ok(record.map(Into::into))
    }

    pub(crate) async fn latest_remote_list(
        &self,
        user_id: &UserId,
    ) -> Result<Option<RemoteList>, StoreError> {
        let record = self.0.get_latest::<RemoteListsTable>(&user_id, ()).await?;
        Ok(record.map(Into::into))
    }

    pub(crate) async fn remote_devices(
        &self,
        user_id: &UserId,
    ) -> Result<Vec<DeviceWithKeys>, StoreError> {
        let rows = self.0.scan::<RemoteDevicesTable>(&user_id, Range::all()).await?;
        let devices = rows.into_iter().map(|row| DeviceWithKeys {
            device_id: row.sort.into(),
            display_name: row.value.display_name,
            keys: row.value.keys.as_ref().and_then(from_bytes),
        });
        Ok(devices.collect())
    }

    /// At most `limit` are counted, of those that are on disk.
    pub(crate) async fn count_remote_devices(
        &self,
        user_id: &UserId,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let rows = self.0.scan::<RemoteDevicesTable>(&user_id, Range::all().limit(limit)).await?;
        Ok(rows.len())
    }

    /// Whether all that was submitted for the followed list is on disk. Under the user's lock it
    /// stays so. Each change of a list moves one of these rows.
    pub(crate) async fn is_remote_list_durable(
        &self,
        user_id: &UserId,
    ) -> Result<bool, StoreError> {
        let positions = [
            self.0.get::<ListPositionsTable>(&user_id, ()).await?,
            self.0.get_latest::<ListPositionsTable>(&user_id, ()).await?,
        ];
        let lists = [self.remote_list(user_id).await?, self.latest_remote_list(user_id).await?];
        Ok(positions[0] == positions[1] && lists[0] == lists[1])
    }

    /// Under the user's lock, when what was submitted for the list is durable.
    pub(crate) async fn replace_remote_list(
        &self,
        list: &DeviceList,
    ) -> Result<Pending, StoreError> {
        let user_id = &list.user_id;
        let before = self.remote_devices(user_id).await?;
        let keys_before = self.signing_keys(user_id).await?;
        let followed = self.remote_list(user_id).await?.is_some();
        let same = followed && before == list.devices && keys_before == list.signing_keys;
        let change = self.list_change(user_id).await?;
        Ok(self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            let record = RemoteListRecord { stream_id: list.stream_id, outdated: false };
            batch.put::<RemoteListsTable>(user_id, (), &record);
            batch.derive_delete::<OutdatedListsTable>(WRITER, user_id);
            if !same {
                for device in &before {
                    batch.delete::<RemoteDevicesTable>(user_id, &device.device_id);
                }
                for device in &list.devices {
                    batch.put::<RemoteDevicesTable>(user_id, &device.device_id, &record_of(device));
                }
                write_signing_keys(&mut batch, user_id, &list.signing_keys);
                batch.fact(remote_list_fact(user_id));
                change.write(&mut batch, first, true);
            }
            Ok(batch)
        })?)
    }

    /// Under the user's lock.
    pub(crate) async fn put_remote_device(
        &self,
        user_id: &UserId,
        stream_id: u64,
        device: &DeviceWithKeys,
        deleted: bool,
    ) -> Result<Pending, StoreError> {
        let change = self.list_change(user_id).await?;
        Ok(self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            let record = RemoteListRecord { stream_id, outdated: false };
            batch.put::<RemoteListsTable>(&user_id, (), &record);
            if deleted {
                batch.delete::<RemoteDevicesTable>(&user_id, &device.device_id);
            } else {
                batch.put::<RemoteDevicesTable>(&user_id, &device.device_id, &record_of(device));
            }
            batch.fact(remote_list_fact(user_id));
            change.write(&mut batch, first, true);
            Ok(batch)
        })?)
    }

    /// Under the user's lock.
    pub(crate) async fn put_remote_signing_keys(
        &self,
        user_id: &UserId,
        keys: &SigningKeys,
    ) -> Result<Pending, StoreError> {
        let change = self.list_change(user_id).await?;
        Ok(self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            write_signing_keys(&mut batch, user_id, keys);
            batch.fact(remote_list_fact(user_id));
            change.write(&mut batch, first, false);
            Ok(batch)
        })?)
    }

    /// Under the user's lock.
    pub(crate) fn put_outdated(
        &self,
        user_id: &UserId,
        stream_id: u64,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<RemoteListsTable>(
            &user_id,
            (),
            &RemoteListRecord { stream_id, outdated: true },
        );
        batch.derive_put::<OutdatedListsTable>(WRITER, &user_id, &());
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn outdated_lists(
        &self,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<OwnedUserId>, StoreError> {
        let range = match after {
            Some(after) => Range::after(after),
            None => Range::all(),
        };
        let rows = self.0.scan::<OutdatedListsTable>(WRITER, range.limit(limit)).await?;
        Ok(rows.into_iter().filter_map(|row| user(row.sort)).collect())
    }

    /// Under the user's lock, when what was submitted for the list is durable.
    pub(crate) async fn forget_remote_list(&self, user_id: &UserId) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.delete::<RemoteListsTable>(&user_id, ());
        batch.derive_delete::<OutdatedListsTable>(WRITER, &user_id);
        for device in self.remote_devices(user_id).await? {
            batch.delete::<RemoteDevicesTable>(&user_id, &device.device_id);
        }
        write_signing_keys(&mut batch, user_id, &SigningKeys::default());
        Ok(self.0.submit(batch)?)
    }
}

impl From<RemoteListRecord> for RemoteList {
    fn from(record: RemoteListRecord) -> Self {
        let RemoteListRecord { stream_id, outdated } = record;
        Self { stream_id, outdated }
    }
}

fn record_of(device: &DeviceWithKeys) -> RemoteDeviceRecord {
    RemoteDeviceRecord {
        display_name: device.display_name.clone(),
        keys: device.keys.as_ref().map(to_bytes),
    }
}

fn remote_list_fact(user_id: &UserId) -> Fact {
    let subject = user_id.as_str().into();
    Fact { stream: REMOTE_DEVICE_LIST, subject, payload: Bytes::new() }
}

pub(super) fn signing_keys_fact(user_id: &UserId, fact: &SigningKeysFact) -> Fact {
    Fact { stream: SIGNING_KEYS, subject: user_id.as_str().into(), payload: payload(fact) }
}

pub(super) fn one_time_keys_fact(user_id: &UserId, device_id: &DeviceId) -> Fact {
    let fact = OneTimeKeysFact { device_id: device_id.to_owned() };
    Fact { stream: ONE_TIME_KEYS, subject: user_id.as_str().into(), payload: payload(&fact) }
}

pub(super) fn changed_for_fact(user_id: &UserId, target: &UserId) -> Fact {
    let fact = ChangedForFact { target: target.to_owned() };
    Fact { stream: CHANGED_FOR, subject: user_id.as_str().into(), payload: payload(&fact) }
}
