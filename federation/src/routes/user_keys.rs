//! `POST /user/keys/query`, `/user/keys/claim`: keys of devices of this server's users.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::post,
};
use devices::keys::{KeysClaim, KeysQuery};
use ruma::{OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::json;

use super::{RawJson, json};
use crate::{error::Error, extract::Signed, inbound::Inbound};

/// Users of one request. A server asks for the users of one room of its own, some at a time.
const USERS_MAX: usize = 10_000;
/// Devices named in one request. Whoever wants to know of more names none.
const DEVICES_MAX: usize = 10_000;
/// Keys claimed in one request; each costs a row and a part of a flush.
const CLAIMS_MAX: usize = 10_000;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .route("/_matrix/federation/v1/user/keys/query", post(query_user_encryption_keys))
        .route("/_matrix/federation/v1/user/keys/claim", post(claim_user_encryption_keys))
}

async fn query_user_encryption_keys(
    State(inbound): State<Inbound>,
    Signed { request, .. }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        device_keys: KeysQuery,
    }
    let Body { device_keys } = request.json()?;
    check_users(&inbound, device_keys.keys())?;
    if device_keys.values().map(Vec::len).sum::<usize>() > DEVICES_MAX {
        return Err(Error::too_large(format!("More than {DEVICES_MAX} devices are named")));
    }
    let answer = inbound.inner.devices.query_local_keys(&device_keys).await?;
    json(&json!({
        "device_keys": answer.device_keys,
        "master_keys": answer.master_keys,
        "self_signing_keys": answer.self_signing_keys,
    }))
}

async fn claim_user_encryption_keys(
    State(inbound): State<Inbound>,
    Signed { request, .. }: Signed,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        one_time_keys: KeysClaim,
    }
    let Body { one_time_keys } = request.json()?;
    check_users(&inbound, one_time_keys.keys())?;
    if one_time_keys.values().map(|devices| devices.len()).sum::<usize>() > CLAIMS_MAX {
        return Err(Error::too_large(format!("More than {CLAIMS_MAX} keys are claimed at once")));
    }
    let claimed = inbound.inner.devices.claim_local_keys(&one_time_keys).await?;
    json(&json!({ "one_time_keys": claimed }))
}

/// "Requested users must be local to the receiving homeserver."
fn check_users<'u>(
    inbound: &Inbound,
    mut users: impl ExactSizeIterator<Item = &'u OwnedUserId>,
) -> Result<(), Error> {
    if users.len() > USERS_MAX {
        return Err(Error::too_large(format!("More than {USERS_MAX} users are asked for at once")));
    }
    let is_elsewhere = |user: &&OwnedUserId| UserId::server_name(user) != inbound.server_name();
    match users.find(is_elsewhere) {
        Some(user) => Err(Error::invalid_param(format!("{user} is not a user of this server"))),
        None => Ok(()),
    }
}
