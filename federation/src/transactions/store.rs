//! The last transaction of each server and its answer: a server repeats one until it is answered
//! before it sends the next.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use storage::{First, Table, Versioned};

pub(super) struct Answers;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AnswerRecord {
    pub(super) txn_id: String,
    pub(super) answer: Bytes,
}

impl Versioned for AnswerRecord {
    const VERSION: u8 = 1;
    type Previous = First;
}

impl Table for Answers {
    const NAME: &'static str = "federation_answers";
    const READ_AHEAD: bool = true;
    /// Origin.
    type Partition = String;
    type Sort = ();
    type Value = AnswerRecord;
}
