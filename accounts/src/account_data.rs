//! Account data: what a user's clients keep here, for the whole account or for one room.

use std::sync::Arc;

use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::value::RawValue;
use storage::Position;

use crate::{Accounts, StoreError};

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
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    pub async fn account_data(
        &self,
        _user_id: &UserId,
        _room_id: Option<&RoomId>,
        _event_type: &str,
    ) -> Result<Option<Arc<RawValue>>, StoreError> {
        unimplemented!()
    }

    pub async fn set_account_data(
        &self,
        _user_id: &UserId,
        _room_id: Option<&RoomId>,
        _event_type: &str,
        _content: &RawValue,
    ) -> Result<Position, AccountDataError> {
        unimplemented!()
    }

    /// `m.fully_read` of a room.
    pub async fn set_fully_read(
        &self,
        _user_id: &UserId,
        _room_id: &RoomId,
        _event_id: &ruma::EventId,
    ) -> Result<Position, AccountDataError> {
        unimplemented!()
    }

    /// `false` if there was none.
    pub async fn delete_account_data(
        &self,
        _user_id: &UserId,
        _room_id: Option<&RoomId>,
        _event_type: &str,
    ) -> Result<bool, AccountDataError> {
        unimplemented!()
    }

    /// Everything that is set, for an initial sync: global (with `m.push_rules`) and of all rooms.
    pub async fn all_account_data(
        &self,
        _user_id: &UserId,
    ) -> Result<Vec<AccountDataEvent>, StoreError> {
        unimplemented!()
    }

    /// What is set for one room.
    pub async fn room_account_data(
        &self,
        _user_id: &UserId,
        _room_id: &RoomId,
    ) -> Result<Vec<AccountDataEvent>, StoreError> {
        unimplemented!()
    }

    /// What changed after `after`, up to and including `up_to`, each once, oldest first.
    pub async fn account_data_changes(
        &self,
        _user_id: &UserId,
        _after: Position,
        _up_to: Position,
    ) -> Result<Vec<AccountDataEvent>, StoreError> {
        unimplemented!()
    }
}
