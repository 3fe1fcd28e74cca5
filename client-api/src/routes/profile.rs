//! `/_matrix/client/*/profile/{userId}` and its fields ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#profiles

use accounts::{Accounts, ProfileError};
use axum::{
    Router,
    extract::{FromRef, Path, State},
    routing::get,
};
use http::StatusCode;
use rooms::Rooms;
use ruma::{OwnedUserId, UserId, api::client::profile::get_profile};
use serde_json::{Map, Value, value::RawValue};

use super::{EndpointExt as _, membership};
use crate::{
    error::Error,
    extract::{AuthedRaw, Open, json},
    gate::Gate,
    respond::{Empty, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
{
    let mut router = Router::new().endpoint::<get_profile::v3::Request, _, _>(get_profile);
    for version in ["r0", "v3"] {
        router = router.route(
            &format!("/_matrix/client/{version}/profile/{{user_id}}/{{field}}"),
            get(get_profile_field).put(set_profile_field).delete(delete_profile_field),
        );
    }
    router.route(
        "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{field}",
        get(get_profile_field).put(set_profile_field).delete(delete_profile_field),
    )
}

async fn get_profile(
    State(accounts): State<Accounts>,
    Open { req }: Open<get_profile::v3::Request>,
) -> Result<RawJson, Error> {
    let fields = accounts.find_profile(&req.user_id).await?.ok_or_else(unknown)?;
    let body = serde_json::to_vec(&fields).map_err(|error| Error::internal(&error))?;
    Ok(RawJson(body.into()))
}

fn unknown() -> Error {
    Error::not_found("Profile was not found")
}

async fn get_profile_field(
    State(accounts): State<Accounts>,
    Path((user_id, field)): Path<(String, String)>,
) -> Result<RawJson, Error> {
    let user_id = user(&user_id)?;
    let mut fields = accounts.find_profile(&user_id).await?.ok_or_else(unknown)?;
    let body = match fields.remove(&field) {
        Some(value) => one_field(&field, &value)?,
        // These two always existed; clients take an empty object for "not set".
        None if matches!(field.as_str(), "displayname" | "avatar_url") => b"{}".to_vec(),
        None => return Err(Error::not_found(format!("The profile has no field {field:?}"))),
    };
    Ok(RawJson(body.into()))
}

fn one_field(field: &str, value: &RawValue) -> Result<Vec<u8>, Error> {
    let body = std::collections::BTreeMap::from([(field, value)]);
    serde_json::to_vec(&body).map_err(|error| Error::internal(&error))
}

fn user(user_id: &str) -> Result<OwnedUserId, Error> {
    OwnedUserId::try_from(user_id)
        .map_err(|_| Error::invalid_param(format!("{user_id:?} is not a user id")))
}

/// The user of the path, who has to be the one who asks, and the field.
fn own_field(
    session: &accounts::Session,
    path_args: &[String],
) -> Result<(OwnedUserId, String), Error> {
    let [user_id, field] = path_args else { return Err(Error::unrecognized()) };
    let user_id = user(user_id)?;
    if user_id != session.user_id {
        return Err(Error::forbidden("You may only change your own profile"));
    }
    Ok((user_id, field.clone()))
}

async fn set_profile_field(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    gate.may_act(&session)?;
    let (user_id, field) = own_field(&session, &path_args)?;
    let mut body: Map<String, Value> = json(&body)?;
    let value = match body.remove(&field) {
        Some(value) => value,
        // Clients unset the two old fields by leaving them out.
        None if matches!(field.as_str(), "displayname" | "avatar_url") => Value::Null,
        None => return Err(Error::missing_param(format!("The field {field:?} is missing"))),
    };
    if value.is_null() && matches!(field.as_str(), "displayname" | "avatar_url") {
        accounts.delete_profile_field(&user_id, &field).await?;
    } else {
        let value = serde_json::value::to_raw_value(&value).map_err(|e| Error::internal(&e))?;
        accounts.set_profile_field(&user_id, &field, &value).await?;
    }
    tell_rooms(&accounts, &rooms, &user_id, &field).await?;
    Ok(Empty)
}

async fn delete_profile_field(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    gate.may_act(&session)?;
    let (user_id, field) = own_field(&session, &path_args)?;
    accounts.delete_profile_field(&user_id, &field).await?;
    tell_rooms(&accounts, &rooms, &user_id, &field).await?;
    Ok(Empty)
}

/// Member events carry the name and the avatar.
async fn tell_rooms(
    accounts: &Accounts,
    rooms: &Rooms,
    user_id: &UserId,
    field: &str,
) -> Result<(), Error> {
    if matches!(field, "displayname" | "avatar_url") {
        let profile = membership::profile(accounts, user_id).await?;
        rooms.set_profile_in_rooms(user_id, &profile).await?;
    }
    Ok(())
}

impl From<ProfileError> for Error {
    fn from(error: ProfileError) -> Self {
        let text = error.to_string();
        let bad = |errcode| Self::new(StatusCode::BAD_REQUEST, errcode, text.clone());
        match error {
            ProfileError::NoUser => Self::not_found(text),
            ProfileError::KeyTooLarge => bad("M_KEY_TOO_LARGE"),
            ProfileError::ProfileTooLarge => bad("M_PROFILE_TOO_LARGE"),
            ProfileError::Invalid(_) => Self::invalid_param(text),
            ProfileError::Store(error) => error.into(),
        }
    }
}
