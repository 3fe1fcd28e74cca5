//! Requests of application services ([spec]): who acts as whom.
//!
//! [spec]: https://spec.matrix.org/v1.19/application-service-api/#client-server-api-extensions

use std::sync::Arc;

use accounts::{ActAs, ActAsError, Appservice, Session};
use appservice::Registration;
use http::{StatusCode, request::Parts};
use ruma::{OwnedDeviceId, OwnedUserId, RoomAliasId, UserId};
use serde::Deserialize;

use crate::{error::Error, gate::Gate};

/// As whom the request is meant, in its query.
#[derive(Deserialize)]
struct Assertion {
    user_id: Option<OwnedUserId>,
    device_id: Option<OwnedDeviceId>,
    /// Of before Matrix 1.17, and what bridges in the field send.
    #[serde(rename = "org.matrix.msc3202.device_id")]
    unstable_device_id: Option<OwnedDeviceId>,
}

impl Gate {
    /// The application service whose token the request bears.
    pub(crate) fn appservice(&self, parts: &Parts) -> Result<Arc<Registration>, Error> {
        let token = self.token(parts)?.ok_or_else(Error::missing_token)?;
        let service = self.appservices().by_token(&token).cloned();
        service.ok_or_else(|| Error::unknown_token(false))
    }

    /// Whether the request is of an application service that no rate limits hold for.
    pub(crate) fn is_unlimited(&self, parts: &Parts) -> bool {
        !self.appservices().is_empty()
            && self.appservice(parts).is_ok_and(|service| !service.rate_limited)
    }

    /// The session of a user whom the application service acts as.
    pub(crate) async fn act_as(
        &self,
        service: &Registration,
        parts: &Parts,
    ) -> Result<Session, Error> {
        let query = parts.uri.query().unwrap_or_default();
        let asserted: Assertion = serde_html_form::from_str(query)
            .map_err(|_| Error::invalid_param("The query is not valid"))?;
        let user_id = asserted.user_id.as_deref().unwrap_or(&service.sender);
        if !service.covers_user(user_id) {
            return Err(Error::forbidden(format!(
                "The application service may not act as {user_id}, who is in none of its namespaces"
            )));
        }
        let appservice = Appservice {
            id: service.id.as_str().into(),
            // "The sender is excluded."
            rate_limited: service.rate_limited && *user_id != service.sender,
        };
        let device_id = asserted.device_id.or(asserted.unstable_device_id);
        let acting = ActAs { appservice: &appservice, user_id, device_id: device_id.as_deref() };
        if let Some(session) = self.accounts().acting_as(acting) {
            return Ok(session);
        }
        if let Some(device_id) = &device_id
            && self.devices().get(user_id, device_id).await?.is_none()
        {
            let text = format!("{user_id} has no device {device_id}");
            return Err(Error::new(StatusCode::BAD_REQUEST, "M_UNKNOWN_DEVICE", text));
        }
        Ok(self.accounts().act_as(acting).await?)
    }

    /// Refuses a name that is for an application service alone, to everybody else.
    pub(crate) fn may_name_user(
        &self,
        user_id: &UserId,
        service: Option<&Registration>,
    ) -> Result<(), Error> {
        let asking = service.map(|service| service.id.as_str());
        let is_outside = service.is_some_and(|service| !service.covers_user(user_id));
        if is_outside || self.appservices().is_user_of_another(user_id, asking) {
            return Err(exclusive("This user name is not yours to take"));
        }
        Ok(())
    }

    /// As [`may_name_user`](Self::may_name_user). `true` if the alias is in a namespace of the
    /// application service that asks, so that it need not be in the room.
    pub(crate) fn may_name_room(
        &self,
        alias: &RoomAliasId,
        session: &Session,
    ) -> Result<bool, Error> {
        let asking = session.appservice.as_ref().map(|service| &*service.id);
        let mut services = self.appservices().all();
        let service = asking.and_then(|id| services.find(|service| service.id == id));
        let is_inside = service.is_some_and(|service| service.covers_alias(alias));
        let is_outside = asking.is_some() && !is_inside;
        if is_outside || self.appservices().is_alias_of_another(alias, asking) {
            return Err(exclusive("This alias is not yours to take"));
        }
        Ok(is_inside)
    }
}

/// What only a device can do.
pub(crate) fn device(session: &Session) -> Result<&ruma::DeviceId, Error> {
    session.device().ok_or_else(|| {
        Error::missing_param("An application service names the device that it acts as here")
    })
}

fn exclusive(text: &'static str) -> Error {
    Error::new(StatusCode::BAD_REQUEST, "M_EXCLUSIVE", text)
}

/// `ts` of the query: "Application services can alter the timestamp associated with an event".
pub(crate) fn timestamp(session: &Session, query: Option<&str>) -> Result<Option<u64>, Error> {
    #[derive(Deserialize)]
    struct Query {
        ts: Option<u64>,
    }
    if session.appservice.is_none() {
        return Ok(None);
    }
    let query: Query = serde_html_form::from_str(query.unwrap_or_default())
        .map_err(|_| Error::invalid_param("`ts` is a time in milliseconds"))?;
    if query.ts.is_some_and(|ts| ts > TIME_MAX) {
        return Err(Error::invalid_param("`ts` is later than an event can be"));
    }
    Ok(query.ts)
}

/// The largest integer of canonical JSON.
const TIME_MAX: u64 = (1 << 53) - 1;

impl From<ActAsError> for Error {
    fn from(error: ActAsError) -> Self {
        let text = error.to_string();
        match error {
            ActAsError::NoUser => Self::forbidden(text),
            ActAsError::Deactivated => Self::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", text),
            ActAsError::Store(error) => error.into(),
        }
    }
}
