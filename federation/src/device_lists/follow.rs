//! Forgets lists of users with whom no room is shared any more: nobody tells this server what
//! changes from then on.

use std::time::Duration;

use rooms::{RoomEventFact, stream};
use ruma::{RoomId, UserId, events::room::member::MembershipState};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, LoggedFact, Position, ReadError, Table, Versioned};

use super::DeviceLists;

/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);
/// Facts after which the position is written. They are looked at again after a crash, which changes
/// nothing but that some lists are fetched once more.
const CHECKPOINT: u64 = 1000;
/// Members of a room that are looked at when the last of ours leaves it.
const MEMBERS_MAX: usize = 50_000;

/// How far the log was followed.
struct Followed;

#[derive(Debug, Serialize, Deserialize)]
struct FollowedRecord {
    position: Position,
}

impl Versioned for FollowedRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Followed {
    const NAME: &'static str = "federation_device_lists_followed";
    type Partition = u32;
    type Sort = ();
    type Value = FollowedRecord;
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
    #[error(transparent)]
    Devices(#[from] devices::StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl DeviceLists {
    /// Follows from `now` if the log never was followed, however early this process ends.
    pub(super) fn begin(&self, now: Position) {
        let mut batch = Batch::new();
        batch.if_absent::<Followed>(0, ());
        batch.put::<Followed>(0, (), &FollowedRecord { position: now });
        if let Err(error) = self.inner.store.submit(batch) {
            tracing::error!(%error, "where the log is followed from cannot be written");
        }
    }

    /// `now`: where the log ended at the start.
    pub(super) async fn follow_log(self, now: Position) {
        let mut written = loop {
            match self.start_of_log(now).await {
                Ok(position) => break position,
                Err(error) => tracing::error!(%error, "the position in the log cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let mut follower = self.inner.store.follow(written);
        loop {
            let facts = match follower.next().await {
                Ok(Some(facts)) => facts,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the log cannot be read");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            for fact in facts.iter() {
                while let Err(error) = self.look_at(fact).await {
                    tracing::error!(%error, "whose devices to follow is unknown");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            let Some(last) = facts.last().map(|fact| fact.position) else { continue };
            if last >= written + CHECKPOINT {
                match self.write(last).await {
                    Ok(()) => written = last,
                    Err(error) => tracing::error!(%error, "the position cannot be written"),
                }
            }
        }
    }

    async fn start_of_log(&self, now: Position) -> Result<Position, Problem> {
        if let Some(record) = self.inner.store.get::<Followed>(0, ()).await? {
            return Ok(record.position);
        }
        self.write(now).await?;
        Ok(now)
    }

    async fn write(&self, position: Position) -> Result<(), Problem> {
        let mut batch = Batch::new();
        batch.put::<Followed>(0, (), &FollowedRecord { position });
        self.inner.store.commit(batch).await?;
        Ok(())
    }

    async fn look_at(&self, logged: &LoggedFact) -> Result<(), Problem> {
        if logged.fact.stream != stream::EVENT {
            return Ok(());
        }
        let Some((user, MembershipState::Leave | MembershipState::Ban)) =
            RoomEventFact::from_fact(&logged.fact).and_then(|fact| fact.membership)
        else {
            return Ok(());
        };
        let Ok(room) = RoomId::parse(&*logged.fact.subject) else { return Ok(()) };
        let own = self.inner.rooms.server_name();
        if user.server_name() != own {
            return self.parted(&user, &room).await;
        }
        let Some(view) = self.inner.rooms.room(&room).await? else { return Ok(()) };
        if !view.local_joined.is_empty() {
            return Ok(());
        }
        for member in self.inner.rooms.joined_users(&room, MEMBERS_MAX).await? {
            if member.server_name() != own {
                self.parted(&member, &room).await?;
            }
        }
        Ok(())
    }

    /// A user of another server and ours are not together in the room any more. They may be by the
    /// time that this runs: what they have from before is as old as the rest.
    async fn parted(&self, user: &UserId, room: &RoomId) -> Result<(), Problem> {
        let devices = &self.inner.devices;
        if devices.remote_list(user).await?.is_some() && !self.shares_room(user, Some(room)).await?
        {
            devices.forget_remote_list(user).await?;
        }
        Ok(())
    }
}
