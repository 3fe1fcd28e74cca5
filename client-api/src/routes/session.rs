//! `/login`, `/logout`, `/refresh`, `/login/get_token` ([spec])
//!
//! The body of `/login` is read by hand: its form depends on `type`, and ruma's reader panics
//! where there is none.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#legacy-login

use ::sso::{Provider, Sso};
use accounts::{Accounts, NewSession, NewUser, PasswordError, RegisterError, Stage, Tokens, User};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use devices::Devices;
use http::StatusCode;
use ruma::{
    OwnedDeviceId,
    api::client::session::{logout, logout_all, refresh_token},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    EndpointExt as _,
    account::{delete_device, end_device},
};
use crate::{
    error::Error,
    extract::{AuthedEvenLocked, AuthedRaw, Open, OpenRaw, json, json_or_default},
    gate::Gate,
    limits::Action,
    respond::{Matrix, RawJson},
    uia::{self, Challenge},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Devices: FromRef<S>,
    Sso: FromRef<S>,
{
    let mut router = Router::new()
        .endpoint::<logout::v3::Request, _, _>(logout)
        .endpoint::<logout_all::v3::Request, _, _>(logout_all)
        .endpoint::<refresh_token::v3::Request, _, _>(refresh_token)
        .route("/_matrix/client/v1/login/get_token", axum::routing::post(get_login_token));
    for version in ["r0", "v3"] {
        router = router
            .route(&format!("/_matrix/client/{version}/login"), get(get_login_types).post(login));
    }
    router
}

async fn get_login_types(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(sso): State<Sso>,
) -> RawJson {
    let mut flows = Vec::new();
    if accounts.has_jwt_login() {
        flows.push(json!({ "type": "org.matrix.login.jwt" }));
    }
    // Not of the specification any more, but clients of its time look for it.
    if sso.cas().is_some() {
        flows.push(json!({ "type": "m.login.cas" }));
    }
    if !sso.providers().is_empty() {
        let providers: Vec<_> = sso.providers().iter().map(identity_provider).collect();
        flows.push(json!({ "type": "m.login.sso", "identity_providers": providers }));
    }
    if gate.config().password_login {
        flows.push(json!({ "type": "m.login.password" }));
    }
    flows.push(json!({ "type": "m.login.token", "get_login_token": true }));
    if !gate.appservices().is_empty() {
        flows.push(json!({ "type": "m.login.application_service" }));
    }
    RawJson(json!({ "flows": flows }).to_string().into())
}

fn identity_provider(provider: &Provider) -> Value {
    let Provider { id, name, icon, brand } = provider;
    let mut shown = json!({ "id": id, "name": name });
    if let Some(icon) = icon {
        shown["icon"] = json!(icon);
    }
    if let Some(brand) = brand {
        shown["brand"] = json!(brand);
    }
    shown
}

#[derive(Deserialize)]
struct Login {
    r#type: String,
    identifier: Option<Identifier>,
    /// Deprecated for `identifier`, still sent, as are `medium` and `address`.
    user: Option<String>,
    medium: Option<String>,
    address: Option<String>,
    password: Option<String>,
    token: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    #[serde(default)]
    refresh_token: bool,
}

#[derive(Deserialize)]
struct Identifier {
    r#type: String,
    user: Option<String>,
    medium: Option<String>,
    address: Option<String>,
}

impl Login {
    /// The medium and the address of a third-party identifier.
    fn threepid(&self) -> Option<(&str, &str)> {
        let (medium, address) = match &self.identifier {
            Some(Identifier { r#type, medium, address, .. }) if r#type == "m.id.thirdparty" => {
                (medium, address)
            }
            Some(_) => return None,
            None => (&self.medium, &self.address),
        };
        Some((medium.as_deref()?, address.as_deref()?))
    }

    fn user(&self) -> Result<&str, Error> {
        match &self.identifier {
            Some(Identifier { r#type, user: Some(user), .. }) if r#type == "m.id.user" => Ok(user),
            Some(Identifier { r#type, .. }) if r#type != "m.id.user" => Err(Error::new(
                StatusCode::BAD_REQUEST,
                "M_UNKNOWN",
                format!("The identifier type {:?} is not supported", r#type),
            )),
            _ => self
                .user
                .as_deref()
                .ok_or_else(|| Error::missing_param("The identifier is missing")),
        }
    }
}

async fn login(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    OpenRaw { parts, body, address }: OpenRaw,
) -> Result<RawJson, Error> {
    if !gate.is_unlimited(&parts) {
        gate.limit_address(Action::Login, address)?;
    }
    let login: Login = json(&body)?;
    let user = match login.r#type.as_str() {
        "m.login.password" if gate.config().password_login => {
            password_login(&gate, &accounts, &login).await?
        }
        "m.login.token" => token_login(&accounts, &login).await?,
        "org.matrix.login.jwt" if accounts.has_jwt_login() => {
            jwt_login(&gate, &accounts, &login).await?
        }
        "m.login.application_service" => appservice_login(&gate, &accounts, &parts, &login).await?,
        other => {
            return Err(Error::new(
                StatusCode::BAD_REQUEST,
                "M_UNKNOWN",
                format!("The login type {other:?} is not supported"),
            ));
        }
    };
    let device = NewDevice {
        device_id: login.device_id.as_deref(),
        display_name: login.initial_device_display_name.as_deref(),
        refresh: login.refresh_token,
    };
    start_session(&accounts, &devices, &user, device).await
}

async fn password_login(gate: &Gate, accounts: &Accounts, login: &Login) -> Result<User, Error> {
    let password = || {
        let password = login.password.as_deref();
        password.ok_or_else(|| Error::missing_param("The password is missing"))
    };
    let (user_id, password) = match login.threepid() {
        Some((medium, address)) => {
            let password = password()?;
            let Some(owner) = accounts.threepid_owner(medium, address).await? else {
                return Err(match accounts.check_password_of_nobody(password).await {
                    PasswordError::Wrong => wrong_password(),
                    other => other.into(),
                });
            };
            (owner, password)
        }
        None => {
            let name = login.user()?;
            let password = password()?;
            (accounts.user_id(name).ok_or_else(wrong_password)?, password)
        }
    };
    gate.may_log_in(user_id.as_str())?;
    match accounts.check_password(&user_id, password).await {
        Ok(user) => Ok(user),
        Err(PasswordError::Wrong) => {
            gate.login_failed(user_id.as_str());
            Err(wrong_password())
        }
        Err(PasswordError::Deactivated) => Err(user_deactivated()),
        Err(other) => Err(other.into()),
    }
}

fn wrong_password() -> Error {
    Error::forbidden("Invalid username or password")
}

fn user_deactivated() -> Error {
    Error::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", "This account has been deactivated")
}

async fn token_login(accounts: &Accounts, login: &Login) -> Result<User, Error> {
    let token =
        login.token.as_deref().ok_or_else(|| Error::missing_param("The token is missing"))?;
    let user_id = accounts
        .take_login_token(token)
        .ok_or_else(|| Error::forbidden("The login token is unknown, used or expired"))?;
    accounts.user(&user_id).await?.ok_or_else(user_deactivated)
}

/// An application service logs a user of its own in.
async fn appservice_login(
    gate: &Gate,
    accounts: &Accounts,
    parts: &http::request::Parts,
    login: &Login,
) -> Result<User, Error> {
    // "If the access token is not valid, does not correspond to an appservice or the user has not
    // previously been registered".
    let forbidden = |_| Error::forbidden("The token is not that of an application service");
    gate.token(parts)?.ok_or_else(Error::missing_token)?;
    let service = gate.appservice(parts).map_err(forbidden)?;
    let unknown = || Error::forbidden("There is no such user");
    let user_id = accounts.user_id(login.user()?).ok_or_else(unknown)?;
    gate.may_name_user(&user_id, Some(&service))?;
    let user = accounts.user(&user_id).await?.ok_or_else(unknown)?;
    if user.deactivated { Err(user_deactivated()) } else { Ok(user) }
}

async fn jwt_login(gate: &Gate, accounts: &Accounts, login: &Login) -> Result<User, Error> {
    let token =
        login.token.as_deref().ok_or_else(|| Error::forbidden("Token field for JWT is missing"))?;
    let identity =
        accounts.verify_login_jwt(token).map_err(|error| Error::forbidden(error.to_string()))?;
    let existing = match accounts.user_id(&identity.localpart) {
        Some(user_id) => accounts.user(&user_id).await?,
        None => None,
    };
    if let Some(user) = existing {
        return if user.deactivated { Err(user_deactivated()) } else { Ok(user) };
    }
    if let Some(user_id) = accounts.user_id(&identity.localpart) {
        gate.may_name_user(&user_id, None)?;
    }
    let new = NewUser { localpart: Some(&identity.localpart), ..NewUser::default() };
    let user = accounts.register(new).await.map_err(|error| match error {
        RegisterError::InvalidUsername(error) => {
            Error::forbidden(format!("JWT validation failed: {error}"))
        }
        other => other.into(),
    })?;
    if let Some(name) = &identity.display_name {
        let value = serde_json::value::to_raw_value(name).map_err(|e| Error::internal(&e))?;
        accounts.set_profile_field(&user.user_id, "displayname", &value).await?;
    }
    Ok(user)
}

/// The device that a new session is for.
#[derive(Clone, Copy, Default)]
pub(super) struct NewDevice<'a> {
    pub(super) device_id: Option<&'a ruma::DeviceId>,
    pub(super) display_name: Option<&'a str>,
    pub(super) refresh: bool,
}

/// Logs a user in on a device and renders the answer of `/login` and `/register`.
pub(super) async fn start_session(
    accounts: &Accounts,
    devices: &Devices,
    user: &User,
    device: NewDevice<'_>,
) -> Result<RawJson, Error> {
    // Nobody logs in, so no device is made either.
    if user.locked {
        return Err(Error::user_locked());
    }
    let device_id = devices.ensure(&user.user_id, device.device_id, device.display_name).await?;
    let new = NewSession { user, device_id: &device_id, refresh: device.refresh };
    let tokens = accounts.create_session(new).await?;
    let mut body = tokens_json(&tokens);
    body["user_id"] = json!(user.user_id);
    body["device_id"] = json!(device_id);
    body["home_server"] = json!(user.user_id.server_name());
    Ok(RawJson(body.to_string().into()))
}

fn tokens_json(tokens: &Tokens) -> Value {
    let mut body = json!({ "access_token": tokens.access_token });
    if let Some(refresh_token) = &tokens.refresh_token {
        body["refresh_token"] = json!(refresh_token);
    }
    if let Some(expires_in) = tokens.expires_in {
        body["expires_in_ms"] = json!(u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX));
    }
    body
}

async fn logout(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    AuthedEvenLocked { session }: AuthedEvenLocked,
) -> Result<Matrix<logout::v3::Response>, Error> {
    end_device(&accounts, &devices, &session.user_id, &session.device_id).await?;
    Ok(Matrix(logout::v3::Response::new()))
}

async fn logout_all(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    AuthedEvenLocked { session }: AuthedEvenLocked,
) -> Result<Matrix<logout_all::v3::Response>, Error> {
    let gone = devices.list(&session.user_id).await?;
    // First, so that nobody is told of the others' devices who is logged out too.
    accounts.end_all(&session.user_id, None).await?;
    for device in gone {
        delete_device(&accounts, &devices, &session.user_id, &device.device_id).await?;
    }
    Ok(Matrix(logout_all::v3::Response::new()))
}

async fn refresh_token(
    State(accounts): State<Accounts>,
    Open { req }: Open<refresh_token::v3::Request>,
) -> Result<RawJson, Error> {
    let tokens = accounts.refresh(&req.refresh_token).await?;
    Ok(RawJson(tokens_json(&tokens).to_string().into()))
}

async fn get_login_token(
    State(accounts): State<Accounts>,
    AuthedRaw { session, parts, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Default, Deserialize)]
    struct Body {
        auth: Option<Box<RawValue>>,
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
    uia::require(&accounts, challenge).await?;
    let (login_token, life) = accounts.issue_login_token(&session.user_id);
    let expires_in_ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let body = json!({ "login_token": login_token, "expires_in_ms": expires_in_ms });
    Ok(RawJson(body.to_string().into()))
}
