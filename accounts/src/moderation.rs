//! What an administrator does about an account short of ending it ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#account-moderation

use ruma::UserId;

use crate::{Accounts, StoreError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// The account cannot be used, but nothing of it is lost: its sessions wait.
    Locked,
    /// The account may be read, and may not act on others.
    Suspended,
}

impl Accounts {
    /// Takes effect at once, on open connections too. `false` if there is no such user, or the
    /// account has ended.
    pub async fn set_restriction(
        &self,
        user_id: &UserId,
        restriction: Restriction,
        restricted: bool,
    ) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let changed = {
            let _lock = inner.lock(user_id).await;
            let record = inner.store.latest_user(user_id).await?;
            let Some(mut record) = record.filter(|record| !record.deactivated) else {
                return Ok(false);
            };
            match restriction {
                Restriction::Locked => record.locked = restricted,
                Restriction::Suspended => record.suspended = restricted,
            }
            inner.sessions.set_restrictions(user_id, record.locked, record.suspended);
            inner.store.update_user(user_id, &record)?
        };
        changed.await?;
        Ok(true)
    }
}
