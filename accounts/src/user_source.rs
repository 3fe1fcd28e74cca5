//! Users who are made when they are asked for.

use std::{future::Future, pin::Pin, sync::Arc};

use ruma::UserId;

use crate::{Accounts, StoreError, User};

/// Dropping it cancels the question.
pub type UserFuture<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Whoever may make a user of this server that nobody has made yet; what this crate needs of
/// application services.
pub trait UserSource: Send + Sync {
    /// Whether the user exists now. Bounded in time.
    fn make<'a>(&'a self, user_id: &'a UserId) -> UserFuture<'a>;
}

impl Accounts {
    /// Says who is asked. Only the first call counts.
    pub fn set_user_source(&self, source: Arc<dyn UserSource>) {
        let _first_counts = self.inner.user_source.set(source);
    }

    /// As [`user`](Self::user), and asks for one of this server whom there is not yet: for what
    /// others do to a user, such as an invite. May take as long as a request to elsewhere.
    pub async fn find_user(&self, user_id: &UserId) -> Result<Option<User>, StoreError> {
        let known = self.user(user_id).await?;
        if known.is_some() || !self.is_local(user_id) {
            return Ok(known);
        }
        match self.inner.user_source.get() {
            Some(source) if source.make(user_id).await => self.user(user_id).await,
            _ => Ok(None),
        }
    }
}
