//! User-interactive authentication: a request is repeated with one completed stage after another
//! until a flow is complete.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{Accounts, StoreError};

/// A step that this server can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Stage {
    #[serde(rename = "m.login.dummy")]
    Dummy,
    #[serde(rename = "m.login.password")]
    Password,
    #[serde(rename = "m.login.registration_token")]
    RegistrationToken,
    #[serde(rename = "m.login.terms")]
    Terms,
    #[serde(rename = "org.matrix.login.jwt")]
    Jwt,
}

/// What has to be authenticated. A session that was begun for one request is of no use for another.
#[derive(Clone, Copy, Debug)]
pub struct UiaRequest<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// The user who is logged in; they must be the one who completes the password stage.
    pub user_id: Option<&'a UserId>,
    /// What else the session is bound to, such as the devices to be deleted; may be empty.
    pub target: &'a str,
}

/// The ways to authenticate that are offered.
#[derive(Clone, Debug)]
pub struct Uia<'a> {
    pub flows: &'a [&'a [Stage]],
    /// Parameters of stages, such as the policies of `m.login.terms`.
    pub params: BTreeMap<String, Box<RawValue>>,
}

/// The body of the 401 answer.
#[derive(Clone, Debug, Serialize)]
pub struct UiaInfo {
    pub flows: Vec<UiaFlow>,
    pub params: BTreeMap<String, Box<RawValue>>,
    pub session: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub completed: Vec<Stage>,
    /// Why the stage that was attempted is not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errcode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct UiaFlow {
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
pub enum UiaOutcome {
    /// Go on with the request. The session is spent.
    Done(UiaDone),
    /// Answer 401 with this.
    Incomplete(UiaInfo),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UiaDone {
    pub completed: Vec<Stage>,
    /// To be spent by [`Accounts::register`].
    pub registration_token: Option<String>,
    /// Who completed the password or JWT stage.
    pub user_id: Option<OwnedUserId>,
}

#[derive(Debug, thiserror::Error)]
pub enum UiaError {
    /// M_BAD_JSON.
    #[error("the auth object is not valid: {0}")]
    Invalid(String),
    /// M_UNKNOWN or M_FORBIDDEN: unknown, expired, or begun for another request.
    #[error("the authentication session does not exist or was begun for another request")]
    UnknownSession,
    #[error("too many passwords are being checked")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// One round. `auth` is the request's `auth` object, if it has one.
    pub async fn uia(
        &self,
        _request: UiaRequest<'_>,
        _offer: Uia<'_>,
        _auth: Option<&RawValue>,
    ) -> Result<UiaOutcome, UiaError> {
        unimplemented!()
    }
}
