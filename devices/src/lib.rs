//! Devices: what a user is logged in with, and the messages that go to one device.
//!
//! Keys come with the encryption work. Start reading at `devices.rs`, then `to_device.rs`;
//! `store.rs` is the only file that names tables.

mod devices;
mod elsewhere;
mod seen;
mod store;
pub mod stream;
mod to_device;

pub use devices::{Device, DeviceError, Devices};
pub use store::StoreError;
pub use to_device::{SendToDevice, SendToDeviceError, ToDeviceMessages};
