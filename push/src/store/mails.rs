//! When each email pusher wrote about which room.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, RoomId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Position, Range, ReadError, Store, Table, Versioned};

use super::OutboxStore;

const PAGE: usize = 1000;

/// How long a room is not written about again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Throttle {
    /// In milliseconds.
    pub(crate) mailed_ts: u64,
    /// In milliseconds, from then on.
    pub(crate) pause_ms: u64,
}

impl Versioned for Throttle {
    const VERSION: u8 = 1;
    type Previous = First;
}

struct Throttles;

impl Table for Throttles {
    const NAME: &'static str = "push_mail_throttles";
    /// Id of the pusher.
    type Partition = u64;
    /// Room.
    type Sort = String;
    type Value = Throttle;
}

/// What a mail changes.
#[derive(Debug, Default)]
pub(crate) struct Mailed {
    /// Of the outbox.
    pub(crate) settled: Vec<Position>,
    pub(crate) throttles: BTreeMap<OwnedRoomId, Throttle>,
    /// Rooms of which the throttle no longer matters.
    pub(crate) calm: Vec<OwnedRoomId>,
}

/// The named operations on what was mailed.
#[derive(Clone)]
pub(crate) struct MailStore(pub(crate) Store);

impl MailStore {
    pub(crate) async fn throttles(
        &self,
        pusher: u64,
    ) -> Result<BTreeMap<OwnedRoomId, Throttle>, ReadError> {
        let rows = self.0.scan::<Throttles>(pusher, Range::all()).await?;
        let known =
            |(room, throttle): (String, Throttle)| Some((RoomId::parse(room).ok()?, throttle));
        Ok(rows.into_iter().filter_map(|row| known((row.sort, row.value))).collect())
    }

    /// Durable on return.
    pub(crate) async fn commit(&self, pusher: u64, mailed: &Mailed) -> Result<(), CommitError> {
        let mut batch = Batch::new();
        OutboxStore::settle_all(&mut batch, pusher, &mailed.settled);
        for room in &mailed.calm {
            batch.derive_delete::<Throttles>(pusher, room.as_str());
        }
        for (room, throttle) in &mailed.throttles {
            batch.derive_put::<Throttles>(pusher, room.as_str(), throttle);
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.0.commit(batch).await.map(drop)
    }

    /// Of a pusher that is no more.
    pub(crate) async fn clear(&self, pusher: u64) -> Result<(), rooms::Error> {
        loop {
            let rows = self.0.scan::<Throttles>(pusher, Range::all().limit(PAGE)).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::new();
            for row in &rows {
                batch.derive_delete::<Throttles>(pusher, &row.sort);
            }
            self.0.commit(batch).await?;
        }
    }
}
