//! `/account/password`: by whoever is logged in, or has confirmed the address of an account ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword

use accounts::{Accounts, EmailPurpose, EndSessions, Session, Stage};
use axum::extract::State;
use devices::Devices;
use ruma::{OwnedDeviceId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::delete_device;
use crate::{
    error::Error,
    extract::{OpenRaw, json},
    gate::Gate,
    limits::Action,
    respond::Empty,
    uia::{self, Challenge},
};

const BY_MAIL: &[Stage] = &[Stage::EmailIdentity(EmailPurpose::ResetPassword)];

pub(super) async fn change_password(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    OpenRaw { parts, body, .. }: OpenRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        new_password: Option<String>,
        #[serde(default = "yes")]
        logout_devices: bool,
        auth: Option<Box<RawValue>>,
    }
    fn yes() -> bool {
        true
    }
    let session = match gate.token(&parts)? {
        Some(_) => Some(gate.authenticate(&parts).await?),
        None => None,
    };
    if let Some(session) = &session {
        gate.limit_user(Action::Other, session)?;
    }
    let flows: &[&[Stage]] = match (&session, accounts.sends_mail()) {
        (Some(_), true) => &[&[Stage::Password], BY_MAIL],
        (Some(_), false) => &[&[Stage::Password]],
        (None, true) => &[BY_MAIL],
        (None, false) => return Err(Error::missing_token()),
    };
    let body: Body = json(&body)?;
    if let Some(password) = &body.new_password {
        accounts.check_password_policy(password)?;
    }
    let challenge = Challenge {
        method: &parts.method,
        path: parts.uri.path(),
        session: session.as_ref(),
        target: "",
        flows,
        auth: body.auth.as_deref(),
    };
    let done = uia::require(&accounts, challenge).await?;
    let password =
        body.new_password.ok_or_else(|| Error::missing_param("new_password is missing"))?;
    let user_id = match &session {
        Some(session) => session.user_id.clone(),
        None => done.user_id.ok_or_else(|| Error::forbidden("No account has been named"))?,
    };
    let (ended, gone) = match body.logout_devices {
        true => others(&devices, &user_id, session.as_ref()).await?,
        false => (EndSessions::None, Vec::new()),
    };
    accounts.set_password(&user_id, &password, ended).await?;
    // Afterwards, so that nobody is told of the others' devices who is logged out too.
    for device_id in gone {
        delete_device(&accounts, &devices, &user_id, &device_id).await?;
    }
    Ok(Empty)
}

/// All sessions and devices but one's own.
async fn others(
    devices: &Devices,
    user_id: &UserId,
    spared: Option<&Session>,
) -> Result<(EndSessions, Vec<OwnedDeviceId>), Error> {
    let gone = devices.list(user_id).await?.into_iter().map(|device| device.device_id);
    let is_other = |id: &OwnedDeviceId| spared.is_none_or(|session| session.device_id != *id);
    let ended = spared.map_or(EndSessions::All, |session| EndSessions::AllExcept(session.id));
    Ok((ended, gone.filter(is_other).collect()))
}
