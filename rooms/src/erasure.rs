//! Users who were erased ([spec]): "any users which join the room after the erasure request are
//! served redacted copies of the events sent by this account. Users which had visibility on those
//! events prior to the erasure are still able to see unredacted copies."
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate

use ruma::UserId;
use storage::Batch;

use crate::{Error, Rooms, rooms::Inner, store::ErasedUsers};

impl Rooms {
    /// From now on, who was not in the room for an event of the user sees what a redaction would
    /// leave of it, and so does every other server that asks. For good: the account has ended.
    pub async fn erase_user(&self, user: &UserId) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put::<ErasedUsers>(user, (), &());
        self.inner.store.commit(batch).await?;
        Ok(())
    }
}

impl Inner {
    pub(crate) async fn is_erased(&self, user: &UserId) -> Result<bool, Error> {
        Ok(self.store.get::<ErasedUsers>(user, ()).await?.is_some())
    }
}
