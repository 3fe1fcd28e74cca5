//! Forgets lists of users with whom no room is shared any more: nobody tells this server what
//! changes from then on.

use std::time::Duration;

use rooms::{RoomEventFact, stream};
use ruma::{RoomId, UserId, events::room::member::MembershipState};
use storage::{Consumer, LoggedFact};

use super::DeviceLists;

/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);
/// Members of a room that are looked at when the last of ours leaves it.
const MEMBERS_MAX: usize = 50_000;

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Rooms(#[from] rooms::Error),
    #[error(transparent)]
    Devices(#[from] devices::StoreError),
}

impl DeviceLists {
    pub(super) async fn follow_log(self, mut log: Consumer) {
        while let Some(facts) = log.next().await {
            for fact in facts.iter() {
                while let Err(error) = self.look_at(fact).await {
                    tracing::error!(%error, "whose devices to follow is unknown");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
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
