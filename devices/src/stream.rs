//! The facts that this crate appends to the log.

use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};

/// A message waits for a device. Subject: the user id; payload: [`ToDeviceFact`].
pub const TO_DEVICE: u8 = 30;
/// A user's devices changed. Subject: the user id; payload: [`DeviceListFact`].
pub const DEVICE_LIST: u8 = 31;

/// Messages wait for devices of another server. Subject: the server's name; payload: the content of
/// an `m.direct_to_device` EDU, JSON.
pub const TO_DEVICE_ELSEWHERE: u8 = 32;
/// Cross-signing keys of a local user changed, in the eyes of everybody. Subject: the user id;
/// payload: [`SigningKeysFact`].
pub const SIGNING_KEYS: u8 = 33;
/// One-time or fallback keys of a local device came or went. Subject: the user id; payload:
/// [`OneTimeKeysFact`].
pub const ONE_TIME_KEYS: u8 = 34;
/// Devices or cross-signing keys of a followed user of another server changed. Subject: the user id;
/// no payload.
pub const REMOTE_DEVICE_LIST: u8 = 35;
/// Keys look different to one local user alone, who signed them or whose user-signing key they are.
/// Subject: that user's id; payload: [`ChangedForFact`].
pub const CHANGED_FOR: u8 = 36;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToDeviceFact {
    pub device_id: OwnedDeviceId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceListFact {
    pub device_id: OwnedDeviceId,
    pub deleted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeysFact {
    /// The master or the self-signing key, which others verify devices with.
    pub cross_signing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeKeysFact {
    pub device_id: OwnedDeviceId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedForFact {
    /// Whose keys they are.
    pub target: OwnedUserId,
}

impl SigningKeysFact {
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}

impl OneTimeKeysFact {
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}

impl ChangedForFact {
    pub fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
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
