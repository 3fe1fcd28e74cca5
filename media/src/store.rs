//! The tables of this crate. Nothing else here names one.

use ruma::{ServerName, UserId};
use serde::{Deserialize, Serialize};
use storage::{Batch, CommitError, First, Range, Store, Table, Versioned};

use crate::{error::Error, thumbnails::Size};

/// Ids that were given out and not used, all users together; the store refuses none, so whoever
/// gives them out does.
const PENDING_PAGE: usize = 1000;

/// Content that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MediaRecord {
    /// `None` for content of another server.
    pub(crate) uploader: Option<String>,
    pub(crate) created_ts: u64,
    pub(crate) content_type: Option<String>,
    pub(crate) filename: Option<String>,
    pub(crate) file: String,
    pub(crate) bytes: u64,
}

impl Versioned for MediaRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By server and media id, one row.
struct MediaTable;

impl Table for MediaTable {
    const NAME: &'static str = "media";
    type Partition = (String, String);
    type Sort = ();
    type Value = MediaRecord;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ThumbnailRecord {
    pub(crate) content_type: String,
    pub(crate) file: String,
    pub(crate) bytes: u64,
}

impl Versioned for ThumbnailRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By server and media id, by width, height and method.
struct ThumbnailsTable;

impl Table for ThumbnailsTable {
    const NAME: &'static str = "media_thumbnails";
    type Partition = (String, String);
    type Sort = (u32, u32, u8);
    type Value = ThumbnailRecord;
}

/// A file that a row of the tables above names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub(crate) bytes: u64,
    /// XXH3, to find damage; it proves nothing to anybody.
    pub(crate) checksum: u64,
}

impl Versioned for FileRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// By file name, one row.
pub(crate) struct FilesTable;

impl Table for FilesTable {
    const NAME: &'static str = "media_files";
    type Partition = String;
    type Sort = ();
    type Value = FileRecord;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PendingRecord {
    expires_ts: u64,
}

impl Versioned for PendingRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

/// Ids that wait for content, by user and media id.
struct PendingTable;

impl Table for PendingTable {
    const NAME: &'static str = "media_pending";
    type Partition = ();
    type Sort = (String, String);
    type Value = PendingRecord;
}

/// A file that is whole and on the disk.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
}

impl StoredFile {
    fn record(&self) -> FileRecord {
        FileRecord { bytes: self.bytes, checksum: self.checksum }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MediaStore(pub(crate) Store);

impl MediaStore {
    pub(crate) async fn media(
        &self,
        server: &ServerName,
        media_id: &str,
    ) -> Result<Option<MediaRecord>, Error> {
        Ok(self.0.get::<MediaTable>((&server, &media_id), ()).await?)
    }

    /// Fails with [`Error::CannotOverwrite`] if there is content under the id.
    pub(crate) async fn add(
        &self,
        server: &ServerName,
        media_id: &str,
        file: &StoredFile,
        record: &MediaRecord,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.if_absent::<MediaTable>((&server, &media_id), ());
        batch.put::<MediaTable>((&server, &media_id), (), record);
        batch.derive_put::<FilesTable>(&file.name, (), &file.record());
        if let Some(uploader) = &record.uploader {
            batch.derive_delete::<PendingTable>((), (uploader, &media_id));
        }
        match self.0.commit(batch).await {
            Err(CommitError::Condition) => Err(Error::CannotOverwrite),
            other => Ok(other.map(drop)?),
        }
    }

    pub(crate) async fn thumbnail(
        &self,
        server: &ServerName,
        media_id: &str,
        size: Size,
    ) -> Result<Option<ThumbnailRecord>, Error> {
        Ok(self.0.get::<ThumbnailsTable>((&server, &media_id), size.key()).await?)
    }

    pub(crate) async fn add_thumbnail(
        &self,
        server: &ServerName,
        media_id: &str,
        size: Size,
        file: &StoredFile,
        content_type: &str,
    ) -> Result<(), Error> {
        let content_type = content_type.to_owned();
        let record = ThumbnailRecord { content_type, file: file.name.clone(), bytes: file.bytes };
        let mut batch = Batch::new();
        batch.put::<ThumbnailsTable>((&server, &media_id), size.key(), &record);
        batch.derive_put::<FilesTable>(&file.name, (), &file.record());
        self.0.commit(batch).await?;
        Ok(())
    }

    pub(crate) async fn knows_file(&self, name: &str) -> Result<bool, Error> {
        Ok(self.0.get::<FilesTable>(&name, ()).await?.is_some())
    }

    /// `(user, media id, when it expires)`.
    pub(crate) async fn pending(&self) -> Result<Vec<(String, String, u64)>, Error> {
        let mut found = Vec::new();
        let mut range = Range::all().limit(PENDING_PAGE);
        loop {
            let rows = self.0.scan::<PendingTable>((), range).await?;
            let (full, last) =
                (rows.len() == PENDING_PAGE, rows.last().map(|row| row.sort.clone()));
            found
                .extend(rows.into_iter().map(|row| (row.sort.0, row.sort.1, row.value.expires_ts)));
            let (true, Some((user, media_id))) = (full, last) else { return Ok(found) };
            range = Range::after((&user, &media_id)).limit(PENDING_PAGE);
        }
    }

    pub(crate) async fn add_pending(
        &self,
        user: &UserId,
        media_id: &str,
        expires_ts: u64,
        expired: &[String],
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.put::<PendingTable>((), (&user, &media_id), &PendingRecord { expires_ts });
        for media_id in expired {
            batch.delete::<PendingTable>((), (&user, &media_id));
        }
        self.0.commit(batch).await?;
        Ok(())
    }
}
