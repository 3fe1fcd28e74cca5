//! `/register`, `/account/*` and the shared-secret registration of existing tools ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#account-registration-and-management

mod email;
mod password;
mod register;
mod third_party;

use accounts::{
    Accounts, NewUser, RegisterError, SharedSecretRequest, Stage, Threepid, UsernameError,
};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post},
};
use devices::Devices;
use rooms::Rooms;
use ruma::{
    DeviceId, UserId,
    api::client::account::{check_registration_token_validity, get_username_availability, whoami},
    events::room::member::MembershipState,
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    EndpointExt as _,
    session::{NewDevice, start_session},
};
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw, Open, OpenRaw, json, json_or_default},
    gate::Gate,
    respond::{Matrix, RawJson},
    uia::{self, Challenge},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Devices: FromRef<S>,
    Rooms: FromRef<S>,
{
    let mut router = Router::new()
        .endpoint::<check_registration_token_validity::v1::Request, _, _>(
            check_registration_token_validity,
        )
        .merge(email::router())
        .merge(third_party::router())
        .endpoint::<get_username_availability::v3::Request, _, _>(get_username_availability)
        .endpoint::<whoami::v3::Request, _, _>(whoami)
        .route(
            "/_synapse/admin/v1/register",
            get(shared_secret_nonce).post(shared_secret_register),
        );
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}");
        router = router
            .route(&format!("{base}/register"), post(register::register))
            .route(&format!("{base}/account/password"), post(password::change_password))
            .route(&format!("{base}/account/deactivate"), post(deactivate));
    }
    router
}

async fn shared_secret_nonce(State(accounts): State<Accounts>) -> Result<RawJson, Error> {
    let nonce = accounts.shared_secret_nonce()?;
    Ok(RawJson(json!({ "nonce": nonce }).to_string().into()))
}

async fn shared_secret_register(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    OpenRaw { body, .. }: OpenRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        nonce: String,
        username: String,
        password: String,
        #[serde(default)]
        admin: bool,
        user_type: Option<String>,
        mac: String,
        displayname: Option<String>,
        #[serde(default)]
        inhibit_login: bool,
    }
    let body: Body = json(&body)?;
    accounts.verify_shared_secret(SharedSecretRequest {
        nonce: &body.nonce,
        username: &body.username,
        password: &body.password,
        admin: body.admin,
        user_type: body.user_type.as_deref(),
        mac: &body.mac,
    })?;
    let user = accounts
        .register(NewUser {
            localpart: Some(&body.username),
            password: Some(&body.password),
            admin: body.admin,
            ..NewUser::default()
        })
        .await?;
    if let Some(name) = &body.displayname {
        let value = serde_json::value::to_raw_value(name).map_err(|e| Error::internal(&e))?;
        accounts.set_profile_field(&user.user_id, "displayname", &value).await?;
    }
    if body.inhibit_login {
        return Ok(RawJson(json!({ "user_id": user.user_id }).to_string().into()));
    }
    start_session(&accounts, &devices, &user, NewDevice::default()).await
}

async fn check_registration_token_validity(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    Open { req }: Open<check_registration_token_validity::v1::Request>,
) -> Result<Matrix<check_registration_token_validity::v1::Response>, Error> {
    // "403: The homeserver does not permit registration and thus all tokens are considered invalid."
    if !gate.config().registration.enabled {
        return Err(Error::forbidden("Registration has been disabled"));
    }
    let valid = accounts.is_registration_token_valid(&req.token).await?;
    Ok(Matrix(check_registration_token_validity::v1::Response { valid }))
}

async fn get_username_availability(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    Open { req }: Open<get_username_availability::v3::Request>,
) -> Result<Matrix<get_username_availability::v3::Response>, Error> {
    if let Some(user_id) = accounts.user_id(&req.username) {
        gate.may_name_user(&user_id, None)?;
    }
    accounts.is_available(&req.username).await?;
    Ok(Matrix(get_username_availability::v3::Response { available: true }))
}

async fn whoami(
    Authed { session, .. }: Authed<whoami::v3::Request>,
) -> Matrix<whoami::v3::Response> {
    Matrix(whoami::v3::Response {
        device_id: session.device().map(ToOwned::to_owned),
        user_id: session.user_id,
        is_guest: session.guest,
    })
}

async fn deactivate(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    State(rooms): State<Rooms>,
    AuthedRaw { session, parts, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Default, Deserialize)]
    struct Body {
        auth: Option<Box<RawValue>>,
        #[serde(default)]
        erase: bool,
        id_server: Option<String>,
    }
    let body: Body = json_or_default(&body)?;
    let challenge = Challenge {
        method: &parts.method,
        path: parts.uri.path(),
        session: Some(&session),
        target: "",
        flows: &[&[Stage::Password]],
        auth: body.auth.as_deref(),
    };
    // A guest has no password to prove anything with, nor has an application service.
    if !session.guest && session.appservice.is_none() {
        uia::require(&accounts, challenge).await?;
    }
    let threepids = accounts.threepids(&session.user_id).await?;
    let user_id = &session.user_id;
    let mut unbound = close_account(&accounts, &devices, &rooms, user_id, body.erase).await?;
    if let Some(server) = &body.id_server {
        for Threepid { medium, address, .. } in &threepids {
            let done = accounts.unbind_threepid(user_id, Some(server), medium, address).await;
            unbound &= done.unwrap_or(false);
        }
    }
    Ok(third_party::unbind_result(unbound))
}

/// Ends an account: its sessions first, so that nothing is added while its rooms are left. `false`
/// if an identity server does not let go of an address.
pub async fn close_account(
    accounts: &Accounts,
    devices: &Devices,
    rooms: &Rooms,
    user_id: &UserId,
    erase: bool,
) -> Result<bool, Error> {
    accounts.deactivate(user_id, erase).await?;
    if erase {
        accounts.erase_account_data(user_id).await?;
        rooms.erase_user(user_id).await?;
    }
    for device in devices.list(user_id).await? {
        delete_device(accounts, devices, user_id, &device.device_id).await?;
    }
    for room in rooms.rooms_of(user_id).await? {
        let member = matches!(
            room.membership,
            MembershipState::Join | MembershipState::Invite | MembershipState::Knock
        );
        if !member {
            continue;
        }
        if let Err(error) = rooms.leave(&room.room_id, user_id, None).await {
            tracing::warn!(room.id = %room.room_id, %error, "a deactivated user is still in a room");
        }
    }
    Ok(accounts.unbind_all_threepids(user_id).await?)
}

/// Logs a device out and deletes it. The tokens go first.
pub(super) async fn end_device(
    accounts: &Accounts,
    devices: &Devices,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<(), Error> {
    accounts.end_device(user_id, device_id).await?;
    delete_device(accounts, devices, user_id, device_id).await
}

/// Deletes a device whose tokens are gone or go next, with what is kept for it elsewhere.
pub(super) async fn delete_device(
    accounts: &Accounts,
    devices: &Devices,
    user_id: &UserId,
    device_id: &DeviceId,
) -> Result<(), Error> {
    devices.delete(user_id, device_id).await?;
    accounts.forget_notification_settings(user_id, device_id).await?;
    Ok(())
}

impl From<RegisterError> for Error {
    fn from(error: RegisterError) -> Self {
        let text = error.to_string();
        let bad = |errcode| Self::new(http::StatusCode::BAD_REQUEST, errcode, text.clone());
        match error {
            RegisterError::InvalidUsername(_) => bad("M_INVALID_USERNAME"),
            RegisterError::UserInUse => bad("M_USER_IN_USE"),
            RegisterError::Password(error) => error.into(),
            RegisterError::RegistrationToken => Self::forbidden(text),
            RegisterError::EmailInUse => bad("M_THREEPID_IN_USE"),
            RegisterError::IdentityInUse => bad("M_USER_IN_USE"),
            RegisterError::Store(error) => error.into(),
        }
    }
}

impl From<UsernameError> for Error {
    fn from(error: UsernameError) -> Self {
        Self::new(http::StatusCode::BAD_REQUEST, "M_INVALID_USERNAME", error.to_string())
    }
}
