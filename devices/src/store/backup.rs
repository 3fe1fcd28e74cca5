//! The tables of key backups, all in the user's partition.

use bytes::Bytes;
use ruma::{RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use storage::{Batch, First, Pending, Range, Table, Versioned};

use super::{DeviceStore, PAGE, StoreError};
use crate::backup::{BackupContents, BackupScope, BackupSessions, BackupVersion};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupRecord {
    pub(crate) algorithm: String,
    /// JSON.
    pub(crate) auth_data: String,
    pub(crate) count: u64,
    pub(crate) etag: u64,
}

impl Versioned for BackupRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl BackupRecord {
    pub(crate) fn new(algorithm: &str, auth_data: &RawValue) -> Self {
        let (algorithm, auth_data) = (algorithm.to_owned(), auth_data.get().to_owned());
        Self { algorithm, auth_data, count: 0, etag: 0 }
    }

    pub(crate) fn contents(&self) -> BackupContents {
        BackupContents { count: self.count, etag: self.etag }
    }

    pub(crate) fn into_version(self, version: u64) -> Option<BackupVersion> {
        let contents = self.contents();
        let auth_data = RawValue::from_string(self.auth_data).ok()?;
        Some(BackupVersion { version, algorithm: self.algorithm, auth_data, contents })
    }
}

/// By user and version.
struct BackupsTable;

impl Table for BackupsTable {
    const NAME: &'static str = "key_backups";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = u64;
    type Value = BackupRecord;
}

/// Which versions a user has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupHead {
    /// That ever was: numbers are not used again.
    pub(crate) highest: u64,
    pub(crate) current: Option<u64>,
}

impl Versioned for BackupHead {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By user.
struct BackupHeadsTable;

impl Table for BackupHeadsTable {
    const NAME: &'static str = "key_backup_heads";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = ();
    type Value = BackupHead;
}

/// By user, version, room and session: `KeyBackupData`, JSON.
struct SessionsTable;

impl Table for SessionsTable {
    const NAME: &'static str = "key_backup_sessions";
    const READ_AHEAD: bool = true;
    type Partition = String;
    type Sort = (u64, String, String);
    type Value = Bytes;
}

fn range(version: u64, scope: BackupScope<'_>) -> Range<(u64, String, String)> {
    match scope {
        BackupScope::All => Range::prefix((version,)),
        BackupScope::Room(room_id) => Range::prefix((version, &room_id)),
        BackupScope::Session(room_id, session_id) => {
            let key = (version, &room_id, &session_id);
            Range::from(key).up_to(key)
        }
    }
}

impl DeviceStore {
    pub(crate) async fn backup_head(&self, user_id: &UserId) -> Result<BackupHead, StoreError> {
        Ok(self.0.get::<BackupHeadsTable>(&user_id, ()).await?.unwrap_or_default())
    }

    pub(crate) async fn latest_backup_head(
        &self,
        user_id: &UserId,
    ) -> Result<BackupHead, StoreError> {
        Ok(self.0.get_latest::<BackupHeadsTable>(&user_id, ()).await?.unwrap_or_default())
    }

    pub(crate) async fn backup(
        &self,
        user_id: &UserId,
        version: u64,
    ) -> Result<Option<BackupRecord>, StoreError> {
        Ok(self.0.get::<BackupsTable>(&user_id, version).await?)
    }

    pub(crate) async fn latest_backup(
        &self,
        user_id: &UserId,
        version: u64,
    ) -> Result<Option<BackupRecord>, StoreError> {
        Ok(self.0.get_latest::<BackupsTable>(&user_id, version).await?)
    }

    /// Under the user's lock. `created` if the version is a new one.
    pub(crate) fn put_backup(
        &self,
        user_id: &UserId,
        version: u64,
        record: &BackupRecord,
        created: Option<u64>,
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<BackupsTable>(&user_id, version, record);
        if let Some(version) = created {
            let head = BackupHead { highest: version, current: Some(version) };
            batch.put::<BackupHeadsTable>(&user_id, (), &head);
        }
        Ok(self.0.submit(batch)?)
    }

    /// Under the user's lock.
    pub(crate) async fn delete_backup(
        &self,
        user_id: &UserId,
        version: u64,
    ) -> Result<Pending, StoreError> {
        let mut head = self.latest_backup_head(user_id).await?;
        if head.current == Some(version) {
            head.current = None;
            for before in (1..version).rev() {
                if self.latest_backup(user_id, before).await?.is_some() {
                    head.current = Some(before);
                    break;
                }
            }
        }
        let mut batch = Batch::new();
        batch.delete::<BackupsTable>(&user_id, version);
        batch.put::<BackupHeadsTable>(&user_id, (), &head);
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn latest_backup_session(
        &self,
        user_id: &UserId,
        version: u64,
        (room_id, session_id): (&str, &str),
    ) -> Result<Option<Bytes>, StoreError> {
        let key = (version, &room_id, &session_id);
        Ok(self.0.get_latest::<SessionsTable>(&user_id, key).await?)
    }

    /// Under the user's lock.
    pub(crate) fn put_backup_sessions(
        &self,
        user_id: &UserId,
        version: u64,
        record: &BackupRecord,
        sessions: &[((&str, &str), Bytes)],
    ) -> Result<Pending, StoreError> {
        let mut batch = Batch::new();
        batch.put::<BackupsTable>(&user_id, version, record);
        for ((room_id, session_id), session) in sessions {
            batch.put::<SessionsTable>(&user_id, (version, room_id, session_id), session);
        }
        Ok(self.0.submit(batch)?)
    }

    pub(crate) async fn backup_sessions(
        &self,
        user_id: &UserId,
        version: u64,
        scope: BackupScope<'_>,
    ) -> Result<BackupSessions, StoreError> {
        let mut sessions = BackupSessions::new();
        for row in self.0.scan::<SessionsTable>(&user_id, range(version, scope)).await? {
            let (_, room_id, session_id) = row.sort;
            let (Ok(room_id), Ok(session)) =
                (RoomId::parse(room_id), serde_json::from_slice(&row.value))
            else {
                continue;
            };
            sessions.entry(room_id).or_default().insert(session_id, session);
        }
        Ok(sessions)
    }

    /// Returns how many there were on the disk.
    pub(crate) async fn delete_backup_sessions(
        &self,
        user_id: &UserId,
        version: u64,
        scope: BackupScope<'_>,
    ) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let rows = range(version, scope).limit(PAGE);
            let rows = self.0.scan::<SessionsTable>(&user_id, rows).await?;
            let mut batch = Batch::new();
            for row in &rows {
                let (_, room_id, session_id) = &row.sort;
                batch.delete::<SessionsTable>(&user_id, (version, room_id, session_id));
            }
            if batch.is_empty() {
                return Ok(deleted);
            }
            self.0.commit(batch).await?;
            deleted += rows.len() as u64;
            if rows.len() < PAGE {
                return Ok(deleted);
            }
        }
    }
}
