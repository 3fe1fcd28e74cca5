//! Forgets connections that nobody will come back to: of devices that are gone, and those that were
//! not used for days.

use std::sync::Arc;

use devices::stream::{DEVICE_LIST, DeviceListFact};
use ruma::UserId;
use storage::{Follower, LoggedFact};
use tokio::time::{Instant, sleep_until};

use super::{connections::UNUSED_DAYS_MAX, store};
use crate::{SyncError, service::Inner};

/// Connections that are deleted at a time.
const PAGE: usize = 100;

/// The follower begins where the process does: what ended just before the end of the last one goes
/// by its age.
pub(crate) async fn run(sync: Arc<Inner>, mut follower: Follower) {
    let mut next_sweep = Instant::now();
    loop {
        let done = tokio::select! {
            facts = follower.next() => match facts {
                Ok(Some(facts)) => forget_devices(&sync, &facts).await,
                Ok(None) => return,
                Err(error) => Err(error.into()),
            },
            () = sleep_until(next_sweep) => {
                next_sweep = Instant::now() + sync.config.expiry_interval;
                sweep(&sync).await
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "connections of sliding sync are not cleaned up");
            // Whoever watches the store ends a process whose store has failed.
            sleep_until(next_sweep).await;
        }
    }
}

async fn forget_devices(sync: &Inner, facts: &[LoggedFact]) -> Result<(), SyncError> {
    for fact in facts.iter().map(|logged| &logged.fact) {
        if fact.stream != DEVICE_LIST {
            continue;
        }
        let change = DeviceListFact::decode(&fact.payload).filter(|change| change.deleted);
        let (Some(change), Ok(user)) = (change, <&UserId>::try_from(&*fact.subject)) else {
            continue;
        };
        let device = Some(change.device_id.as_str());
        for (key, record) in store::of(&sync.sources.store, user, device).await? {
            sync.sliding.connections.forget(sync, &key, record.used_day)?;
        }
    }
    Ok(())
}

async fn sweep(sync: &Inner) -> Result<(), SyncError> {
    let today = store::day_of(sync.clock.now_ms());
    let first_kept = today.saturating_sub(UNUSED_DAYS_MAX);
    loop {
        let old = store::used_before(&sync.sources.store, first_kept, PAGE).await?;
        for (key, used_day) in &old {
            sync.sliding.connections.expire(sync, key, *used_day).await?;
        }
        if old.len() < PAGE {
            return Ok(());
        }
        // What was deleted must not be found again.
        sync.sources
            .store
            .barrier()
            .wait()
            .await
            .map_err(|e| SyncError::Internal(e.to_string()))?;
    }
}
