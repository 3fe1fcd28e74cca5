//! Backups of room keys, which clients encrypt ([spec]): versions, one of which is current, and in
//! each the best copy of every session.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma::{OwnedRoomId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Devices, StoreError, store::BackupRecord};

/// `auth_data` of a version, as JSON.
const AUTH_DATA_BYTES_MAX: usize = 64 << 10;
/// A session, as JSON. It is the encrypted form of one key, well below a kilobyte.
const SESSION_BYTES_MAX: usize = 8 << 10;
const ID_BYTES_MAX: usize = 255;
/// Sessions of one version: reading all of them is one answer.
const SESSIONS_MAX: u64 = 200_000;
const VERSIONS_MAX: u64 = 10_000;

/// By room and session id: whole `KeyBackupData`.
pub type BackupSessions = BTreeMap<OwnedRoomId, BTreeMap<String, Box<RawValue>>>;

#[derive(Clone, Debug)]
pub struct BackupVersion {
    pub version: u64,
    pub algorithm: String,
    pub auth_data: Box<RawValue>,
    pub contents: BackupContents,
}

/// What a version holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupContents {
    pub count: u64,
    /// Changes whenever any session does.
    pub etag: u64,
}

/// Which sessions are meant: all, those of a room, or one.
#[derive(Clone, Copy, Debug)]
pub enum BackupScope<'a> {
    All,
    Room(&'a str),
    Session(&'a str, &'a str),
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is no such backup version")]
    NotFound,
    /// M_WRONG_ROOM_KEYS_VERSION.
    #[error("the current backup version is {current}")]
    WrongVersion { current: u64 },
    /// M_INVALID_PARAM.
    #[error("{0}")]
    Invalid(&'static str),
    /// M_BAD_JSON.
    #[error("{0}")]
    Malformed(&'static str),
    /// M_TOO_LARGE.
    #[error("{0}")]
    TooLarge(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What decides between two copies of a session.
#[derive(Deserialize)]
struct Quality {
    first_message_index: u64,
    forwarded_count: u64,
    is_verified: bool,
    #[serde(rename = "session_data")]
    _session_data: serde::de::IgnoredAny,
}

impl Quality {
    fn of(session: &[u8]) -> Option<Self> {
        serde_json::from_slice(session).ok()
    }

    /// "Keys are compared by `is_verified`, then `first_message_index`, then `forwarded_count`."
    fn is_better_than(&self, other: &Self) -> bool {
        let rank = |it: &Self| (!it.is_verified, it.first_message_index, it.forwarded_count);
        rank(self) < rank(other)
    }
}

impl Devices {
    /// Makes a version that becomes the current one. Returns its number.
    pub async fn create_backup(
        &self,
        user_id: &UserId,
        algorithm: &str,
        auth_data: &RawValue,
    ) -> Result<u64, BackupError> {
        check_version(algorithm, auth_data)?;
        let store = &self.inner.store;
        let (version, pending) = {
            let _lock = self.inner.lock(user_id).await;
            let version = store.latest_backup_head(user_id).await?.highest + 1;
            if version > VERSIONS_MAX {
                return Err(BackupError::TooLarge("too many backup versions"));
            }
            let record = BackupRecord::new(algorithm, auth_data);
            (version, store.put_backup(user_id, version, &record, Some(version))?)
        };
        pending.await.map_err(StoreError::from)?;
        Ok(version)
    }

    /// The version, or the current one.
    pub async fn backup(
        &self,
        user_id: &UserId,
        version: Option<u64>,
    ) -> Result<BackupVersion, BackupError> {
        let store = &self.inner.store;
        let version = match version {
            Some(version) => version,
            None => store.backup_head(user_id).await?.current.ok_or(BackupError::NotFound)?,
        };
        let record = store.backup(user_id, version).await?.ok_or(BackupError::NotFound)?;
        record.into_version(version).ok_or(BackupError::NotFound)
    }

    /// Replaces `auth_data`; the algorithm stays.
    pub async fn update_backup(
        &self,
        user_id: &UserId,
        version: u64,
        algorithm: &str,
        auth_data: &RawValue,
    ) -> Result<(), BackupError> {
        check_version(algorithm, auth_data)?;
        let store = &self.inner.store;
        let pending = {
            let _lock = self.inner.lock(user_id).await;
            let record = store.latest_backup(user_id, version).await?;
            let mut record = record.ok_or(BackupError::NotFound)?;
            if record.algorithm != algorithm {
                return Err(BackupError::Invalid("the algorithm of a backup does not change"));
            }
            auth_data.get().clone_into(&mut record.auth_data);
            store.put_backup(user_id, version, &record, None)?
        };
        pending.await.map_err(StoreError::from)?;
        Ok(())
    }

    /// Deletes the version and its sessions. The one before becomes the current one.
    pub async fn delete_backup(&self, user_id: &UserId, version: u64) -> Result<(), BackupError> {
        let store = &self.inner.store;
        let pending = {
            let _lock = self.inner.lock(user_id).await;
            if store.latest_backup(user_id, version).await?.is_none() {
                return Err(BackupError::NotFound);
            }
            store.delete_backup(user_id, version).await?
        };
        pending.await.map_err(StoreError::from)?;
        // Nobody reads or writes them any more.
        store.delete_backup_sessions(user_id, version, BackupScope::All).await?;
        Ok(())
    }

    /// Stores each session that is there in no better copy. The version must be the current one.
    pub async fn back_up_sessions(
        &self,
        user_id: &UserId,
        version: u64,
        sessions: &BackupSessions,
    ) -> Result<BackupContents, BackupError> {
        let store = &self.inner.store;
        let (contents, pending) = {
            let _lock = self.inner.lock(user_id).await;
            let current = store.latest_backup_head(user_id).await?.current;
            let current = current.ok_or(BackupError::NotFound)?;
            if current != version {
                return Err(BackupError::WrongVersion { current });
            }
            let record = store.latest_backup(user_id, version).await?;
            let mut record = record.ok_or(BackupError::NotFound)?;
            let mut better = Vec::new();
            for (room_id, of_room) in sessions {
                for (session_id, session) in of_room {
                    let quality = check_session(session_id, session)?;
                    let key = (room_id.as_str(), session_id.as_str());
                    let before = store.latest_backup_session(user_id, version, key).await?;
                    let known = before.as_ref().and_then(|before| Quality::of(before));
                    if known.is_some_and(|known| !quality.is_better_than(&known)) {
                        continue;
                    }
                    record.count += u64::from(before.is_none());
                    better.push((key, Bytes::copy_from_slice(session.get().as_bytes())));
                }
            }
            if record.count > SESSIONS_MAX {
                return Err(BackupError::TooLarge("too many sessions in the backup"));
            }
            record.etag += u64::from(!better.is_empty());
            let contents = record.contents();
            (contents, store.put_backup_sessions(user_id, version, &record, &better)?)
        };
        pending.await.map_err(StoreError::from)?;
        Ok(contents)
    }

    /// Sessions of the version, by room.
    pub async fn backed_up_sessions(
        &self,
        user_id: &UserId,
        version: u64,
        scope: BackupScope<'_>,
    ) -> Result<BackupSessions, BackupError> {
        let store = &self.inner.store;
        if store.backup(user_id, version).await?.is_none() {
            return Err(BackupError::NotFound);
        }
        Ok(store.backup_sessions(user_id, version, scope).await?)
    }

    pub async fn delete_backed_up_sessions(
        &self,
        user_id: &UserId,
        version: u64,
        scope: BackupScope<'_>,
    ) -> Result<BackupContents, BackupError> {
        let store = &self.inner.store;
        // What is submitted and not yet on the disk would not be found.
        store.barrier().await?;
        let (contents, pending) = {
            let _lock = self.inner.lock(user_id).await;
            let record = store.latest_backup(user_id, version).await?;
            let mut record = record.ok_or(BackupError::NotFound)?;
            let deleted = store.delete_backup_sessions(user_id, version, scope).await?;
            record.count = record.count.saturating_sub(deleted);
            record.etag += u64::from(deleted > 0);
            (record.contents(), store.put_backup(user_id, version, &record, None)?)
        };
        pending.await.map_err(StoreError::from)?;
        Ok(contents)
    }
}

fn check_version(algorithm: &str, auth_data: &RawValue) -> Result<(), BackupError> {
    if algorithm.is_empty() || algorithm.len() > ID_BYTES_MAX {
        return Err(BackupError::Invalid("the algorithm has 1 to 255 bytes"));
    }
    if auth_data.get().len() > AUTH_DATA_BYTES_MAX {
        return Err(BackupError::TooLarge("`auth_data` is larger than 64 KiB"));
    }
    // The specification has objects. But what they mean is the algorithm's affair, and clients that put
    // all of it into one string were never refused.
    if !auth_data.get().starts_with(['{', '"']) {
        return Err(BackupError::Malformed("`auth_data` is an object or a string"));
    }
    Ok(())
}

fn check_session(session_id: &str, session: &RawValue) -> Result<Quality, BackupError> {
    if session_id.is_empty() || session_id.len() > ID_BYTES_MAX {
        return Err(BackupError::Invalid("a session id has 1 to 255 bytes"));
    }
    if session.get().len() > SESSION_BYTES_MAX {
        return Err(BackupError::TooLarge("a session is larger than 8 KiB"));
    }
    let quality = Quality::of(session.get().as_bytes());
    quality.ok_or(BackupError::Malformed("a session lacks a field or has one of another form"))
}
