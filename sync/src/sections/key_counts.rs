//! `device_one_time_keys_count` and `device_unused_fallback_key_types`: in every answer to a device,
//! from memory unless they changed.

use std::sync::Arc;

use devices::keys::KeyCounts;
use ruma::DeviceId;

use crate::{
    SyncError,
    changes::UserMark,
    json::{self, Object},
    service::Inner,
};

/// Clients look for its count, 0 included.
const ALGORITHM: &str = "signed_curve25519";

pub(crate) async fn load(
    sync: &Inner,
    user: &UserMark,
    device: Option<&DeviceId>,
) -> Result<Option<Arc<KeyCounts>>, SyncError> {
    let Some(device) = device else { return Ok(None) };
    // Looked at first: what changes after it is read again.
    let moved = user.one_time_keys.get();
    let read = user.key_counts.lock().get(device).cloned();
    if let Some((_, counts)) = read.filter(|(at, _)| *at == moved) {
        return Ok(Some(counts));
    }
    let counts = Arc::new(sync.sources.devices.key_counts(&user.user_id, device).await?);
    user.key_counts.lock().insert(device.to_owned(), (moved, Arc::clone(&counts)));
    Ok(Some(counts))
}

pub(crate) fn write(counts: &KeyCounts, object: &mut Object<'_>) {
    let mut one_time = Object::open(object.key("device_one_time_keys_count"));
    if !counts.one_time.contains_key(ALGORITHM) {
        json::number(one_time.key(ALGORITHM), 0);
    }
    for (algorithm, count) in &counts.one_time {
        json::number(one_time.key(algorithm), *count);
    }
    one_time.close();
    let unused = object.key("device_unused_fallback_key_types");
    serde_json::to_writer(unused, &counts.unused_fallback).expect("texts are written to memory");
}
