//! Devices: what a user is logged in with, and the messages that go to one device.
//!
//! Start reading at `devices.rs`, then `to_device.rs`, then `keys.rs` for end-to-end keys; `store.rs`
//! and `store/` are the only files that name tables.

mod backup;
mod dehydrated;
mod devices;
mod elsewhere;
pub mod keys;
mod seen;
mod store;
pub mod stream;
mod to_device;

pub use backup::{BackupContents, BackupError, BackupScope, BackupSessions, BackupVersion};
pub use dehydrated::{DehydratedDevice, DehydratedError, DehydratedMessages, NewDehydratedDevice};
pub use devices::{Device, DeviceError, Devices};
pub use store::StoreError;
pub use to_device::{SendToDevice, SendToDeviceError, ToDeviceMessages};
