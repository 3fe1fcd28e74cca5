//! Passwords: Argon2id off the async threads, a bounded number at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use ruma::UserId;
use tokio::sync::Semaphore;

use crate::{Accounts, Config, EndSessions, StoreError, User, store::UserRecord};

const LENGTH_MAX: usize = 512;
/// The minimum that OWASP recommends: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Wrong password, no password, or no such user: not told apart.
    #[error("the user name or the password is wrong")]
    Wrong,
    #[error("the account has been deactivated")]
    Deactivated,
    #[error("the password is shorter than {0} bytes")]
    TooShort(usize),
    #[error("the password is longer than {0} bytes")]
    TooLong(usize),
    /// Too many passwords are being checked: try again in a moment.
    #[error("too many passwords are being checked")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Each hash takes 19 MiB and a core, so that a crowd of logins must not take the machine.
#[derive(Debug)]
pub(crate) struct PasswordHashing {
    parallel: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &[u8], salt: &[u8]) -> String {
    argon2()
        .hash_password_with_salt(password, salt)
        .expect("password and salt have lengths that Argon2 takes")
        .to_string()
}

fn verify(password: &[u8], stored: &str) -> bool {
    PasswordHash::new(stored)
        .is_ok_and(|stored| argon2().verify_password(password, &stored).is_ok())
}

/// Whether a hash was made with other parameters than today's.
fn is_outdated(stored: &str) -> bool {
    !stored.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
}

impl PasswordHashing {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            parallel: Arc::new(Semaphore::new(config.password_hashes_parallel.max(1))),
            waiting: AtomicUsize::new(0),
            waiting_max: config.password_hashes_parallel.max(1) + config.password_hashes_queued,
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let place = Place::take(self).ok_or(PasswordError::Busy)?;
        let permit = Arc::clone(&self.parallel).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            // Released when the work ends, even if nobody waits for it any more.
            let _permit = permit;
            work()
        });
        let result = done.await.map_err(|_| PasswordError::Busy);
        drop(place);
        result
    }
}

/// One that hashes or waits to.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(hashing: &'a PasswordHashing) -> Option<Self> {
        let place = Self(&hashing.waiting);
        (hashing.waiting.fetch_add(1, Relaxed) < hashing.waiting_max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Accounts {
    /// Whether a new password would be accepted.
    pub fn check_password_policy(&self, password: &str) -> Result<(), PasswordError> {
        let shortest = self.inner.config.password_length_min;
        if password.len() < shortest {
            return Err(PasswordError::TooShort(shortest));
        }
        if password.len() > LENGTH_MAX {
            return Err(PasswordError::TooLong(LENGTH_MAX));
        }
        Ok(())
    }

    pub async fn check_password(
        &self,
        user_id: &UserId,
        password: &str,
    ) -> Result<User, PasswordError> {
        if password.len() > LENGTH_MAX {
            return Err(PasswordError::Wrong);
        }
        let inner = &self.inner;
        let record = inner.store.user(user_id).await?;
        let stored = record.as_ref().and_then(|record| record.password.clone());
        let given = password.as_bytes().to_vec();
        // An unknown user costs the same, so that the time does not tell who exists.
        let salt = inner.rng.bytes::<16>();
        let checked = stored.clone();
        let matches = inner.hashing.run(move || match checked {
            Some(stored) => verify(&given, &stored),
            None => {
                let _same_cost = hash(&given, &salt);
                false
            }
        });
        let matches = matches.await?;
        match (record, stored) {
            (Some(record), _) if record.deactivated => Err(PasswordError::Deactivated),
            (Some(record), Some(stored)) if matches => {
                if is_outdated(&stored) {
                    self.rehash(user_id, &stored, password).await?;
                }
                Ok(User::new(user_id, &record))
            }
            _ => Err(PasswordError::Wrong),
        }
    }

    /// Fails, and takes as long as with a user: for a name that leads to nobody.
    pub async fn check_password_of_nobody(&self, password: &str) -> PasswordError {
        if password.len() > LENGTH_MAX {
            return PasswordError::Wrong;
        }
        let (password, salt) = (password.as_bytes().to_vec(), self.inner.rng.bytes::<16>());
        let hashed = self.inner.hashing.run(move || hash(&password, &salt)).await;
        hashed.err().unwrap_or(PasswordError::Wrong)
    }

    /// `end`: which sessions end with the change.
    pub async fn set_password(
        &self,
        user_id: &UserId,
        password: &str,
        end: EndSessions,
    ) -> Result<(), PasswordError> {
        let hash = self.hash_new_password(password).await?;
        let inner = &self.inner;
        let changed = {
            let _lock = inner.lock(user_id).await;
            let record = inner.store.latest_user(user_id).await?.ok_or(PasswordError::Wrong)?;
            if record.deactivated {
                return Err(PasswordError::Deactivated);
            }
            let record = UserRecord { password: Some(hash), ..record };
            self.submit_epoch(user_id, record, end)?
        };
        changed.await.map_err(StoreError::from)?;
        Ok(())
    }

    pub(crate) async fn hash_new_password(&self, password: &str) -> Result<String, PasswordError> {
        self.check_password_policy(password)?;
        let (password, salt) = (password.as_bytes().to_vec(), self.inner.rng.bytes::<16>());
        self.inner.hashing.run(move || hash(&password, &salt)).await
    }

    /// The parameters have risen since: the password is at hand now, so use them.
    async fn rehash(
        &self,
        user_id: &UserId,
        outdated: &str,
        password: &str,
    ) -> Result<(), PasswordError> {
        let (password, salt) = (password.as_bytes().to_vec(), self.inner.rng.bytes::<16>());
        let renewed = self.inner.hashing.run(move || hash(&password, &salt)).await?;
        let _lock = self.inner.lock(user_id).await;
        if let Some(mut record) = self.inner.store.latest_user(user_id).await?
            && record.password.as_deref() == Some(outdated)
        {
            record.password = Some(renewed);
            // Not waited for: the old hash is as good until the next login.
            drop(self.inner.store.update_user(user_id, &record)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{hash, is_outdated, verify};

    #[test]
    fn a_hash_verifies_its_password_only() {
        let stored = hash(b"correct horse", b"0123456789abcdef");
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(!is_outdated(&stored));
        assert!(verify(b"correct horse", &stored));
        assert!(!verify(b"correct horsf", &stored));
        assert!(!verify(b"", &stored));
        assert!(!verify(b"correct horse", "not a hash"));
    }

    #[test]
    fn other_parameters_are_outdated() {
        assert!(is_outdated("$argon2id$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$aGFzaA"));
    }
}
