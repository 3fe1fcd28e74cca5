//! Extractors: a ruma request together with what its authentication scheme promises.
//!
//! Each extractor is bounded on the endpoint's own `Authentication` type, so a handler that asks
//! for a user on an endpoint that has none does not compile, and none ever unwraps one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use accounts::Session;
use axum::{
    body::HttpBody as _,
    extract::{FromRef, FromRequest, FromRequestParts, RawPathParams, Request},
};
use bytes::Bytes;
use http::{Method, StatusCode, request::Parts};
use http_body_util::BodyExt as _;
use ruma::api::{
    IncomingRequest, IncomingRequestExt as _, Metadata,
    auth_scheme::{AccessToken, AccessTokenOptional, NoAccessToken, NoAuthentication},
};

use crate::{
    error::Error,
    gate::Gate,
    limits::{Action, Subject},
    nesting::{LEVELS_MAX, is_deeper_than},
};

/// A request of somebody who is logged in.
pub(crate) struct Authed<T> {
    pub(crate) session: Session,
    pub(crate) req: T,
}

/// As [`Authed`], with the body as it came, for endpoints that pass on what they do not know.
pub(crate) struct AuthedWithBody<T> {
    pub(crate) session: Session,
    pub(crate) req: T,
    pub(crate) body: Bytes,
}

/// Whoever is logged in, for what a locked account may do too. The request says nothing else.
pub(crate) struct AuthedEvenLocked {
    pub(crate) session: Session,
}

/// A request that may, but need not, be of somebody who is logged in.
pub(crate) struct MaybeAuthed<T> {
    pub(crate) session: Option<Session>,
    pub(crate) req: T,
}

/// A request of anybody.
pub(crate) struct Open<T> {
    pub(crate) req: T,
}

/// Authentication schemes that ask for nothing.
pub(crate) trait Unauthenticated {}
impl Unauthenticated for NoAuthentication {}
impl Unauthenticated for NoAccessToken {}

impl<S, T> FromRequest<S> for Authed<T>
where
    T: IncomingRequest + Metadata<Authentication = AccessToken>,
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let AuthedWithBody { session, req, .. } =
            AuthedWithBody::from_request(request, state).await?;
        Ok(Self { session, req })
    }
}

impl<S, T> FromRequest<S> for AuthedWithBody<T>
where
    T: IncomingRequest + Metadata<Authentication = AccessToken>,
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let gate = Gate::from_ref(state);
        let raw = RawRequest::split(request).await?;
        let session = gate.authenticate(&raw.parts).await?;
        if let Some(action) = limited::<T>() {
            gate.limit_user(action, &session)?;
        }
        let body = RawRequest::body(raw.body, &gate).await?;
        let req = parse::<T>(raw.parts, &body, &raw.path_args)?;
        Ok(Self { session, req, body })
    }
}

impl<S> FromRequestParts<S> for AuthedEvenLocked
where
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Ok(Self { session: Gate::from_ref(state).authenticate_even_locked(parts).await? })
    }
}

impl<S, T> FromRequest<S> for MaybeAuthed<T>
where
    T: IncomingRequest + Metadata<Authentication = AccessTokenOptional>,
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let gate = Gate::from_ref(state);
        let raw = RawRequest::split(request).await?;
        let session = match gate.token(&raw.parts)? {
            Some(_) => Some(gate.authenticate(&raw.parts).await?),
            None => None,
        };
        if let Some(action) = limited::<T>() {
            match &session {
                Some(session) => gate.limit_user(action, session)?,
                None => gate.limit_address(action, gate.address(&raw.parts))?,
            }
        }
        let req = raw.parse::<T>(&gate).await?;
        Ok(Self { session, req })
    }
}

impl<S, T> FromRequest<S> for Open<T>
where
    T: IncomingRequest,
    T::Authentication: Unauthenticated,
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let gate = Gate::from_ref(state);
        let raw = RawRequest::split(request).await?;
        if let Some(action) = limited::<T>() {
            gate.limit_address(action, gate.address(&raw.parts))?;
        }
        let req = raw.parse::<T>(&gate).await?;
        Ok(Self { req })
    }
}

/// Handlers of dearer actions check a rate of their own besides this one.
fn limited<T: Metadata>() -> Option<Action> {
    T::RATE_LIMITED.then_some(Action::Other)
}

/// A request before its body is read: nobody who is refused makes us read one.
pub(crate) struct RawRequest {
    pub(crate) parts: Parts,
    body: axum::body::Body,
    path_args: Vec<String>,
}

impl RawRequest {
    pub(crate) async fn split(request: Request) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let params = RawPathParams::from_request_parts(&mut parts, &())
            .await
            .map_err(|_| Error::invalid_param("The path is not valid UTF-8"))?;
        let path_args = params.iter().map(|(_, value)| value.to_owned()).collect();
        Ok(Self { parts, body, path_args })
    }

    pub(crate) async fn body(body: axum::body::Body, gate: &Gate) -> Result<Bytes, Error> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let limit = gate.config().body_bytes_max;
        let read = http_body_util::Limited::new(body, limit).collect();
        match tokio::time::timeout(gate.config().body_timeout, read).await {
            Ok(Ok(collected)) => {
                let body = collected.to_bytes();
                let too_deep = is_deeper_than(&body, LEVELS_MAX);
                if too_deep { Err(Error::too_deep()) } else { Ok(body) }
            }
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(Error::too_large(format!("The request body is larger than {limit} bytes")))
            }
            Ok(Err(_)) => Err(Error::not_json()),
            Err(_elapsed) => {
                let why = "The request body did not arrive in time";
                Err(Error::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", why))
            }
        }
    }

    async fn parse<T: IncomingRequest>(self, gate: &Gate) -> Result<T, Error> {
        let body = Self::body(self.body, gate).await?;
        parse::<T>(self.parts, &body, &self.path_args)
    }
}

/// The values of a path's `{variables}`, in order, and the session: for endpoints whose body or
/// query is read by hand.
pub(crate) struct AuthedRaw {
    pub(crate) session: Session,
    pub(crate) parts: Parts,
    pub(crate) path_args: Vec<String>,
    pub(crate) body: Bytes,
}

impl<S> FromRequest<S> for AuthedRaw
where
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let gate = Gate::from_ref(state);
        let RawRequest { parts, body, path_args } = RawRequest::split(request).await?;
        let session = gate.authenticate(&parts).await?;
        gate.limit_user(Action::Other, &session)?;
        let body = RawRequest::body(body, &gate).await?;
        Ok(Self { session, parts, path_args, body })
    }
}

/// As [`AuthedRaw`], for bodies that are no JSON and too large for the memory. Whoever reads it says
/// how large it may be, and how long it may take.
pub(crate) struct AuthedStream {
    pub(crate) session: Session,
    pub(crate) parts: Parts,
    pub(crate) path_args: Vec<String>,
    pub(crate) body: axum::body::Body,
}

impl<S> FromRequest<S> for AuthedStream
where
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let gate = Gate::from_ref(state);
        let RawRequest { parts, body, path_args } = RawRequest::split(request).await?;
        let session = gate.authenticate(&parts).await?;
        gate.limit_user(Action::Other, &session)?;
        Ok(Self { session, parts, path_args, body })
    }
}

/// As [`AuthedRaw`], for endpoints that need no token.
pub(crate) struct OpenRaw {
    pub(crate) parts: Parts,
    pub(crate) address: std::net::IpAddr,
    pub(crate) body: Bytes,
}

impl<S> FromRequest<S> for OpenRaw
where
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let gate = Gate::from_ref(state);
        let RawRequest { parts, body, .. } = RawRequest::split(request).await?;
        let address = gate.address(&parts);
        if !gate.is_unlimited(&parts) {
            gate.limit_address(Action::Other, address)?;
        }
        let body = RawRequest::body(body, &gate).await?;
        Ok(Self { parts, address, body })
    }
}

/// Reads JSON into `T`, telling what is not JSON from what has the wrong shape.
pub(crate) fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        if is_json(body) {
            Error::bad_json(format!("The request does not have the expected form: {error}"))
        } else {
            Error::not_json()
        }
    })
}

/// As `json`, for a body that may be left out.
pub(crate) fn json_or_default<T: serde::de::DeserializeOwned + Default>(
    body: &[u8],
) -> Result<T, Error> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(T::default()) } else { json(body) }
}

pub(crate) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(body).is_ok()
        // The reader above does not look into nested values deeply enough to refuse them.
        && serde_json::from_slice::<serde_json::Value>(body).is_ok()
}

pub(crate) fn parse<T: IncomingRequest>(
    parts: Parts,
    body: &Bytes,
    path_args: &[String],
) -> Result<T, Error> {
    // Clients leave out the body of a POST whose fields are all optional, or send an empty one.
    let writes = matches!(parts.method, Method::POST | Method::PUT | Method::DELETE);
    let body = if writes && body.is_empty() { &Bytes::from_static(b"{}") } else { body };
    let path_args: Vec<&str> = path_args.iter().map(String::as_str).collect();
    let request = http::Request::from_parts(parts, body.as_ref());
    // Some of ruma's parsers panic on input that they should refuse.
    let parsed = catch_unwind(AssertUnwindSafe(|| T::try_from_http_request(request, &path_args)));
    match parsed {
        Ok(Ok(req)) => Ok(req),
        Ok(Err(error)) => Err(Error::from_request(&error, !writes || is_json(body))),
        Err(_panic) => Err(Error::bad_json("The request does not have the expected form")),
    }
}

impl From<&Session> for Subject {
    fn from(session: &Session) -> Self {
        Self::User(session.user_id.clone())
    }
}
