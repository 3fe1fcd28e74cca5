//! The tables of this crate. Nothing else here names one.

use std::net::IpAddr;

use bytes::Bytes;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, TransactionId, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, Fact, First, Position, Range, Store, Table, Versioned};

mod backup;
mod dehydrated;
mod keys;
mod lists;

pub(crate) use self::backup::BackupRecord;
pub(crate) use self::dehydrated::DehydratedRecord;
pub(crate) use self::keys::{FallbackKey, OneTimeKeys, UploadedKeys};

use crate::{
    devices::Device,
    elsewhere::ForServer,
    stream::{DEVICE_LIST, DeviceListFact, TO_DEVICE, TO_DEVICE_ELSEWHERE, ToDeviceFact},
};

/// Rows read or deleted at a time.
const PAGE: usize = 1000;
/// Finished transactions of a user that one clean-up looks at.
const TRANSACTIONS_PAGE: usize = 2000;

/// The store did not answer or did not accept a write.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Read(#[from] storage::ReadError),
    #[error(transparent)]
    Commit(#[from] storage::CommitError),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DeviceRecord {
    display_name: Option<String>,
    created_ts: u64,
    last_seen_ip: Option<IpAddr>,
    last_seen_ts: Option<u64>,
    last_seen_user_agent: Option<String>,
}

/// Before it was kept which program a device is.
#[derive(Debug, Serialize, Deserialize)]
struct DeviceRecordV1 {
    display_name: Option<String>,
    created_ts: u64,
    last_seen_ip: Option<IpAddr>,
    last_seen_ts: Option<u64>,
}

impl From<DeviceRecordV1> for DeviceRecord {
    fn from(old: DeviceRecordV1) -> Self {
        let DeviceRecordV1 { display_name, created_ts, last_seen_ip, last_seen_ts } = old;
        Self { display_name, created_ts, last_seen_ip, last_seen_ts, last_seen_user_agent: None }
    }
}

impl Versioned for DeviceRecordV1 {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Versioned for DeviceRecord {
    const VERSION: u8 = 2;
    type Previous = DeviceRecordV1;
}

impl DeviceRecord {
    fn into_device(self, device_id: OwnedDeviceId) -> Device {
        Device {
            device_id,
            display_name: self.display_name,
            created_ts: self.created_ts,
            last_seen_ip: self.last_seen_ip,
            last_seen_ts: self.last_seen_ts,
            last_seen_user_agent: self.last_seen_user_agent,
        }
    }
}

impl From<&Device> for DeviceRecord {
    fn from(device: &Device) -> Self {
        Self {
            display_name: device.display_name.clone(),
            created_ts: device.created_ts,
            last_seen_ip: device.last_seen_ip,
            last_seen_ts: device.last_seen_ts,
            last_seen_user_agent: device.last_seen_user_agent.clone(),
        }
    }
}

/// By user, by device.
struct DevicesTable;

impl Table for DevicesTable {
    const NAME: &'static str = "devices";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = String;
    type Value = DeviceRecord;
}

/// How many devices a user has, so that nobody need read them all to know. No row where the devices
/// are from before there were such rows.
struct DeviceCountsTable;

impl Table for DeviceCountsTable {
    const NAME: &'static str = "device_counts";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = DeviceCount;
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct DeviceCount {
    devices: u64,
}

impl Versioned for DeviceCount {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By receiving user, by device and position: whole events.
struct ToDeviceTable;

impl Table for ToDeviceTable {
    const NAME: &'static str = "to_device";
    type Partition = String;
    type Sort = (String, u64);
    type Value = Bytes;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct TransactionRecord {
    ts: u64,
}

impl Versioned for TransactionRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By sending user, by device, event type and transaction id.
struct TransactionsTable;

impl Table for TransactionsTable {
    const NAME: &'static str = "to_device_transactions";
    type Partition = String;
    type Sort = (String, String, String);
    type Value = TransactionRecord;
}

/// One message for one device.
pub(crate) struct Outgoing {
    pub(crate) user_id: OwnedUserId,
    pub(crate) device_id: OwnedDeviceId,
    pub(crate) event: Bytes,
}

pub(crate) struct Transaction<'a> {
    pub(crate) sender: &'a UserId,
    pub(crate) device_id: &'a DeviceId,
    pub(crate) event_type: &'a str,
    pub(crate) txn_id: &'a TransactionId,
    pub(crate) ts: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct DeviceStore(pub(crate) Store);

impl DeviceStore {
    pub(crate) async fn devices(&self, user_id: &UserId) -> Result<Vec<Device>, StoreError> {
        let rows = self.0.scan::<DevicesTable>(&user_id, Range::all()).await?;
        Ok(rows.into_iter().map(|row| row.value.into_device(row.sort.into())).collect())
    }

    pub(crate) async fn device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        let record = self.0.get::<DevicesTable>(&user_id, &device_id).await?;
        Ok(record.map(|record| record.into_device(device_id.to_owned())))
    }

    /// With what is submitted but not yet on disk; for a change, under the user's lock.
    pub(crate) async fn latest(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
    ) -> Result<Option<Device>, StoreError> {
        let record = self.0.get_latest::<DevicesTable>(&user_id, &device_id).await?;
        Ok(record.map(|record| record.into_device(device_id.to_owned())))
    }

    /// With those that are not yet on disk; under the user's lock.
    pub(crate) async fn device_count(&self, user_id: &UserId) -> Result<u64, StoreError> {
        match self.0.get_latest::<DeviceCountsTable>(&user_id, ()).await? {
            Some(count) => Ok(count.devices),
            None => Ok(self.devices(user_id).await?.len() as u64),
        }
    }

    /// A new device does not get what was meant for an earlier one of the same name. `devices`: how
    /// many there were before.
    pub(crate) async fn create(
        &self,
        user_id: &UserId,
        device: &Device,
        devices: u64,
    ) -> Result<storage::Pending, StoreError> {
        let device_id = &device.device_id;
        self.delete_messages(user_id, device_id, Position::MAX).await?;
        let change = self.list_change(user_id).await?;
        Ok(self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            batch.put::<DevicesTable>(&user_id, device_id, &device.into());
            batch.put::<DeviceCountsTable>(&user_id, (), &DeviceCount { devices: devices + 1 });
            batch.fact(device_list_fact(user_id, device_id, false));
            change.write(&mut batch, first, true);
            Ok(batch)
        })?)
    }

    /// `tell` unless nothing changes for others.
    pub(crate) async fn update(
        &self,
        user_id: &UserId,
        device: &Device,
        tell: bool,
    ) -> Result<storage::Pending, StoreError> {
        let change = if tell { Some(self.list_change(user_id).await?) } else { None };
        Ok(self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            batch.put::<DevicesTable>(&user_id, &device.device_id, &device.into());
            if let Some(change) = change {
                batch.fact(device_list_fact(user_id, &device.device_id, false));
                change.write(&mut batch, first, true);
            }
            Ok(batch)
        })?)
    }

    pub(crate) async fn delete(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        devices: u64,
    ) -> Result<storage::Pending, StoreError> {
        let mut batch = Batch::new();
        batch.delete::<DevicesTable>(&user_id, &device_id);
        let devices = devices.saturating_sub(1);
        batch.put::<DeviceCountsTable>(&user_id, (), &DeviceCount { devices });
        let messages = Range::prefix((&device_id,)).limit(PAGE);
        for row in self.0.scan::<ToDeviceTable>(&user_id, messages).await? {
            batch.delete::<ToDeviceTable>(&user_id, (&device_id, row.sort.1));
        }
        let transactions = Range::prefix((&device_id,)).limit(PAGE);
        for row in self.0.scan::<TransactionsTable>(&user_id, transactions).await? {
            let (_, event_type, txn_id) = &row.sort;
            batch.delete::<TransactionsTable>(&user_id, (&device_id, event_type, txn_id));
        }
        self.delete_keys(&mut batch, user_id, device_id).await?;
        self.delete_dehydrated(&mut batch, user_id, device_id).await?;
        let change = self.list_change(user_id).await?;
        Ok(self.0.submit_with::<CommitError>(|first| {
            batch.fact(device_list_fact(user_id, device_id, true));
            change.write(&mut batch, first, true);
            Ok(batch)
        })?)
    }

    /// All messages of a transaction, or none if it was sent before.
    pub(crate) async fn send(
        &self,
        transaction: &Transaction<'_>,
        messages: Vec<Outgoing>,
        elsewhere: Vec<ForServer>,
    ) -> Result<(), StoreError> {
        let Transaction { sender, device_id, event_type, txn_id, ts } = transaction;
        let key = (device_id, event_type, txn_id);
        let sent = self.0.submit_with::<CommitError>(|first| {
            let mut batch = Batch::new();
            batch.if_absent::<TransactionsTable>(sender, key);
            batch.put::<TransactionsTable>(sender, key, &TransactionRecord { ts: *ts });
            for (position, message) in (first..).zip(messages) {
                let Outgoing { user_id, device_id, event } = message;
                batch.derive_put::<ToDeviceTable>(&user_id, (&device_id, position), &event);
                batch.fact(to_device_fact(&user_id, device_id));
            }
            for ForServer { server, content } in elsewhere {
                let (subject, payload) = (server.as_str().into(), content);
                batch.fact(Fact { stream: TO_DEVICE_ELSEWHERE, subject, payload });
            }
            Ok(batch)
        })?;
        match sent.await {
            Ok(_) => Ok(()),
            // The first one may still be on its way to the disk, and this answers for it.
            Err(CommitError::Condition) => Ok(self.0.barrier().wait().await?),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn messages(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Bytes)>, StoreError> {
        let range = Range::after((&device_id, after)).up_to((&device_id, up_to)).limit(limit);
        let rows = self.0.scan::<ToDeviceTable>(&user_id, range).await?;
        Ok(rows.into_iter().map(|row| (row.sort.1, row.value)).collect())
    }

    pub(crate) async fn delete_messages(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        up_to: Position,
    ) -> Result<(), StoreError> {
        let from = (&device_id, 0);
        loop {
            let range = Range::from(from).up_to((&device_id, up_to)).limit(PAGE);
            let rows = self.0.scan::<ToDeviceTable>(&user_id, range).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            for row in &rows {
                batch.delete::<ToDeviceTable>(&user_id, (&device_id, row.sort.1));
            }
            self.0.commit(batch).await?;
            if rows.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Forgets transactions that no client repeats any more.
    pub(crate) async fn forget_transactions(
        &self,
        sender: &UserId,
        before_ts: u64,
    ) -> Result<(), StoreError> {
        let range = Range::all().limit(TRANSACTIONS_PAGE);
        let rows = self.0.scan::<TransactionsTable>(&sender, range).await?;
        let mut batch = Batch::new();
        for row in rows.iter().filter(|row| row.value.ts < before_ts) {
            let (device_id, event_type, txn_id) = &row.sort;
            batch.delete::<TransactionsTable>(&sender, (device_id, event_type, txn_id));
        }
        if !batch.is_empty() {
            self.0.commit(batch).await?;
        }
        Ok(())
    }

    pub(crate) async fn barrier(&self) -> Result<(), StoreError> {
        Ok(self.0.barrier().wait().await?)
    }
}

fn payload(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).expect("facts hold only what postcard can write").into()
}

fn device_list_fact(user_id: &UserId, device_id: &DeviceId, deleted: bool) -> Fact {
    let fact = DeviceListFact { device_id: device_id.to_owned(), deleted };
    Fact { stream: DEVICE_LIST, subject: user_id.as_str().into(), payload: payload(&fact) }
}

fn to_device_fact(user_id: &UserId, device_id: OwnedDeviceId) -> Fact {
    let fact = ToDeviceFact { device_id };
    Fact { stream: TO_DEVICE, subject: user_id.as_str().into(), payload: payload(&fact) }
}
