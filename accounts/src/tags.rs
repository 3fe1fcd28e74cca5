//! Room tags: kept as the room account data `m.tag`.

use std::collections::BTreeMap;

use ruma::{RoomId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{AccountDataError, Accounts, StoreError};

const TAG: &str = "m.tag";
const TAG_BYTES_MAX: usize = 255;
const CONTENT_BYTES_MAX: usize = 65_536;

#[derive(Default, Serialize, Deserialize)]
struct Tags {
    #[serde(default)]
    tags: BTreeMap<String, Box<RawValue>>,
}

impl Tags {
    /// A client may have set `m.tag` as account data, to anything: what is not tags is none.
    fn parse(content: Option<&str>) -> Self {
        content.and_then(|content| serde_json::from_str(content).ok()).unwrap_or_default()
    }
}

impl Accounts {
    pub async fn tags(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
    ) -> Result<BTreeMap<String, Box<RawValue>>, StoreError> {
        let content = self.account_data(user_id, Some(room_id), TAG).await?;
        Ok(Tags::parse(content.as_deref().map(RawValue::get)).tags)
    }

    /// `info` is an object, such as `{"order": 0.5}`.
    pub async fn set_tag(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        tag: &str,
        info: &RawValue,
    ) -> Result<(), AccountDataError> {
        if tag.len() > TAG_BYTES_MAX {
            return Err(AccountDataError::TooLarge);
        }
        if !info.get().trim_ascii_start().starts_with('{') {
            return Err(AccountDataError::NotAnObject);
        }
        let more = tag.len() + info.get().len();
        self.check_space(user_id, Some(room_id), TAG, |before| before + more).await?;
        self.change_tags(user_id, room_id, |tags| {
            tags.insert(tag.to_owned(), info.to_owned());
        })
        .await
    }

    pub async fn delete_tag(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        tag: &str,
    ) -> Result<(), AccountDataError> {
        self.change_tags(user_id, room_id, |tags| {
            tags.remove(tag);
        })
        .await
    }

    pub(crate) async fn change_tags(
        &self,
        user_id: &UserId,
        room_id: &RoomId,
        change: impl FnOnce(&mut BTreeMap<String, Box<RawValue>>) + Send,
    ) -> Result<(), AccountDataError> {
        let change = |content: Option<&str>| {
            let mut tags = Tags::parse(content);
            change(&mut tags.tags);
            let content = to_raw_value(&tags).expect("text and raw JSON serialise");
            if content.get().len() > CONTENT_BYTES_MAX {
                return Err(AccountDataError::TooLarge);
            }
            Ok(Some(content))
        };
        self.change_account_data(user_id, Some(room_id), TAG, change).await?;
        Ok(())
    }
}
