//! `to_device`: messages to one device, given until it confirms them.

use ruma::DeviceId;
use storage::Position;

use crate::{SyncError, changes::UserMark, compute::Scope, json::Events, service::Inner};

/// Messages in one answer.
const LIMIT: usize = 100;

/// Which messages are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) device: &'a DeviceId,
    pub(crate) after: Position,
    pub(crate) now: Position,
    pub(crate) limit: usize,
}

/// Writes the next messages. Returns up to where they were read: below `now` when there are more.
pub(crate) async fn write(
    scope: &Scope<'_>,
    user: &UserMark,
    events: &mut Events,
) -> Result<Position, SyncError> {
    let now = scope.now.durable;
    let Some(device) = scope.device else { return Ok(now) };
    let after = scope.since.map_or(0, |since| since.to_device);
    read(scope.sync, user, Reading { device, after, now, limit: LIMIT }, events).await
}

pub(crate) async fn read(
    sync: &Inner,
    user: &UserMark,
    reading: Reading<'_>,
    events: &mut Events,
) -> Result<Position, SyncError> {
    let Reading { device, after, now, limit } = reading;
    let devices = &sync.sources.devices;
    let messages = devices.to_device(&user.user_id, device, after, now, limit).await?;
    for (_, message) in &messages {
        events.next().extend_from_slice(message);
    }
    let Some((last, _)) = messages.last() else { return Ok(now) };
    user.given.lock().insert(device.to_owned(), Some(*last));
    Ok(if messages.len() < limit { now } else { *last })
}

/// The device has received everything up to here, through the loop that confirms it.
pub(crate) async fn acknowledge(
    sync: &Inner,
    user: &UserMark,
    device: &DeviceId,
    up_to: Position,
) -> Result<(), SyncError> {
    let confirmed = {
        let mut given = user.given.lock();
        match given.get(device) {
            // Nothing is known from before the user was loaded: there may be something to delete.
            None => true,
            Some(None) => false,
            Some(Some(last)) => *last <= up_to,
        }
        .then(|| given.insert(device.to_owned(), None))
        .is_some()
    };
    if confirmed {
        sync.sources.devices.delete_to_device(&user.user_id, device, up_to).await?;
    }
    Ok(())
}
