//! Extractors: requests of other servers, authenticated, and of anybody.

use std::time::Duration;

use axum::{
    RequestExt as _,
    extract::{FromRef, FromRequest, RawPathParams, Request},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use ruma::OwnedServerName;
use serde::de::DeserializeOwned;

use crate::{
    admission::Admitted,
    error::Error,
    inbound::{Claim, Inbound},
};

/// Fifty PDUs of the largest size and a hundred EDUs as large.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 16 << 20;
/// Of everything else: one PDU, and what is shown of its room.
const BODY_BYTES_MAX: usize = 1 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that a server has signed.
pub(crate) struct Signed<const MAX: usize = BODY_BYTES_MAX> {
    pub(crate) origin: OwnedServerName,
    pub(crate) request: Plain,
}

/// A request before anything is made of it.
pub(crate) struct Plain {
    path: Vec<String>,
    query: String,
    pub(crate) body: Bytes,
    /// Of a server, as long as the request is worked on.
    admitted: Option<Admitted>,
}

impl Plain {
    /// The path's variables in order, decoded.
    pub(crate) fn path<const N: usize>(&self) -> Result<[&str; N], Error> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        path.try_into().map_err(|_| Error::internal(&"a route with other variables"))
    }

    pub(crate) fn query<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_html_form::from_str(&self.query)
            .map_err(|error| Error::invalid_param(format!("The query cannot be read: {error}")))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Error::bad_json(format!("The body cannot be read: {error}")))
    }
}

/// Text of a path or a query as an identifier.
pub(crate) fn id<'a, T: TryFrom<&'a str>>(text: &'a str) -> Result<T, Error> {
    T::try_from(text).map_err(|_| Error::invalid_param(format!("{text:?} is not such an id")))
}

async fn read(mut request: Request, limit: usize) -> Result<(http::request::Parts, Plain), Error> {
    let params: RawPathParams = request
        .extract_parts()
        .await
        .map_err(|_| Error::invalid_param("The path is not valid UTF-8"))?;
    let path = params.iter().map(|(_, value)| value.to_owned()).collect();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (parts, body) = request.into_parts();
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect());
    let body = match collected.await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Error::too_large(format!("The body is larger than {limit} bytes")));
        }
        Ok(Err(_)) | Err(_) => return Err(Error::bad_json("The body could not be read")),
    };
    Ok((parts, Plain { path, query, body, admitted: None }))
}

impl<S, const MAX: usize> FromRequest<S> for Signed<MAX>
where
    Inbound: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let inbound = Inbound::from_ref(state);
        let claimed = inbound.claimed(request.headers())?;
        let (parts, mut request) = read(request, MAX).await?;
        let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let content = (!request.body.is_empty()).then_some(&*request.body);
        let claim = Claim { method: parts.method.as_str(), uri, content };
        let origin = inbound.authenticate(claimed, &claim).await?;
        request.admitted = Some(inbound.inner.admission.admit(&origin)?);
        Ok(Self { origin, request })
    }
}

impl<S: Send + Sync> FromRequest<S> for Plain {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        read(request, BODY_BYTES_MAX).await.map(|(_, request)| request)
    }
}
