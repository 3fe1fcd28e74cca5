//! Third-party identifiers of an account ([spec]): by them a user may log in, and have a new
//! password.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information

use ruma::{OwnedUserId, UserId};

use crate::{
    Accounts, StoreError, ValidatedEmail, email_address::EmailAddress, store::ThreepidRecord,
};

pub(crate) const EMAIL: &str = "email";
const THREEPIDS_PER_USER_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Threepid {
    pub medium: String,
    pub address: String,
    /// Milliseconds since the epoch.
    pub validated_at: u64,
    /// Milliseconds since the epoch.
    pub added_at: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AddThreepidError {
    /// M_THREEPID_AUTH_FAILED.
    #[error("the address has not been confirmed")]
    NotValidated,
    /// M_THREEPID_IN_USE.
    #[error("the address is that of another account")]
    InUse,
    /// M_LIMIT_EXCEEDED would tell a client to wait; M_THREEPID_DENIED does not.
    #[error("the account has {THREEPIDS_PER_USER_MAX} addresses already")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The form in which an address of a medium is kept. `None`: it cannot be one of ours.
fn canonical(medium: &str, address: &str) -> Option<String> {
    if medium != EMAIL {
        return None;
    }
    EmailAddress::parse(address).map(|address| address.as_str().to_owned())
}

impl Accounts {
    pub async fn threepids(&self, user_id: &UserId) -> Result<Vec<Threepid>, StoreError> {
        let rows = self.inner.store.user_threepids(user_id).await?;
        let threepids = rows.into_iter().map(|((medium, address), record)| Threepid {
            medium,
            address,
            validated_at: record.validated_ts,
            added_at: record.added_ts,
        });
        Ok(threepids.collect())
    }

    /// The account that has the address, in whatever case it is written.
    pub async fn threepid_owner(
        &self,
        medium: &str,
        address: &str,
    ) -> Result<Option<OwnedUserId>, StoreError> {
        let Some(address) = canonical(medium, address) else { return Ok(None) };
        let record = self.inner.store.threepid(medium, &address).await?;
        Ok(record.map(|record| record.user_id))
    }

    /// Adds the address that was confirmed in a session for this purpose, which is spent.
    pub async fn add_threepid(
        &self,
        user_id: &UserId,
        sid: &str,
        client_secret: &str,
    ) -> Result<(), AddThreepidError> {
        let email = self.validated_for_account(sid, client_secret);
        let email = email.ok_or(AddThreepidError::NotValidated)?;
        self.add_email(user_id, &email).await?;
        self.spend_email_session(sid);
        Ok(())
    }

    /// Adds an address that was confirmed in the course of a registration.
    pub async fn add_email(
        &self,
        user_id: &UserId,
        email: &ValidatedEmail,
    ) -> Result<(), AddThreepidError> {
        let inner = &self.inner;
        let added = {
            let _lock = inner.lock(user_id).await;
            let user = inner.store.latest_user(user_id).await?;
            if user.is_none_or(|user| user.deactivated) {
                return Err(AddThreepidError::NotValidated);
            }
            let _threepids = inner.threepids.lock().await;
            match inner.store.latest_threepid(EMAIL, &email.address).await? {
                Some(owner) if owner.user_id == user_id => None,
                Some(_) => return Err(AddThreepidError::InUse),
                None => {
                    let kept = inner.store.user_threepids(user_id).await?.len();
                    if kept >= THREEPIDS_PER_USER_MAX {
                        return Err(AddThreepidError::TooMany);
                    }
                    let record = self.threepid_record(user_id, email);
                    Some(inner.store.put_threepid(EMAIL, &email.address, &record)?)
                }
            }
        };
        match added {
            Some(added) => drop(added.await.map_err(StoreError::from)?),
            None => inner.store.barrier().await?,
        }
        Ok(())
    }

    pub(crate) fn threepid_record(
        &self,
        user_id: &UserId,
        email: &ValidatedEmail,
    ) -> ThreepidRecord {
        ThreepidRecord {
            user_id: user_id.to_owned(),
            validated_ts: email.validated_at,
            added_ts: self.inner.clock.now_ms(),
        }
    }

    /// `false` if the account does not have the address. It is durably gone on return.
    pub async fn delete_threepid(
        &self,
        user_id: &UserId,
        medium: &str,
        address: &str,
    ) -> Result<bool, StoreError> {
        let Some(address) = canonical(medium, address) else { return Ok(false) };
        let inner = &self.inner;
        let deleted = {
            let _lock = inner.lock(user_id).await;
            let _threepids = inner.threepids.lock().await;
            let owner = inner.store.latest_threepid(medium, &address).await?;
            if owner.is_none_or(|owner| owner.user_id != user_id) {
                return Ok(false);
            }
            inner.store.delete_threepids(user_id, &[(medium.to_owned(), address)])?
        };
        deleted.await?;
        Ok(true)
    }

    /// Under the user's lock, so that none is added in between.
    pub(crate) async fn submit_forgetting_threepids(
        &self,
        user_id: &UserId,
    ) -> Result<Option<storage::Pending>, StoreError> {
        let inner = &self.inner;
        // Those that were added last may not be on disk yet.
        inner.store.barrier().await?;
        let _threepids = inner.threepids.lock().await;
        let rows = inner.store.user_threepids(user_id).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let keys: Vec<_> = rows.into_iter().map(|(key, _)| key).collect();
        inner.store.delete_threepids(user_id, &keys).map(Some)
    }
}
