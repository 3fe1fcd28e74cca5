//! User-interactive authentication at the edge ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api

use std::collections::BTreeMap;

use accounts::{Accounts, Session, Stage, Uia, UiaDone, UiaError, UiaInfo, UiaOutcome, UiaRequest};
use http::{Method, StatusCode};
use serde_json::value::RawValue;

use crate::error::Error;

const BY_PASSWORD: &[Stage] = &[Stage::Password];
const BY_SSO: &[Stage] = &[Stage::Sso];

/// What a request has to prove before it is carried out.
pub(crate) struct Challenge<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) session: Option<&'a Session>,
    /// What else the proof is bound to, such as the device to be deleted.
    pub(crate) target: &'a str,
    pub(crate) flows: &'a [&'a [Stage]],
    pub(crate) auth: Option<&'a RawValue>,
}

/// Lets the request pass, or answers 401 with what is still to be done.
pub(crate) async fn require(
    accounts: &Accounts,
    challenge: Challenge<'_>,
) -> Result<UiaDone, Error> {
    require_with(accounts, challenge, BTreeMap::new()).await
}

/// As [`require`], with parameters of stages.
pub(crate) async fn require_with(
    accounts: &Accounts,
    challenge: Challenge<'_>,
    params: BTreeMap<String, Box<RawValue>>,
) -> Result<UiaDone, Error> {
    match ask(accounts, challenge, params).await? {
        UiaOutcome::Done(done) => Ok(done),
        UiaOutcome::Incomplete(info) => Err(incomplete(&info)),
    }
}

/// What is still to be done, as an answer.
pub(crate) fn incomplete(info: &UiaInfo) -> Error {
    match serde_json::to_value(info) {
        Ok(body) => Error::uia(body),
        Err(error) => Error::internal(&error),
    }
}

/// As [`require_with`], for those who have to know the session.
pub(crate) async fn ask(
    accounts: &Accounts,
    challenge: Challenge<'_>,
    params: BTreeMap<String, Box<RawValue>>,
) -> Result<UiaOutcome, Error> {
    let request = UiaRequest {
        method: challenge.method.as_str(),
        path: challenge.path,
        user_id: challenge.session.map(|session| &*session.user_id),
        target: challenge.target,
    };
    let flows = ways(accounts, &challenge).await?;
    let offer = Uia { flows: &flows, params };
    Ok(accounts.uia(request, offer, challenge.auth).await?)
}

/// Who may prove by a password who they are may do so by single sign-on as well, if that is how they
/// come here. Who has no password can do nothing else.
async fn ways<'a>(
    accounts: &Accounts,
    challenge: &Challenge<'a>,
) -> Result<Vec<&'a [Stage]>, Error> {
    let mut flows = challenge.flows.to_vec();
    let Some(session) = challenge.session else { return Ok(flows) };
    let by_password = flows.iter_mut().find(|flow| **flow == BY_PASSWORD);
    let Some(by_password) = by_password else { return Ok(flows) };
    if accounts.providers_of(&session.user_id).await?.is_empty() {
        return Ok(flows);
    }
    let user = accounts.user(&session.user_id).await?;
    if user.is_some_and(|user| user.has_password) {
        flows.push(BY_SSO);
    } else {
        *by_password = BY_SSO;
    }
    Ok(flows)
}

impl From<UiaError> for Error {
    fn from(error: UiaError) -> Self {
        match error {
            UiaError::Invalid(reason) => Self::bad_json(reason),
            UiaError::UnknownSession => {
                Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", error.to_string())
            }
            UiaError::OtherUser => Self::forbidden(error.to_string()),
            UiaError::Busy => Self::limit_exceeded(std::time::Duration::from_secs(1)),
            UiaError::Store(error) => error.into(),
        }
    }
}
