//! End-to-end keys: what they are, how large they may be, and what can go wrong. What is done with
//! them is below `keys/`, one file for each operation.
//!
//! Keys are kept as the JSON that was signed, since the signatures cover all of it.

mod changes;
mod claim;
mod cross_signing;
mod query;
mod remote;
mod remote_lists;
mod signatures;
mod signed;
mod upload;

use std::collections::BTreeMap;

use ruma::{CanonicalJsonObject, CanonicalJsonValue, OwnedDeviceId, OwnedServerName, OwnedUserId};

pub use self::{
    cross_signing::SigningKeysUpload,
    query::KeysAnswer,
    remote::{RemoteFuture, RemoteKeys},
    remote_lists::{DeviceListUpdate, RemoteList, UpdateOutcome},
    signatures::{SignatureFailure, SignatureFailures, SignaturesUpload},
    upload::KeysUpload,
};
use crate::StoreError;

/// A JSON object with `signatures` (and perhaps `unsigned`), in canonical JSON: integers only.
pub type SignedJson = CanonicalJsonObject;

/// By user and device: the devices asked for, none for all of them.
pub type KeysQuery = BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>;

/// By user and device: the algorithm of which one key is wanted.
pub type KeysClaim = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, String>>;

/// By user and device: `<algorithm>:<key id>` and the key, an object or a text.
pub type ClaimedKeys =
    BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, BTreeMap<String, CanonicalJsonValue>>>;

/// Servers whose keys are missing in an answer, and a sentence for people.
pub type Failures = BTreeMap<OwnedServerName, String>;

/// Devices of one user, here or elsewhere, and devices asked for in one query. A log-in that would make
/// another is refused. None is given up for it: with a device go the keys of whoever uses it, and somebody
/// who knows the password could throw everybody out.
pub const DEVICES_MAX: usize = 10_000;
/// Device keys or a cross-signing key, as JSON, with all signatures.
pub const KEY_OBJECT_BYTES_MAX: usize = 64 << 10;
/// A one-time or fallback key, as JSON.
pub const ONE_TIME_KEY_BYTES_MAX: usize = 8 << 10;
/// `<algorithm>:<key id>`.
pub const KEY_ID_BYTES_MAX: usize = 255;
/// One-time keys of a device and algorithm.
pub const ONE_TIME_KEYS_MAX: usize = 500;
/// Algorithms of a device's one-time keys, and of its fallback keys.
pub const ALGORITHMS_MAX: usize = 8;
/// Signatures of one object.
pub const SIGNATURES_MAX: usize = 200;
/// Objects in one upload of signatures.
pub const SIGNED_OBJECTS_MAX: usize = 1_000;

/// A device as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceWithKeys {
    pub device_id: OwnedDeviceId,
    pub display_name: Option<String>,
    /// `None` as long as the device has not uploaded any. Without `unsigned`.
    pub keys: Option<SignedJson>,
}

/// The devices of one user, as `GET /user/devices` of the server-server API tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceList {
    pub user_id: OwnedUserId,
    /// Grows with each change of a device. Of a local user it is the position of the newest
    /// [`DEVICE_LIST`](crate::stream::DEVICE_LIST) fact, 0 if there never was one.
    pub stream_id: u64,
    pub devices: Vec<DeviceWithKeys>,
    /// `user_signing` is left out: it is nobody else's business.
    pub signing_keys: SigningKeys,
}

/// Cross-signing keys of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SigningKeys {
    pub master: Option<SignedJson>,
    pub self_signing: Option<SignedJson>,
    pub user_signing: Option<SignedJson>,
}

/// One-time keys that a device has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// By algorithm.
    pub one_time: BTreeMap<String, u64>,
    /// Algorithms with a fallback key that was not given out yet.
    pub unused_fallback: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("there is no such device")]
    NoSuchDevice,
    /// M_BAD_JSON.
    #[error("{0}")]
    Malformed(&'static str),
    /// M_INVALID_PARAM.
    #[error("{0}")]
    Invalid(&'static str),
    /// M_TOO_LARGE.
    #[error("{0}")]
    TooLarge(&'static str),
    /// A key of this id is there already, and is another one. M_INVALID_PARAM.
    #[error("a one-time key {0} exists already and differs")]
    KeyExists(String),
    /// M_INVALID_SIGNATURE.
    #[error("{0}")]
    BadSignature(&'static str),
    /// M_MISSING_PARAM.
    #[error("there is no master key")]
    NoMasterKey,
    /// M_FORBIDDEN.
    #[error("a device has the name of the key")]
    IsDevice,
    /// Keys would be replaced, which wants user-interactive authentication.
    #[error("replacing cross-signing keys wants authentication")]
    NeedsAuthentication,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<storage::CommitError> for KeysError {
    fn from(error: storage::CommitError) -> Self {
        Self::Store(error.into())
    }
}
