//! Profiles, with the fields that clients invent (MSC4133).

use std::collections::BTreeMap;

use ruma::UserId;
use serde_json::value::RawValue;

use crate::{Accounts, StoreError};

/// What rooms show of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("there is no such user")]
    NoUser,
    /// M_KEY_TOO_LARGE.
    #[error("a profile field's name has at most 255 bytes")]
    KeyTooLarge,
    /// M_PROFILE_TOO_LARGE.
    #[error("a profile has at most 64 KiB")]
    ProfileTooLarge,
    /// M_INVALID_PARAM or M_BAD_JSON.
    #[error("{0}")]
    Invalid(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// All fields. `None` if there is no such user, or the user is deactivated and erased.
    pub async fn profile_fields(
        &self,
        _user_id: &UserId,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        unimplemented!()
    }

    /// Display name and avatar, both empty for an unknown user. Usually from memory.
    pub async fn profile(&self, _user_id: &UserId) -> Result<Profile, StoreError> {
        unimplemented!()
    }

    pub async fn set_profile_field(
        &self,
        _user_id: &UserId,
        _field: &str,
        _value: &RawValue,
    ) -> Result<(), ProfileError> {
        unimplemented!()
    }

    pub async fn delete_profile_field(
        &self,
        _user_id: &UserId,
        _field: &str,
    ) -> Result<(), ProfileError> {
        unimplemented!()
    }
}
