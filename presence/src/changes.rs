//! What changed, in order, for readers that come back.

use std::collections::{HashSet, VecDeque};

use parking_lot::Mutex;
use ruma::OwnedUserId;
use tokio::sync::broadcast;

use crate::user::UserPresence;

/// Changes that a reader may lag behind before it has to ask for what it missed.
const CHANNEL: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    pub user_id: OwnedUserId,
    /// Volatile: counts from 1 at each start of the process.
    pub sequence: u64,
}

/// The change log no longer reaches back that far: read everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change log does not reach back that far")]
pub struct ChangeLogGap;

#[derive(Debug)]
struct Kept {
    sequence: u64,
    user_id: OwnedUserId,
    presence: UserPresence,
}

#[derive(Debug, Default)]
struct Log {
    sequence: u64,
    kept: VecDeque<Kept>,
}

#[derive(Debug)]
pub(crate) struct Changes {
    log: Mutex<Log>,
    capacity: usize,
    tail: broadcast::Sender<PresenceChange>,
}

impl Changes {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { log: Mutex::default(), capacity, tail: broadcast::channel(CHANNEL).0 }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<PresenceChange> {
        self.tail.subscribe()
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.log.lock().sequence
    }

    pub(crate) fn push(&self, user_id: &OwnedUserId, presence: UserPresence) {
        let mut log = self.log.lock();
        log.sequence += 1;
        let sequence = log.sequence;
        if log.kept.len() >= self.capacity {
            log.kept.pop_front();
        }
        log.kept.push_back(Kept { sequence, user_id: user_id.clone(), presence });
        // Under the lock, so that the channel has the order of the log.
        let _nobody = self.tail.send(PresenceChange { user_id: user_id.clone(), sequence });
    }

    pub(crate) fn since(
        &self,
        sequence: u64,
    ) -> Result<Vec<(OwnedUserId, UserPresence)>, ChangeLogGap> {
        let log = self.log.lock();
        let floor = log.sequence - log.kept.len() as u64;
        if sequence < floor || sequence > log.sequence {
            return Err(ChangeLogGap);
        }
        let mut seen = HashSet::new();
        let newer = log.kept.iter().rev().take_while(|kept| kept.sequence > sequence);
        let mut latest: Vec<_> = newer
            .filter(|kept| seen.insert(&kept.user_id))
            .map(|kept| (kept.user_id.clone(), kept.presence.clone()))
            .collect();
        latest.reverse();
        Ok(latest)
    }
}
