//! `POST /register`: guests, and those who prove what the server asks for ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register

use std::collections::BTreeMap;

use accounts::{Accounts, EmailPurpose, NewUser, Stage, UiaDone, UiaOutcome, User};
use axum::extract::State;
use devices::Devices;
use http::request::Parts;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    error::Error,
    extract::{OpenRaw, json, json_or_default},
    gate::Gate,
    limits::Action,
    respond::RawJson,
    routes::session::{NewDevice, start_session},
    uia::{self, Challenge},
};

/// Parameters of stages.
type Params = BTreeMap<String, Box<RawValue>>;

#[derive(Default, Deserialize)]
struct Register {
    username: Option<String>,
    password: Option<String>,
    device_id: Option<OwnedDeviceId>,
    initial_device_display_name: Option<String>,
    auth: Option<Box<RawValue>>,
    #[serde(default)]
    inhibit_login: bool,
    #[serde(default)]
    refresh_token: bool,
    r#type: Option<String>,
    /// Makes a full account of the guest with this token, who is `username`.
    guest_access_token: Option<String>,
}

impl Register {
    fn session(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Auth {
            session: Option<String>,
        }
        let auth = self.auth.as_ref()?;
        serde_json::from_str::<Auth>(auth.get()).ok()?.session
    }

    /// What was said when the session began counts as long as it is not said anew.
    fn read(accounts: &Accounts, body: &[u8]) -> Result<(Self, String), Error> {
        let said: Map<String, Value> = json_or_default(body)?;
        let session = said.get("auth").and_then(|auth| auth["session"].as_str());
        let first = session.and_then(|session| accounts.remembered_registration(session));
        let first = first.and_then(|first| serde_json::from_str(&first).ok());
        let mut whole: Map<String, Value> = first.unwrap_or_default();
        whole.extend(said);
        let text = Value::Object(whole.clone()).to_string();
        let register = json(text.as_bytes())?;
        whole.remove("auth");
        Ok((register, Value::Object(whole).to_string()))
    }
}

pub(super) async fn register(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    OpenRaw { parts, body, address }: OpenRaw,
) -> Result<RawJson, Error> {
    if !gate.is_unlimited(&parts) {
        gate.limit_address(Action::Registration, address)?;
    }
    let (body, said) = Register::read(&accounts, &body)?;
    let device = NewDevice {
        device_id: body.device_id.as_deref(),
        display_name: body.initial_device_display_name.as_deref(),
        refresh: body.refresh_token,
    };
    match kind(parts.uri.query())?.as_str() {
        "guest" => register_guest(&gate, &accounts, &devices, device).await,
        "user" => {
            let registrar = Registrar { gate: &gate, accounts: &accounts, parts: &parts };
            let user = match body.r#type.as_deref() {
                Some("m.login.application_service") => registrar.register_ghost(&body).await?,
                _ => registrar.register(&body, &said).await?,
            };
            if body.inhibit_login {
                let server = user.user_id.server_name();
                let answer = json!({ "user_id": user.user_id, "home_server": server });
                return Ok(RawJson(answer.to_string().into()));
            }
            start_session(&accounts, &devices, &user, device).await
        }
        other => Err(Error::new(
            http::StatusCode::BAD_REQUEST,
            "M_UNRECOGNIZED",
            format!("unknown kind of account {other:?}"),
        )),
    }
}

fn kind(query: Option<&str>) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Query {
        kind: Option<String>,
    }
    let query: Query = serde_html_form::from_str(query.unwrap_or_default())
        .map_err(|_| Error::invalid_param("The query is not valid"))?;
    Ok(query.kind.unwrap_or_else(|| "user".to_owned()))
}

async fn register_guest(
    gate: &Gate,
    accounts: &Accounts,
    devices: &Devices,
    device: NewDevice<'_>,
) -> Result<RawJson, Error> {
    if !gate.config().registration.guests {
        return Err(Error::new(
            http::StatusCode::FORBIDDEN,
            "M_GUEST_ACCESS_FORBIDDEN",
            "Guest access is disabled",
        ));
    }
    let user = accounts.register(NewUser { guest: true, ..NewUser::default() }).await?;
    // "device_id: ignored for guests": a guest has one device.
    let device = NewDevice { device_id: None, ..device };
    start_session(accounts, devices, &user, device).await
}

/// Registers those who are no guests.
struct Registrar<'a> {
    gate: &'a Gate,
    accounts: &'a Accounts,
    parts: &'a Parts,
}

impl Registrar<'_> {
    /// A user of an application service: without a password, and without the stages of others.
    async fn register_ghost(&self, body: &Register) -> Result<User, Error> {
        let service = self.gate.appservice(self.parts)?;
        let username =
            body.username.as_deref().ok_or_else(|| Error::missing_param("username is missing"))?;
        if let Some(user_id) = self.accounts.user_id(username) {
            self.gate.may_name_user(&user_id, Some(&service))?;
        }
        let new = NewUser { localpart: Some(username), by_appservice: true, ..NewUser::default() };
        Ok(self.accounts.register(new).await?)
    }

    /// `said` is the request without its authentication.
    async fn register(&self, body: &Register, said: &str) -> Result<User, Error> {
        let (registration, accounts) = (&self.gate.config().registration, self.accounts);
        if !registration.enabled {
            return Err(Error::forbidden("Registration has been disabled"));
        }
        let session = body.session();
        if let Some(user) = self.registered_before(session.as_deref(), body).await? {
            return Ok(user);
        }
        // Refused before the client goes through the stages, not after.
        let guest = self.guest(body)?;
        if let Some(username) = body.username.as_ref().filter(|_| guest.is_none()) {
            if let Some(user_id) = accounts.user_id(username) {
                self.gate.may_name_user(&user_id, None)?;
            }
            accounts.is_available(username).await?;
        }
        if let Some(password) = &body.password {
            accounts.check_password_policy(password)?;
        }
        let done = self.authenticate(body, said).await?;
        let user = match guest {
            Some(guest) => {
                let user = accounts.upgrade_guest(&guest, body.password.as_deref()).await?;
                if let Some(email) = &done.email {
                    accounts.add_email(&user.user_id, email).await?;
                }
                user
            }
            None => {
                let new = NewUser {
                    localpart: body.username.as_deref(),
                    password: body.password.as_deref(),
                    registration_token: done.registration_token.as_deref(),
                    email: done.email.as_ref(),
                    ..NewUser::default()
                };
                accounts.register(new).await?
            }
        };
        if let Some(session) = session {
            accounts.finish_registration(&session, user.user_id.clone());
        }
        Ok(user)
    }

    /// The answer may have been lost, so who repeats the request gets it again.
    async fn registered_before(
        &self,
        session: Option<&str>,
        body: &Register,
    ) -> Result<Option<User>, Error> {
        let finished = session.and_then(|session| self.accounts.finished_registration(session));
        let Some(user_id) = finished else { return Ok(None) };
        let named = body.username.as_ref().map(|name| self.accounts.user_id(name));
        if named.is_some_and(|named| named.as_ref() != Some(&user_id)) {
            return Ok(None);
        }
        Ok(self.accounts.user(&user_id).await?)
    }

    /// The guest who wants to be one no longer.
    fn guest(&self, body: &Register) -> Result<Option<OwnedUserId>, Error> {
        let Some(token) = &body.guest_access_token else { return Ok(None) };
        let not_you = || Error::forbidden("The token is not that of the guest who is named");
        let session = self.accounts.authenticate(token).map_err(|_| not_you())?;
        let named = body.username.as_ref().and_then(|name| self.accounts.user_id(name));
        if session.guest && named.as_ref() == Some(&session.user_id) {
            Ok(Some(session.user_id))
        } else {
            Err(not_you())
        }
    }

    /// What everybody has to go through, and what clients have to know for that.
    fn common_stages(&self) -> Result<(Vec<Stage>, Params), Error> {
        let config = self.gate.config();
        let registration = &config.registration;
        let mut flow = Vec::new();
        let mut params = BTreeMap::new();
        if registration.require_token {
            flow.push(Stage::RegistrationToken);
        }
        if registration.require_captcha
            && let Some(key) = &config.captcha_public_key
        {
            flow.push(Stage::Recaptcha);
            params.insert("m.login.recaptcha".to_owned(), raw(&json!({ "public_key": key }))?);
        }
        if let Some(url) = &registration.terms_url {
            flow.push(Stage::Terms);
            params.insert("m.login.terms".to_owned(), terms(url)?);
        }
        Ok((flow, params))
    }

    async fn authenticate(&self, body: &Register, said: &str) -> Result<UiaDone, Error> {
        let registration = &self.gate.config().registration;
        let (mut flow, params) = self.common_stages()?;
        let mut by_mail = flow.clone();
        by_mail.push(Stage::EmailIdentity(EmailPurpose::Register));
        // With a stage of its own neither flow is the beginning of the other.
        if flow.is_empty() || self.accounts.sends_mail() {
            flow.push(Stage::Dummy);
        }
        let flows: &[&[Stage]] = match self.accounts.sends_mail() {
            true if registration.require_email => &[&by_mail],
            true => &[&flow, &by_mail],
            false => &[&flow],
        };
        let challenge = Challenge {
            method: &self.parts.method,
            path: self.parts.uri.path(),
            session: None,
            target: "",
            flows,
            auth: body.auth.as_deref(),
        };
        match uia::ask(self.accounts, challenge, params).await? {
            UiaOutcome::Done(done) => Ok(done),
            UiaOutcome::Incomplete(info) => {
                self.accounts.remember_registration(&info.session, said);
                Err(uia::incomplete(&info))
            }
        }
    }
}

fn terms(url: &str) -> Result<Box<RawValue>, Error> {
    let params = json!({
        "policies": {
            "terms": { "version": "1", "en": { "name": "Terms of service", "url": url } },
        },
    });
    raw(&params)
}

fn raw(value: &Value) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(|error| Error::internal(&error))
}
