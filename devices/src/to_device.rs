//! Messages to single devices: delivered exactly once to each, in order.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use ruma::{DeviceId, OwnedUserId, TransactionId, UserId, to_device::DeviceIdOrAllDevices};
use serde::Serialize;
use serde_json::value::RawValue;
use storage::Position;

use crate::{
    Devices, StoreError,
    elsewhere::{self, ForServer},
    store::{Outgoing, Transaction},
};

const CONTENT_BYTES_MAX: usize = 65_536;
/// Messages of one request, after `*` is replaced by the devices.
const MESSAGES_MAX: usize = 10_000;
/// Of one request, after `*` is replaced by the devices: what a request of a few kilobytes may come
/// to on disk. A key that is shared with ten thousand devices one by one is below.
const BYTES_MAX: usize = 64 << 20;
/// A client repeats a request within minutes, not days.
const TRANSACTION_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// One in this many requests cleans up after its sender.
const CLEAN_UP_ONE_IN: u64 = 128;

pub type ToDeviceMessages = BTreeMap<OwnedUserId, BTreeMap<DeviceIdOrAllDevices, Box<RawValue>>>;

#[derive(Clone, Copy, Debug)]
pub struct SendToDevice<'a> {
    pub sender: &'a UserId,
    pub device_id: &'a DeviceId,
    pub event_type: &'a str,
    pub txn_id: &'a TransactionId,
    pub messages: &'a ToDeviceMessages,
}

#[derive(Debug, thiserror::Error)]
pub enum SendToDeviceError {
    #[error("a message to a device has at most 64 KiB")]
    TooLarge,
    #[error("too many messages in one request")]
    TooMany,
    #[error("the content must be a JSON object")]
    NotAnObject,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    sender: &'a UserId,
    content: &'a RawValue,
}

impl Devices {
    /// Devices of this server that do not exist are skipped; messages for other servers are theirs
    /// to deliver. A repeated transaction changes nothing. The sender is a local user.
    pub async fn send_to_device(&self, send: SendToDevice<'_>) -> Result<(), SendToDeviceError> {
        let outgoing = self.outgoing(&send, |user| !elsewhere::is_elsewhere(&send, user)).await?;
        let elsewhere = elsewhere::of(&send, &self.inner.rng);
        self.deliver(&send, outgoing, elsewhere).await
    }

    /// As [`send_to_device`](Self::send_to_device), for messages of another server's user to users
    /// of this one; the transaction id is the message's.
    pub async fn receive_to_device(&self, send: SendToDevice<'_>) -> Result<(), SendToDeviceError> {
        let outgoing = self.outgoing(&send, |_| true).await?;
        // Others can think of any number of senders and ids: those that reach nobody leave no row.
        if outgoing.is_empty() {
            return Ok(());
        }
        self.deliver(&send, outgoing, Vec::new()).await
    }

    async fn deliver(
        &self,
        send: &SendToDevice<'_>,
        outgoing: Vec<Outgoing>,
        elsewhere: Vec<ForServer>,
    ) -> Result<(), SendToDeviceError> {
        let inner = &self.inner;
        let now = inner.clock.now_ms();
        let transaction = Transaction {
            sender: send.sender,
            device_id: send.device_id,
            event_type: send.event_type,
            txn_id: send.txn_id,
            ts: now,
        };
        inner.store.send(&transaction, outgoing, elsewhere).await?;
        if inner.rng.below(CLEAN_UP_ONE_IN) == 0 {
            let lifetime = u64::try_from(TRANSACTION_LIFETIME.as_millis()).unwrap_or(u64::MAX);
            let before = now.saturating_sub(lifetime);
            inner.store.forget_transactions(send.sender, before).await?;
        }
        Ok(())
    }

    async fn outgoing(
        &self,
        send: &SendToDevice<'_>,
        is_here: impl Fn(&UserId) -> bool,
    ) -> Result<Vec<Outgoing>, SendToDeviceError> {
        let (mut outgoing, mut bytes) = (Vec::new(), 0);
        for (user_id, by_device) in send.messages {
            // Contents are checked wherever they go.
            let devices = match is_here(user_id) {
                true => self.inner.store.devices(user_id).await?,
                false => Vec::new(),
            };
            for (target, content) in by_device {
                let event = event(send, content)?;
                let named = |device_id: &DeviceId| match target {
                    DeviceIdOrAllDevices::AllDevices => true,
                    DeviceIdOrAllDevices::DeviceId(id) => id == device_id,
                };
                for device in devices.iter().filter(|device| named(&device.device_id)) {
                    bytes += event.len();
                    if outgoing.len() == MESSAGES_MAX || bytes > BYTES_MAX {
                        return Err(SendToDeviceError::TooMany);
                    }
                    outgoing.push(Outgoing {
                        user_id: user_id.clone(),
                        device_id: device.device_id.clone(),
                        event: event.clone(),
                    });
                }
            }
        }
        Ok(outgoing)
    }

    /// Whole events (`{"type","sender","content"}`) after `after`, up to and including `up_to`,
    /// oldest first.
    pub async fn to_device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Bytes)>, StoreError> {
        if after >= up_to {
            return Ok(Vec::new());
        }
        self.inner.store.messages(user_id, device_id, after, up_to, limit).await
    }

    /// Forgets what the device has received: once this returns, nobody is given it again.
    pub async fn delete_to_device(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        up_to: Position,
    ) -> Result<(), StoreError> {
        self.inner.store.delete_messages(user_id, device_id, up_to).await
    }
}

fn event(send: &SendToDevice<'_>, content: &RawValue) -> Result<Bytes, SendToDeviceError> {
    if content.get().len() > CONTENT_BYTES_MAX {
        return Err(SendToDeviceError::TooLarge);
    }
    if !content.get().trim_ascii_start().starts_with('{') {
        return Err(SendToDeviceError::NotAnObject);
    }
    let event = Event { event_type: send.event_type, sender: send.sender, content };
    let json = serde_json::to_vec(&event).expect("ids, text and raw JSON serialise");
    Ok(json.into())
}
