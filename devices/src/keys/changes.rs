//! Whose devices or keys changed since a position, for `device_lists` and `/keys/changes`.
//!
//! Each user is in the order once, at their newest change: it costs what changed, not what is there.

use ruma::{OwnedUserId, UserId};
use storage::Position;

use crate::{Devices, StoreError};

impl Devices {
    /// Users, local and followed, whose devices or public cross-signing keys changed after `after`,
    /// up to and including `up_to`, by their newest change, oldest first.
    pub async fn changed_device_lists(
        &self,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, OwnedUserId)>, StoreError> {
        if after >= up_to {
            return Ok(Vec::new());
        }
        self.inner.store.changed_lists(after, up_to, limit).await
    }

    /// Users whose keys look different to `user_id` alone since `after`: they signed them, or they
    /// are their own user-signing key.
    pub async fn changed_for(
        &self,
        user_id: &UserId,
        after: Position,
    ) -> Result<Vec<OwnedUserId>, StoreError> {
        self.inner.store.changed_for(user_id, after).await
    }
}
