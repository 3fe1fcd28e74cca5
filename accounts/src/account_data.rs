//! Account data: what a user's clients keep here, for the whole account or for one room.

use std::sync::Arc;

use ruma::{EventId, OwnedRoomId, RoomId, UserId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use storage::Position;

use crate::{Accounts, StoreError, push_rules::PUSH_RULES, store::AccountDataRow};

const FULLY_READ: &str = "m.fully_read";
const TYPE_BYTES_MAX: usize = 255;
/// `m.direct` of a busy user is far smaller.
pub(crate) const CONTENT_BYTES_MAX: usize = 1 << 20;
/// Of one user, for all rooms: an initial sync carries it. A user of thousands of rooms has a few short
/// rows for each.
const USER_BYTES_MAX: u64 = 32 << 20;
const USER_ROWS_MAX: u64 = 100_000;

#[derive(Serialize)]
struct FullyRead<'a> {
    event_id: &'a EventId,
}

#[derive(Clone, Debug)]
pub struct AccountDataEvent {
    /// `None` for global account data.
    pub room_id: Option<OwnedRoomId>,
    pub event_type: String,
    /// `{}` once deleted.
    pub content: Arc<RawValue>,
    pub position: Position,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountDataError {
    /// M_BAD_JSON with 405: `m.fully_read` and `m.push_rules` have endpoints of their own.
    #[error("{0} cannot be set here")]
    ServerManaged(&'static str),
    #[error("account data must be a JSON object")]
    NotAnObject,
    #[error("the account data is too large")]
    TooLarge,
    #[error("this user keeps too much account data: delete some of it")]
    TooMuch,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Types with endpoints of their own.
const SERVER_MANAGED: [&str; 2] = [FULLY_READ, PUSH_RULES];

fn check(event_type: &str, content: &RawValue) -> Result<(), AccountDataError> {
    let content = content.get();
    if event_type.len() > TYPE_BYTES_MAX || content.len() > CONTENT_BYTES_MAX {
        return Err(AccountDataError::TooLarge);
    }
    if !content.trim_ascii_start().starts_with('{') {
        return Err(AccountDataError::NotAnObject);
    }
    Ok(())
}

fn is_empty(content: &RawValue) -> bool {
    let inside = content.get().trim_ascii().strip_prefix('{');
    inside.is_some_and(|inside| inside.trim_ascii_start().starts_with('}'))
}

fn not_managed(event_type: &str) -> Result<(), AccountDataError> {
    match SERVER_MANAGED.iter().find(|managed| **managed == event_type) {
        Some(managed) => Err(AccountDataError::ServerManaged(managed)),
        None => Ok(()),
    }
}

fn raw(json: String) -> Arc<RawValue> {
    let value = RawValue::from_string(json).expect("only JSON is stored");
    Arc::from(value)
}

impl AccountDataEvent {
    fn new(row: AccountDataRow) -> Self {
        Self {
            room_id: row.room_id,
            event_type: row.event_type,
            content: raw(row.record.content),
            position: row.record.position,
        }
    }
}

impl Accounts {
    /// `m.push_rules` is there even if the user never changed it.
    pub async fn account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
    ) -> Result<Option<Arc<RawValue>>, StoreError> {
        let record = self.inner.store.account_data(user_id, room_id, event_type).await?;
        let record = record.filter(|record| !record.deleted);
        if record.is_none() && room_id.is_none() && event_type == PUSH_RULES {
            return Ok(Some(self.default_push_rules(user_id)));
        }
        Ok(record.map(|record| raw(record.content)))
    }

    /// An empty object deletes what is there: "if a client `PUT`s `{}` for account data, that must be
    /// seen equivalent" (MSC3391). It is a change all the same, which clients wait to hear of.
    pub async fn set_account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
        content: &RawValue,
    ) -> Result<Position, AccountDataError> {
        not_managed(event_type)?;
        check(event_type, content)?;
        self.check_space(user_id, room_id, event_type, |_| content.get().len()).await?;
        let content = (!is_empty(content)).then(|| content.to_owned());
        let change = |_: Option<&str>| Ok(content);
        self.change_account_data(user_id, room_id, event_type, change).await
    }

    /// Whether the user may keep so many bytes in this place, in which there are some. What others of
    /// their requests write in this moment is not seen, and comes on top.
    pub(crate) async fn check_space(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
        bytes: impl FnOnce(usize) -> usize + Send,
    ) -> Result<(), AccountDataError> {
        let store = &self.inner.store;
        let usage = store.account_data_usage(user_id).await?;
        let previous = store.latest_account_data(user_id, room_id, event_type).await?;
        let before = previous.map(|previous| previous.content.len());
        let after = usage.with(before, bytes(before.unwrap_or(0)));
        let grows = after.bytes > usage.bytes && after.bytes > USER_BYTES_MAX
            || after.rows > usage.rows && after.rows > USER_ROWS_MAX;
        if grows { Err(AccountDataError::TooMuch) } else { Ok(()) }
    }

    /// `m.fully_read` of a room.
    pub async fn set_fully_read(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Position, AccountDataError> {
        let content = to_raw_value(&FullyRead { event_id }).expect("an id serialises");
        let change = |_: Option<&str>| Ok(Some(content));
        self.change_account_data(user_id, Some(room_id), FULLY_READ, change).await
    }

    /// `false` if there was none.
    pub async fn delete_account_data(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
    ) -> Result<bool, AccountDataError> {
        not_managed(event_type)?;
        if self.account_data(user_id, room_id, event_type).await?.is_none() {
            return Ok(false);
        }
        self.change_account_data(user_id, room_id, event_type, |_| Ok::<_, AccountDataError>(None))
            .await?;
        Ok(true)
    }

    /// Reads, changes and stores account data while nobody else can; `change` is given what is
    /// set, and its `None` deletes it.
    pub(crate) async fn change_account_data<E: From<StoreError>>(
        &self,
        user_id: &UserId,
        room_id: Option<&RoomId>,
        event_type: &str,
        change: impl FnOnce(Option<&str>) -> Result<Option<Box<RawValue>>, E>,
    ) -> Result<Position, E> {
        let store = &self.inner.store;
        let changed = {
            let _lock = self.inner.lock(user_id).await;
            let previous = store.latest_account_data(user_id, room_id, event_type).await?;
            let set = previous.as_ref().filter(|previous| !previous.deleted);
            let content = change(set.map(|set| set.content.as_str()))?;
            let content = content.as_deref().map(RawValue::get);
            let usage = store.account_data_usage(user_id).await?;
            let previous = (previous.as_ref(), usage);
            store.put_account_data(user_id, room_id, event_type, previous, content)?
        };
        Ok(changed.await.map_err(StoreError::from)?)
    }

    /// Everything that is set, for an initial sync: global (with `m.push_rules`) and of all rooms.
    pub async fn all_account_data(
        &self,
        user_id: &UserId,
    ) -> Result<Vec<AccountDataEvent>, StoreError> {
        let rows = self.inner.store.all_account_data(user_id).await?;
        let mut events = set_events(rows);
        let is_push_rules =
            |event: &AccountDataEvent| event.room_id.is_none() && event.event_type == PUSH_RULES;
        if !events.iter().any(is_push_rules) {
            events.push(AccountDataEvent {
                room_id: None,
                event_type: PUSH_RULES.to_owned(),
                content: self.default_push_rules(user_id),
                position: 0,
            });
        }
        Ok(events)
    }

    /// Forgets all of it: for an account that has ended and is to be erased.
    pub async fn erase_account_data(&self, user_id: &UserId) -> Result<(), StoreError> {
        self.inner.store.erase_account_data(user_id).await?;
        self.inner.push_rules.remove(user_id);
        Ok(())
    }

    /// What is set for one room.
    pub async fn room_account_data(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
    ) -> Result<Vec<AccountDataEvent>, StoreError> {
        Ok(set_events(self.inner.store.room_account_data(user_id, room_id).await?))
    }

    /// What changed after `after`, up to and including `up_to`, each once, oldest first.
    pub async fn account_data_changes(
        &self,
        user_id: &UserId,
        after: Position,
        up_to: Position,
    ) -> Result<Vec<AccountDataEvent>, StoreError> {
        if after >= up_to {
            return Ok(Vec::new());
        }
        let rows = self.inner.store.account_data_changes(user_id, after, up_to).await?;
        Ok(rows.into_iter().map(AccountDataEvent::new).collect())
    }
}

fn set_events(rows: Vec<AccountDataRow>) -> Vec<AccountDataEvent> {
    let set = rows.into_iter().filter(|row| !row.record.deleted);
    set.map(AccountDataEvent::new).collect()
}
