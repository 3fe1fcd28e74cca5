//! The facts that this crate appends to the log.

use ruma::OwnedDeviceId;
use serde::{Deserialize, Serialize};

/// A message waits for a device. Subject: the user id; payload: [`ToDeviceFact`].
pub const TO_DEVICE: u8 = 30;
/// A user's devices changed. Subject: the user id; payload: [`DeviceListFact`].
pub const DEVICE_LIST: u8 = 31;

/// Messages wait for devices of another server. Subject: the server's name; payload: the content of
/// an `m.direct_to_device` EDU, JSON.
pub const TO_DEVICE_ELSEWHERE: u8 = 32;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToDeviceFact {
    pub device_id: OwnedDeviceId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceListFact {
    pub device_id: OwnedDeviceId,
    pub deleted: bool,
}

impl ToDeviceFact {
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}

impl DeviceListFact {
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}
