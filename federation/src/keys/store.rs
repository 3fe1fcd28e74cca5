//! Documents of other servers as they were received, so that a restart need not ask everybody.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storage::{First, Table, Versioned};

pub(super) struct KeyDocuments;

/// A document and the time until which it counts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DocumentRecord {
    pub(super) json: Bytes,
    pub(super) valid_until: u64,
}

impl Versioned for DocumentRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for KeyDocuments {
    const NAME: &'static str = "federation_keys";
    /// Server.
    type Partition = String;
    type Sort = ();
    type Value = DocumentRecord;
}
