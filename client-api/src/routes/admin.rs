//! `/admin/{whois,suspend,lock}/{userId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#server-administration

use accounts::{Accounts, Restriction, Session, User};
use axum::{
    Router,
    extract::{FromRef, State},
};
use devices::{Device, Devices};
use ruma::{
    UserId,
    api::client::admin::{
        get_user_info, is_user_locked, is_user_suspended, lock_user, suspend_user,
    },
};
use serde_json::{Map, Value, json};

use super::EndpointExt as _;
use crate::{
    error::Error,
    extract::Authed,
    gate::Gate,
    respond::{Matrix, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Devices: FromRef<S>,
{
    Router::new()
        .endpoint::<get_user_info::v3::Request, _, _>(get_user_info)
        .endpoint::<is_user_locked::v1::Request, _, _>(is_user_locked)
        .endpoint::<is_user_suspended::v1::Request, _, _>(is_user_suspended)
        .endpoint::<lock_user::v1::Request, _, _>(lock_user)
        .endpoint::<suspend_user::v1::Request, _, _>(suspend_user)
}

async fn get_user_info(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    Authed { session, req }: Authed<get_user_info::v3::Request>,
) -> Result<RawJson, Error> {
    if session.user_id != req.user_id {
        administrator(&session)?;
    }
    if !accounts.is_local(&req.user_id) {
        return Err(Error::invalid_param("Can only look up users of this server"));
    }
    if accounts.user(&req.user_id).await?.is_none() {
        return Err(Error::not_found("User not found"));
    }
    let devices = devices.list(&req.user_id).await?;
    let devices: Map<String, Value> = devices.into_iter().map(device_info).collect();
    let body = json!({ "user_id": req.user_id, "devices": devices });
    Ok(RawJson(body.to_string().into()))
}

fn device_info(device: Device) -> (String, Value) {
    let connection = json!({
        "ip": device.last_seen_ip,
        "last_seen": device.last_seen_ts,
        "user_agent": device.last_seen_user_agent,
    });
    (device.device_id.into(), json!({ "sessions": [{ "connections": [connection] }] }))
}

fn administrator(session: &Session) -> Result<(), Error> {
    if session.admin {
        return Ok(());
    }
    Err(Error::forbidden("Requesting user is not a server administrator."))
}

/// The account that an administrator asks for. "Servers MUST ensure that authorisation is checked
/// prior to trying to do account lookups."
async fn account(accounts: &Accounts, session: &Session, user_id: &UserId) -> Result<User, Error> {
    administrator(session)?;
    if !accounts.is_local(user_id) {
        return Err(Error::invalid_param("User does not belong to the local server."));
    }
    let user = accounts.user(user_id).await?.filter(|user| !user.deactivated);
    let user = user.ok_or_else(|| Error::not_found("User not found."))?;
    if user.admin {
        return Err(Error::forbidden("Administrators are neither suspended nor locked."));
    }
    Ok(user)
}

async fn restrict(
    accounts: &Accounts,
    session: &Session,
    user_id: &UserId,
    restriction: Restriction,
    restricted: bool,
) -> Result<(), Error> {
    account(accounts, session, user_id).await?;
    if accounts.set_restriction(user_id, restriction, restricted).await? {
        return Ok(());
    }
    Err(Error::not_found("User not found."))
}

async fn is_user_suspended(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<is_user_suspended::v1::Request>,
) -> Result<Matrix<is_user_suspended::v1::Response>, Error> {
    let suspended = account(&accounts, &session, &req.user_id).await?.suspended;
    Ok(Matrix(is_user_suspended::v1::Response { suspended }))
}

async fn suspend_user(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<suspend_user::v1::Request>,
) -> Result<Matrix<suspend_user::v1::Response>, Error> {
    let suspended = req.suspended;
    restrict(&accounts, &session, &req.user_id, Restriction::Suspended, suspended).await?;
    Ok(Matrix(suspend_user::v1::Response { suspended }))
}

async fn is_user_locked(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<is_user_locked::v1::Request>,
) -> Result<Matrix<is_user_locked::v1::Response>, Error> {
    let locked = account(&accounts, &session, &req.user_id).await?.locked;
    Ok(Matrix(is_user_locked::v1::Response { locked }))
}

async fn lock_user(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<lock_user::v1::Request>,
) -> Result<Matrix<lock_user::v1::Response>, Error> {
    let locked = req.locked;
    restrict(&accounts, &session, &req.user_id, Restriction::Locked, locked).await?;
    Ok(Matrix(lock_user::v1::Response { locked }))
}
