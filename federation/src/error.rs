//! What another server is told when it is refused.

use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use rooms::ports::RemoteError;
use serde_json::{Map, Value, json};

#[derive(Clone, Debug)]
pub(crate) struct Error {
    status: StatusCode,
    errcode: Cow<'static, str>,
    message: String,
    extra: Map<String, Value>,
}

impl Error {
    pub(crate) fn new(
        status: StatusCode,
        errcode: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let errcode = Cow::Borrowed(errcode);
        Self { status, errcode, message: message.into(), extra: Map::new() }
    }

    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    pub(crate) fn invite_blocked(user: &ruma::UserId) -> Self {
        let text = format!("{user} does not want to be invited");
        Self::new(StatusCode::FORBIDDEN, "M_INVITE_BLOCKED", text)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    pub(crate) fn unrecognized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", message)
    }

    pub(crate) fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", message)
    }

    pub(crate) fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    pub(crate) fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    /// More than a server may ask for at once.
    pub(crate) fn limit_exceeded(wait: Duration) -> Self {
        let text = "Your server asks for too much at once";
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", text)
            .with("retry_after_ms", wait)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "The method is another one")
    }

    /// Whether it is trouble of ours that may or may not pass.
    pub(crate) fn is_internal(&self) -> bool {
        self.status == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// A failure of ours. `cause` is for the log only.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "a request of another server failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "Internal server error")
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let wait = self.extra.get("retry_after_ms").and_then(Value::as_u64);
        let wait = wait.map(|ms| [(header::RETRY_AFTER, ms.div_ceil(1000).to_string())]);
        let mut body = self.extra;
        body.insert("errcode".to_owned(), self.errcode.as_ref().into());
        body.insert("error".to_owned(), self.message.into());
        (self.status, wait, axum::Json(Value::Object(body))).into_response()
    }
}

/// What a handler of a panic answers.
pub(crate) fn panicked() -> Response {
    let body = json!({"errcode": "M_UNKNOWN", "error": "Internal server error"});
    (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(body)).into_response()
}

impl From<rooms::Error> for Error {
    fn from(error: rooms::Error) -> Self {
        use rooms::Error as E;
        let text = error.to_string();
        match error {
            E::NotFound(_) => Self::not_found(text),
            E::Forbidden(_) | E::NotJoined | E::GuestsForbidden => Self::forbidden(text),
            E::UnableToGrantJoin => {
                Self::new(StatusCode::BAD_REQUEST, "M_UNABLE_TO_GRANT_JOIN", text)
            }
            E::UnableToAuthoriseJoin => {
                Self::new(StatusCode::BAD_REQUEST, "M_UNABLE_TO_AUTHORISE_JOIN", text)
            }
            E::IncompatibleRoomVersion(version) => {
                Self::new(StatusCode::BAD_REQUEST, "M_INCOMPATIBLE_ROOM_VERSION", text)
                    .with("room_version", version)
            }
            E::UnsupportedRoomVersion(_) => {
                Self::new(StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION", text)
            }
            E::BadJson(_) => Self::bad_json(text),
            E::TooLarge(_) => Self::too_large(text),
            // "servers SHOULD return M_INVALID_PARAM" for a signature too.
            E::InvalidParam(_)
            | E::BadSignature(_)
            | E::BadAlias(_)
            | E::BadRelation(_)
            | E::DuplicateAnnotation
            | E::RoomInUse
            | E::InvalidRoomState(_)
            | E::WrongMembership { .. } => Self::invalid_param(text),
            E::Remote(RemoteError::Unreachable { .. } | RemoteError::Malformed { .. }) => {
                Self::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", text)
            }
            E::Remote(RemoteError::Refused { .. }) => Self::forbidden(text),
            E::LowSpace => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "M_RESOURCE_LIMIT_EXCEEDED",
                "The server's disk is nearly full",
            ),
            E::Internal(_) => Self::internal(&text),
        }
    }
}

impl From<storage::ReadError> for Error {
    fn from(error: storage::ReadError) -> Self {
        Self::internal(&error)
    }
}

impl From<devices::StoreError> for Error {
    fn from(error: devices::StoreError) -> Self {
        match error {
            devices::StoreError::Read(error) => error.into(),
            devices::StoreError::Commit(error) => error.into(),
        }
    }
}

impl From<storage::CommitError> for Error {
    fn from(error: storage::CommitError) -> Self {
        match error {
            storage::CommitError::LowSpace => rooms::Error::LowSpace.into(),
            other => Self::internal(&other),
        }
    }
}
