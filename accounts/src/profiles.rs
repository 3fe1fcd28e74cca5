//! Profiles, with the fields that clients invent (MSC4133).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{OwnedUserId, UserId};
use serde_json::value::RawValue;
use storage::Position;

use crate::{Accounts, StoreError, store::ProfileRecord};

const FIELD_BYTES_MAX: usize = 255;
const PROFILE_BYTES_MAX: usize = 65_536;
const DISPLAYNAME_CHARS_MAX: usize = 256;
const AVATAR_URL_CHARS_MAX: usize = 1000;
const TIME_ZONE_BYTES_MAX: usize = 255;

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

fn is_field_name(field: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    field.starts_with(|first: char| first.is_ascii_lowercase()) && field.bytes().all(allowed)
}

fn check_field_name(field: &str) -> Result<(), ProfileError> {
    if field.len() > FIELD_BYTES_MAX {
        return Err(ProfileError::KeyTooLarge);
    }
    if !is_field_name(field) {
        return Err(ProfileError::Invalid("a profile field's name is a namespaced identifier"));
    }
    Ok(())
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// What is stored for a value: `None` removes the field, as older clients do with empty text.
fn check_value<'a>(field: &str, value: &'a RawValue) -> Result<Option<&'a RawValue>, ProfileError> {
    let checked = match field {
        "displayname" | "avatar_url" => {
            if value.get() == "null" {
                return Ok(None);
            }
            let text = text(value);
            let text = text.ok_or(ProfileError::Invalid("the value must be a string"))?;
            if text.is_empty() {
                return Ok(None);
            }
            let limit =
                if field == "displayname" { DISPLAYNAME_CHARS_MAX } else { AVATAR_URL_CHARS_MAX };
            if text.chars().count() > limit {
                return Err(ProfileError::Invalid("the value is too long"));
            }
            // An avatar should be an `mxc://` URI, but other servers and tools set other ones.
            true
        }
        "m.tz" => text(value).is_some_and(|zone| zone.len() <= TIME_ZONE_BYTES_MAX),
        _ => true,
    };
    if checked {
        Ok(Some(value))
    } else {
        Err(ProfileError::Invalid("the value does not have the form of this field"))
    }
}

/// The length of the profile as JSON.
fn size(profile: &ProfileRecord) -> usize {
    let field = |(field, value): (&String, &String)| field.len() + value.len() + 4;
    profile.fields.iter().map(field).sum::<usize>() + 1
}

impl Profile {
    fn new(record: &ProfileRecord) -> Self {
        let text = |field| {
            let value: Option<&String> = record.fields.get(field);
            value.and_then(|value| serde_json::from_str(value).ok())
        };
        Self { displayname: text("displayname"), avatar_url: text("avatar_url") }
    }
}

impl Accounts {
    /// All fields. `None` if there is no such user, or they are deactivated and erased.
    pub async fn profile_fields(
        &self,
        user_id: &UserId,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        let store = &self.inner.store;
        if store.user(user_id).await?.is_none_or(|user| user.erased) {
            return Ok(None);
        }
        let profile = store.profile(user_id).await?;
        let raw = |(field, value)| Some((field, RawValue::from_string(value).ok()?));
        Ok(Some(profile.fields.into_iter().filter_map(raw).collect()))
    }

    /// Display name and avatar, both empty for an unknown user. Usually from memory.
    pub async fn profile(&self, user_id: &UserId) -> Result<Arc<Profile>, StoreError> {
        let inner = &self.inner;
        if let Some(profile) = inner.profiles.get(user_id) {
            return Ok(profile);
        }
        // Under the lock, so that no older profile is remembered after a change.
        let _lock = inner.lock(user_id).await;
        let profile = Arc::new(Profile::new(&inner.store.latest_profile(user_id).await?));
        inner.profiles.insert(user_id.to_owned(), Arc::clone(&profile));
        Ok(profile)
    }

    /// Local users whose profiles changed after `after`, up to and including `up_to`, by their newest
    /// change, oldest first.
    pub async fn changed_profiles(
        &self,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, OwnedUserId)>, StoreError> {
        if after >= up_to {
            return Ok(Vec::new());
        }
        self.inner.store.changed_profiles(after, up_to, limit).await
    }

    /// The fields of a profile that changed after `after`, those that were removed included. `None`
    /// if that is not known any more: any of them may have.
    pub async fn changed_profile_fields(
        &self,
        user_id: &UserId,
        after: Position,
    ) -> Result<Option<BTreeSet<String>>, StoreError> {
        let moves = self.inner.store.profile_moves(user_id).await?;
        if moves.forgotten > after {
            return Ok(None);
        }
        let changed = moves.fields.into_iter().filter(|(_, position)| *position > after);
        Ok(Some(changed.map(|(field, _)| field).collect()))
    }

    pub async fn set_profile_field(
        &self,
        user_id: &UserId,
        field: &str,
        value: &RawValue,
    ) -> Result<(), ProfileError> {
        check_field_name(field)?;
        if value.get().len() > PROFILE_BYTES_MAX {
            return Err(ProfileError::ProfileTooLarge);
        }
        self.change_profile(user_id, field, check_value(field, value)?).await
    }

    pub async fn delete_profile_field(
        &self,
        user_id: &UserId,
        field: &str,
    ) -> Result<(), ProfileError> {
        check_field_name(field)?;
        self.change_profile(user_id, field, None).await
    }

    async fn change_profile(
        &self,
        user_id: &UserId,
        field: &str,
        value: Option<&RawValue>,
    ) -> Result<(), ProfileError> {
        let inner = &self.inner;
        let changed = {
            let _lock = inner.lock(user_id).await;
            let user = inner.store.latest_user(user_id).await?;
            if user.is_none_or(|user| user.deactivated) {
                return Err(ProfileError::NoUser);
            }
            let mut profile = inner.store.latest_profile(user_id).await?;
            match value {
                Some(value) => profile.fields.insert(field.to_owned(), value.get().to_owned()),
                None => profile.fields.remove(field),
            };
            if value.is_some() && size(&profile) > PROFILE_BYTES_MAX {
                return Err(ProfileError::ProfileTooLarge);
            }
            let changed = inner.store.put_profile(user_id, &profile, &[field]).await?;
            inner.profiles.insert(user_id.to_owned(), Arc::new(Profile::new(&profile)));
            changed
        };
        changed.await.map_err(StoreError::from)?;
        Ok(())
    }
}
