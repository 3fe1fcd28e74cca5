//! Room tags: kept as the room account data `m.tag`.

use std::collections::BTreeMap;

use ruma::{RoomId, UserId};
use serde_json::value::RawValue;

use crate::{AccountDataError, Accounts, StoreError};

impl Accounts {
    pub async fn tags(
        &self,
        _user_id: &UserId,
        _room_id: &RoomId,
    ) -> Result<BTreeMap<String, Box<RawValue>>, StoreError> {
        unimplemented!()
    }

    pub async fn set_tag(
        &self,
        _user_id: &UserId,
        _room_id: &RoomId,
        _tag: &str,
        _info: &RawValue,
    ) -> Result<(), AccountDataError> {
        unimplemented!()
    }

    pub async fn delete_tag(
        &self,
        _user_id: &UserId,
        _room_id: &RoomId,
        _tag: &str,
    ) -> Result<(), AccountDataError> {
        unimplemented!()
    }
}
