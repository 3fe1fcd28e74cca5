//! The parts of an answer, as far as they are the same in every sync that tells them.

pub(crate) mod account_data;
pub(crate) mod ephemeral;
pub(crate) mod event;
pub(crate) mod key_counts;
pub(crate) mod own_history;
pub(crate) mod presence;
pub(crate) mod summary;
pub(crate) mod timeline;
pub(crate) mod to_device;
