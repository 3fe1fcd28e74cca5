//! Users: registration, look-up, deactivation.

use ruma::{OwnedUserId, UserId};
use storage::CommitError;

use crate::{
    Accounts, EndSessions, ExternalIdentity, StoreError, UsernameError, ValidatedEmail,
    store::{ProfileRecord, UserRecord},
    threepids::EMAIL,
    username,
};

const DRAWN_LOCALPART_CHARS: usize = 16;

/// One account of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub user_id: OwnedUserId,
    pub guest: bool,
    pub admin: bool,
    pub deactivated: bool,
    /// Cannot be used until the lock is taken off.
    pub locked: bool,
    /// May read, but not act.
    pub suspended: bool,
    pub has_password: bool,
    pub created_ts: u64,
    /// Raised when the password changes or the account ends; a session is only created for the
    /// epoch in which the user proved who they are.
    pub(crate) epoch: u32,
}

impl User {
    pub(crate) fn new(user_id: &UserId, record: &UserRecord) -> Self {
        Self {
            user_id: user_id.to_owned(),
            guest: record.guest,
            admin: record.admin,
            deactivated: record.deactivated,
            locked: record.locked,
            suspended: record.suspended,
            has_password: record.password.is_some(),
            created_ts: record.created_ts,
            epoch: record.epoch,
        }
    }
}

#[derive(Clone, Default)]
pub struct NewUser<'a> {
    /// Upper case is lowered. `None`: one is drawn.
    pub localpart: Option<&'a str>,
    pub password: Option<&'a str>,
    pub guest: bool,
    pub admin: bool,
    /// Spent if the registration succeeds.
    pub registration_token: Option<&'a str>,
    /// Made by an application service, whose names may begin with `_`.
    pub by_appservice: bool,
    /// An address that the account has from the beginning.
    pub email: Option<&'a ValidatedEmail>,
    /// The identity by which the user comes from now on.
    pub identity: Option<&'a ExternalIdentity>,
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error(transparent)]
    InvalidUsername(#[from] UsernameError),
    #[error("the user name is taken")]
    UserInUse,
    /// M_WEAK_PASSWORD, or too many hashes at a time.
    #[error(transparent)]
    Password(#[from] crate::PasswordError),
    #[error("the registration token is not valid")]
    RegistrationToken,
    #[error("the email address is that of another account")]
    EmailInUse,
    #[error("the identity is that of another account")]
    IdentityInUse,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Deployed clients show a name, and deployed servers give everybody one to begin with.
fn first_profile(user_id: &UserId, guest: bool) -> ProfileRecord {
    let mut profile = ProfileRecord::default();
    if !guest {
        let name = serde_json::to_string(user_id.localpart()).expect("text serialises");
        profile.fields.insert("displayname".to_owned(), name);
    }
    profile
}

/// What became of a name, and of an address.
enum Created {
    Yes,
    NameTaken,
    EmailTaken,
    IdentityTaken,
}

impl Accounts {
    pub async fn register(&self, user: NewUser<'_>) -> Result<User, RegisterError> {
        let inner = &self.inner;
        let user_id = match user.localpart {
            Some(localpart) if user.by_appservice => {
                username::user_id(localpart, &inner.server_name)?
            }
            Some(localpart) => username::new_user_id(localpart, &inner.server_name)?,
            None => username::new_user_id(
                &inner.rng.alphanumeric(DRAWN_LOCALPART_CHARS),
                &inner.server_name,
            )?,
        };
        // Before the costly hash; the commit below decides.
        if inner.store.user(&user_id).await?.is_some() {
            return Err(RegisterError::UserInUse);
        }
        let password = match user.password {
            Some(password) => Some(self.hash_new_password(password).await?),
            None => None,
        };
        if let Some(token) = user.registration_token
            && !self.spend_registration_token(token).await?
        {
            return Err(RegisterError::RegistrationToken);
        }
        let record = UserRecord {
            password,
            guest: user.guest,
            admin: user.admin,
            created_ts: inner.clock.now_ms(),
            ..UserRecord::default()
        };
        let taken = match self.create_user(&user_id, &record, &user).await? {
            Created::Yes => return Ok(User::new(&user_id, &record)),
            Created::NameTaken => RegisterError::UserInUse,
            Created::EmailTaken => RegisterError::EmailInUse,
            Created::IdentityTaken => RegisterError::IdentityInUse,
        };
        if let Some(token) = user.registration_token {
            self.give_back_registration_token(token).await?;
        }
        Err(taken)
    }

    /// Makes an account of a guest, who keeps their name and rooms. Their sessions end, since a
    /// session says whether it is a guest's.
    pub async fn upgrade_guest(
        &self,
        user_id: &UserId,
        password: Option<&str>,
    ) -> Result<User, RegisterError> {
        let password = match password {
            Some(password) => Some(self.hash_new_password(password).await?),
            None => None,
        };
        let (record, upgraded) = {
            let _lock = self.inner.lock(user_id).await;
            let record = self.inner.store.latest_user(user_id).await?;
            let Some(mut record) = record.filter(|record| record.guest && !record.deactivated)
            else {
                return Err(RegisterError::UserInUse);
            };
            (record.guest, record.password) = (false, password);
            let upgraded = self.submit_epoch(user_id, record.clone(), EndSessions::All)?;
            record.epoch += 1;
            (record, upgraded)
        };
        upgraded.await.map_err(StoreError::from)?;
        Ok(User::new(user_id, &record))
    }

    async fn create_user(
        &self,
        user_id: &UserId,
        record: &UserRecord,
        new: &NewUser<'_>,
    ) -> Result<Created, StoreError> {
        let store = &self.inner.store;
        let created = {
            // A record that is going to be refused must not be seen by those who read ahead.
            let _lock = self.inner.lock(user_id).await;
            if store.latest_user(user_id).await?.is_some() {
                return Ok(Created::NameTaken);
            }
            let _threepids = self.inner.threepids.lock().await;
            let mut threepid = None;
            if let Some(email) = new.email {
                if store.latest_threepid(EMAIL, &email.address).await?.is_some() {
                    return Ok(Created::EmailTaken);
                }
                threepid = Some((email.address.as_str(), self.threepid_record(user_id, email)));
            }
            let mut _identities = None;
            if let Some(identity) = new.identity {
                _identities = Some(self.inner.identities.lock().await);
                if store.latest_identity(identity).await?.is_some() {
                    return Ok(Created::IdentityTaken);
                }
            }
            let profile = first_profile(user_id, record.guest);
            let created =
                store.create_user(user_id, record, &profile, threepid.as_ref(), new.identity);
            let created = created.map_err(StoreError::from)?;
            // Nobody of this name was there, and somebody may have looked.
            self.inner.profiles.remove(user_id);
            created
        };
        match created.await {
            Ok(_) => Ok(Created::Yes),
            Err(CommitError::Condition) => Ok(Created::NameTaken),
            Err(error) => Err(StoreError::from(error)),
        }
    }

    /// Whether `localpart` could be registered now.
    pub async fn is_available(&self, localpart: &str) -> Result<(), RegisterError> {
        let user_id = username::new_user_id(localpart, &self.inner.server_name)?;
        match self.inner.store.user(&user_id).await? {
            Some(_) => Err(RegisterError::UserInUse),
            None => Ok(()),
        }
    }

    pub async fn user(&self, user_id: &UserId) -> Result<Option<User>, StoreError> {
        let record = self.inner.store.user(user_id).await?;
        Ok(record.map(|record| User::new(user_id, &record)))
    }

    /// Ends the account and all its sessions, and forgets its addresses. The name stays taken.
    /// `erase` forgets the profile.
    /// `false` if there is no such user.
    pub async fn deactivate(&self, user_id: &UserId, erase: bool) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let mut erased = None;
        let (forgotten, ended) = {
            let _lock = inner.lock(user_id).await;
            let Some(mut record) = inner.store.latest_user(user_id).await? else {
                return Ok(false);
            };
            record.deactivated = true;
            record.erased |= erase;
            record.password = None;
            if erase {
                inner.profiles.remove(user_id);
                let before = inner.store.latest_profile(user_id).await?;
                let gone: Vec<_> = before.fields.keys().map(String::as_str).collect();
                let gone = if gone.is_empty() { vec!["displayname"] } else { gone };
                let empty = ProfileRecord::default();
                erased = Some(inner.store.put_profile(user_id, &empty, &gone).await?);
            }
            let forgotten = self.submit_forgetting_threepids(user_id).await?;
            (forgotten, self.submit_epoch(user_id, record, EndSessions::All)?)
        };
        for earlier in erased.into_iter().chain(forgotten) {
            earlier.await?;
        }
        ended.await?;
        Ok(true)
    }

    /// `false` if there is no such user.
    pub async fn set_admin(&self, user_id: &UserId, admin: bool) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let changed = {
            let _lock = inner.lock(user_id).await;
            let Some(mut record) = inner.store.latest_user(user_id).await? else {
                return Ok(false);
            };
            record.admin = admin;
            inner.sessions.set_admin(user_id, admin);
            inner.store.update_user(user_id, &record)?
        };
        changed.await?;
        Ok(true)
    }

    /// A change of who the user is: sessions that were begun before it and are not spared end in
    /// the same write. Under the user's lock.
    pub(crate) fn submit_epoch(
        &self,
        user_id: &UserId,
        mut record: UserRecord,
        end: EndSessions,
    ) -> Result<storage::Pending, StoreError> {
        record.epoch += 1;
        let ended = match end {
            EndSessions::None => Vec::new(),
            EndSessions::AllExcept(spared) => self.inner.sessions.end_all(user_id, Some(spared.0)),
            EndSessions::All => self.inner.sessions.end_all(user_id, None),
        };
        self.inner.store.update_user_and_end_sessions(user_id, &record, &ended)
    }
}
