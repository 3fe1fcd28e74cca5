//! Read receipts: public, private, per thread.

use ruma::{
    EventId, OwnedEventId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
};
use storage::{Batch, CommitError, Fact, Position, Range};

use crate::{
    Error, EventStatus, ReceiptFact, Rooms, StoredEvent,
    store::{ReceiptKeyRecord, ReceiptRecord, Receipts, ReceiptsByPosition},
    stream,
};

/// Receipts of one room that are read at once.
const MAX_RECEIPTS: usize = 50_000;
/// Of one user in one room: one per thread.
const MAX_OWN_RECEIPTS: usize = 5000;
/// Two devices may move the same receipt at the same moment; more often is no accident.
const ATTEMPTS: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct NewReceipt<'a> {
    pub room_id: &'a RoomId,
    pub user: &'a UserId,
    /// `m.read`, `m.read.private` or a vendor's.
    pub kind: &'a str,
    pub event_id: &'a EventId,
    /// `main` or the id of a thread's root; unset: unthreaded.
    pub thread: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub user_id: OwnedUserId,
    pub kind: String,
    pub thread: Option<String>,
    pub event_id: OwnedEventId,
    /// Of the event.
    pub event_position: Position,
    pub ts: u64,
    /// When the receipt was set, on the log.
    pub position: Position,
}

impl Receipt {
    fn new(user_id: OwnedUserId, kind: String, thread: String, record: ReceiptRecord) -> Self {
        let ReceiptRecord { event_id, event_position, ts, position } = record;
        let thread = (!thread.is_empty()).then_some(thread);
        Self { user_id, kind, thread, event_id, event_position, ts, position }
    }
}

impl Rooms {
    /// Moves a receipt forward. One that would move back is ignored.
    pub async fn set_receipt(&self, receipt: NewReceipt<'_>) -> Result<(), Error> {
        let NewReceipt { room_id, user, event_id, .. } = receipt;
        if self.membership(user, room_id).await? != Some(MembershipState::Join) {
            return Err(Error::NotJoined);
        }
        let event = self.event_by_id(event_id).await?.filter(|event| {
            event.pdu.room_id() == room_id && event.status == EventStatus::Accepted
        });
        let event = event.ok_or(Error::NotFound("the event"))?;
        self.check_thread(&receipt, &event).await?;
        for _ in 0..ATTEMPTS {
            match self.move_receipt(&receipt, event.position).await {
                Err(CommitOutcome::Overtaken) => continue,
                Err(CommitOutcome::Failed(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        Err(Error::Internal("a receipt is being moved all the time".to_owned()))
    }

    /// Every receipt of the room, private ones included: the caller shows those only to their user.
    pub async fn receipts(&self, room: &RoomId) -> Result<Vec<Receipt>, Error> {
        let range = Range::all().limit(MAX_RECEIPTS);
        let rows = self.inner.store.scan::<Receipts>(room, range).await?;
        Ok(rows.into_iter().filter_map(from_row).collect())
    }

    /// Receipts that were set with `after < position <= up_to`.
    pub async fn receipts_since(
        &self,
        room: &RoomId,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<Receipt>, Error> {
        let range = Range::after(after).up_to(up_to).limit(MAX_RECEIPTS);
        let rows = self.inner.store.scan::<ReceiptsByPosition>(room, range).await?;
        let mut receipts = Vec::with_capacity(rows.len());
        for ReceiptKeyRecord { user, kind, thread } in rows.into_iter().map(|row| row.value) {
            let record = self.inner.store.get::<Receipts>(room, (&user, &kind, &thread)).await?;
            // One that has moved on meanwhile is news of a later moment.
            let record = record.filter(|record| record.position <= up_to);
            receipts.extend(record.map(|record| Receipt::new(user, kind, thread, record)));
        }
        Ok(receipts)
    }

    /// The user's own receipts in the room, public and private.
    pub async fn own_receipts(&self, user: &UserId, room: &RoomId) -> Result<Vec<Receipt>, Error> {
        let range = Range::prefix((&user,)).limit(MAX_OWN_RECEIPTS);
        let rows = self.inner.store.scan::<Receipts>(room, range).await?;
        Ok(rows.into_iter().filter_map(from_row).collect())
    }

    /// "The `thread_id` is invalid in some way", such as "The `event_id` is not related to the
    /// `thread_id`".
    async fn check_thread(
        &self,
        receipt: &NewReceipt<'_>,
        event: &StoredEvent,
    ) -> Result<(), Error> {
        let Some(thread) = receipt.thread else { return Ok(()) };
        if thread.is_empty() {
            return Err(Error::InvalidParam("`thread_id` must not be empty".to_owned()));
        }
        let is_in_thread = match self.thread_of(event).await? {
            Some(root) => root == thread,
            None => thread == "main" || thread == receipt.event_id || relates_to(event, thread),
        };
        if is_in_thread {
            Ok(())
        } else {
            Err(Error::InvalidParam("the event is not part of the thread".to_owned()))
        }
    }

    async fn move_receipt(
        &self,
        receipt: &NewReceipt<'_>,
        event_position: Position,
    ) -> Result<(), CommitOutcome> {
        let NewReceipt { room_id, user, kind, event_id, thread } = *receipt;
        let thread = thread.unwrap_or_default();
        let sort = (&user, &kind, &thread);
        let store = &self.inner.store;
        let old = store.get::<Receipts>(room_id, sort).await?;
        if old.as_ref().is_some_and(|old| old.event_position >= event_position) {
            return Ok(());
        }
        let ts = self.inner.clock.now_ms();
        let key = ReceiptKeyRecord {
            user: user.to_owned(),
            kind: kind.to_owned(),
            thread: thread.to_owned(),
        };
        let pending = store.submit_with(|position| {
            let mut batch = Batch::new();
            match &old {
                None => batch.if_absent::<Receipts>(room_id, sort),
                Some(old) => batch
                    .delete::<ReceiptsByPosition>(room_id, old.position)
                    .if_equal::<Receipts>(room_id, sort, old),
            };
            let event_id = event_id.to_owned();
            let record = ReceiptRecord { event_id, event_position, ts, position };
            batch.put::<Receipts>(room_id, sort, &record);
            batch.put::<ReceiptsByPosition>(room_id, position, &key);
            batch.fact(fact(receipt));
            Ok::<_, CommitError>(batch)
        })?;
        pending.await?;
        Ok(())
    }
}

/// Why a receipt was not moved.
enum CommitOutcome {
    /// Somebody else moved it at the same time.
    Overtaken,
    Failed(Error),
}

impl From<CommitError> for CommitOutcome {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Condition => Self::Overtaken,
            error => Self::Failed(error.into()),
        }
    }
}

impl From<storage::ReadError> for CommitOutcome {
    fn from(error: storage::ReadError) -> Self {
        Self::Failed(error.into())
    }
}

fn fact(receipt: &NewReceipt<'_>) -> Fact {
    let payload = ReceiptFact {
        user_id: receipt.user.to_owned(),
        kind: receipt.kind.to_owned(),
        thread: receipt.thread.unwrap_or_default().to_owned(),
        event_id: receipt.event_id.to_owned(),
    };
    Fact {
        stream: stream::RECEIPT,
        subject: receipt.room_id.as_str().into(),
        payload: payload.to_payload(),
    }
}

fn from_row(row: storage::Row<Receipts>) -> Option<Receipt> {
    let (user, kind, thread) = row.sort;
    Some(Receipt::new(UserId::parse(user).ok()?, kind, thread, row.value))
}

/// What relates to a thread's root in another way is in the main timeline, but is seen with the
/// thread too.
fn relates_to(event: &StoredEvent, root: &str) -> bool {
    crate::relations::relation_of(event).is_some_and(|(_, parent)| parent == root)
}
