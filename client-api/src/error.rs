//! The only place that knows errcodes: domain errors become Matrix errors here.

use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use ruma::api::error::{DeserializationError, FromHttpRequestError};
use serde_json::{Map, Value, json};

/// What a client is told. What an operator is told is logged where the failure is handled.
#[derive(Clone, Debug)]
pub struct Error {
    status: StatusCode,
    errcode: Cow<'static, str>,
    message: Cow<'static, str>,
    /// Further fields of the body, such as `soft_logout`.
    extra: Map<String, Value>,
    /// The whole body, where it is not that of an ordinary error.
    body: Option<Box<Value>>,
    retry_after: Option<Duration>,
}

impl Error {
    pub(crate) fn new(
        status: StatusCode,
        errcode: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            errcode: errcode.into(),
            message: message.into(),
            extra: Map::new(),
            body: None,
            retry_after: None,
        }
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    #[cfg(test)]
    pub(crate) fn errcode(&self) -> &str {
        &self.errcode
    }

    /// The body of the HTTP response, and the `error` of a WebSocket response.
    pub(crate) fn to_json(&self) -> Value {
        if let Some(body) = &self.body {
            return Value::clone(body);
        }
        let mut body = self.extra.clone();
        body.insert("errcode".to_owned(), self.errcode.as_ref().into());
        body.insert("error".to_owned(), self.message.as_ref().into());
        if let Some(after) = self.retry_after {
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            body.insert("retry_after_ms".to_owned(), ms.into());
        }
        Value::Object(body)
    }

    /// 401 with what user-interactive authentication still asks for.
    pub(crate) fn uia(body: Value) -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            "M_UNAUTHORIZED",
            "Further authentication is needed",
        );
        error.body = Some(Box::new(body));
        error
    }

    pub(crate) fn unrecognized() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "Unrecognized request")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "Unrecognized request method")
    }

    pub(crate) fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    /// "If the user is invited" who blocks invites.
    pub(crate) fn invite_blocked(user: &ruma::UserId) -> Self {
        let text = format!("{user} does not want to be invited");
        Self::new(StatusCode::FORBIDDEN, "M_INVITE_BLOCKED", text)
    }

    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    pub(crate) fn bad_json(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    pub(crate) fn not_json() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", "The request body is not valid JSON")
    }

    pub(crate) fn too_deep() -> Self {
        Self::bad_json("The JSON is nested too deeply")
    }

    pub(crate) fn invalid_param(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    /// A position that this server never gave, or has forgotten: start without one.
    pub(crate) fn unknown_pos() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN_POS", "The position is not known")
    }

    pub(crate) fn missing_param(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", message)
    }

    pub(crate) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    pub(crate) fn missing_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", "Missing access token")
    }

    pub(crate) fn unknown_token(soft_logout: bool) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN", "Unrecognised access token")
            .with("soft_logout", soft_logout)
    }

    /// "soft_logout set to true": the client keeps what it has until the lock is taken off.
    pub(crate) fn user_locked() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_USER_LOCKED", "This account has been locked")
            .with("soft_logout", true)
    }

    pub(crate) fn user_suspended() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "M_USER_SUSPENDED",
            "You cannot perform this action while suspended.",
        )
    }

    pub(crate) fn limit_exceeded(retry_after: Duration) -> Self {
        let mut error =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", "Too many requests");
        error.retry_after = Some(retry_after);
        error
    }

    /// 507: the disk is nearly full; reads go on.
    pub(crate) fn low_space() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "M_RESOURCE_LIMIT_EXCEEDED",
            "The server's disk is nearly full, so it accepts no changes at the moment",
        )
        .with("limit_type", "disk_space")
        .with("admin_contact", "")
    }

    /// A failure of ours. `cause` is for the log only.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "Internal server error")
    }

    /// For a request that ruma could not read. `body_is_json` tells a wrong shape from no JSON.
    pub(crate) fn from_request(error: &FromHttpRequestError, body_is_json: bool) -> Self {
        if !body_is_json {
            return Self::not_json();
        }
        let text = format!("The request does not have the expected form: {error}");
        match error {
            FromHttpRequestError::Deserialization(
                DeserializationError::Query(_) | DeserializationError::Ident(_),
            ) if text.contains("missing field") => Self::missing_param(text),
            FromHttpRequestError::Deserialization(
                DeserializationError::Query(_) | DeserializationError::Ident(_),
            ) => Self::invalid_param(text),
            _ => Self::bad_json(text),
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.errcode, self.message)
    }
}

impl std::error::Error for Error {}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.to_json())).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// What a handler of a panic answers.
pub(crate) fn panicked() -> Response {
    let body = json!({"errcode": "M_UNKNOWN", "error": "Internal server error"});
    (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(body)).into_response()
}

impl Error {
    /// What another server refused is refused for its reason; a server that gives no answer is a bad
    /// gateway.
    fn from_remote(error: rooms::ports::RemoteError, text: String) -> Self {
        use rooms::ports::RemoteError as E;
        match error {
            // "SHOULD fail with a 5xx error rather than being passed through": what was wrong is
            // what this server sent.
            E::Refused { errcode, .. }
                if ["M_INVALID_PARAM", "M_MISSING_PARAM"].contains(&&*errcode) =>
            {
                Self::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", text)
            }
            E::Refused { status, errcode, message, room_version, .. }
                if (400..500).contains(&status) =>
            {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                let errcode = if errcode.is_empty() { "M_UNKNOWN".to_owned() } else { errcode };
                let error = Self::new(status, errcode, message);
                match room_version {
                    Some(version) => error.with("room_version", version),
                    None => error,
                }
            }
            _ => Self::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", text),
        }
    }
}

impl From<rooms::Error> for Error {
    fn from(error: rooms::Error) -> Self {
        use rooms::Error as E;
        let text = error.to_string();
        match error {
            E::NotFound(_) => Self::not_found(text),
            E::Forbidden(_) | E::NotJoined | E::UnableToAuthoriseJoin => Self::forbidden(text),
            E::GuestsForbidden => {
                Self::new(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", text)
            }
            E::UnableToGrantJoin => {
                Self::new(StatusCode::BAD_REQUEST, "M_UNABLE_TO_GRANT_JOIN", text)
            }
            E::BadJson(_) => Self::bad_json(text),
            E::InvalidParam(_) | E::BadSignature(_) => Self::invalid_param(text),
            E::TooLarge(_) => Self::too_large(text),
            E::UnsupportedRoomVersion(_) => {
                Self::new(StatusCode::BAD_REQUEST, "M_UNSUPPORTED_ROOM_VERSION", text)
            }
            E::BadAlias(_) => Self::new(StatusCode::BAD_REQUEST, "M_BAD_ALIAS", text),
            E::BadRelation(_) => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", text),
            E::DuplicateAnnotation => {
                Self::new(StatusCode::BAD_REQUEST, "M_DUPLICATE_ANNOTATION", text)
            }
            E::RoomInUse => Self::new(StatusCode::BAD_REQUEST, "M_ROOM_IN_USE", text),
            E::InvalidRoomState(_) => {
                Self::new(StatusCode::BAD_REQUEST, "M_INVALID_ROOM_STATE", text)
            }
            E::WrongMembership { .. } => Self::forbidden(text),
            E::Remote(error) => Self::from_remote(error, text),
            E::IncompatibleRoomVersion(_) => {
                Self::new(StatusCode::BAD_REQUEST, "M_INCOMPATIBLE_ROOM_VERSION", text)
            }
            E::LowSpace => Self::low_space(),
            E::Internal(_) => Self::internal(&text),
        }
    }
}

impl From<sync::SyncError> for Error {
    fn from(error: sync::SyncError) -> Self {
        use sync::SyncError as E;
        match error {
            E::InvalidToken => Self::invalid_param(error.to_string()),
            E::UnknownPos => Self::unknown_pos(),
            // The client comes again with the same token, to whoever answers then.
            E::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", error.to_string())
            }
            E::Rooms(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

fn read_error(error: &storage::ReadError) -> Error {
    Error::internal(error)
}

fn commit_error(error: &storage::CommitError) -> Error {
    match error {
        storage::CommitError::LowSpace => Error::low_space(),
        other => Error::internal(other),
    }
}

macro_rules! store_errors {
    ($($error:path),*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                use $error as E;
                match &error {
                    E::Read(error) => read_error(error),
                    E::Commit(error) => commit_error(error),
                }
            }
        }
    )*};
}
store_errors!(accounts::StoreError, devices::StoreError, presence::StoreError);

impl From<accounts::PasswordError> for Error {
    fn from(error: accounts::PasswordError) -> Self {
        use accounts::PasswordError as E;
        let text = error.to_string();
        match error {
            E::Busy => Self::limit_exceeded(Duration::from_secs(1)),
            E::Store(error) => error.into(),
            E::Wrong => Self::forbidden(text),
            E::Deactivated => Self::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", text),
            E::TooShort(_) | E::TooLong(_) => {
                Self::new(StatusCode::BAD_REQUEST, "M_WEAK_PASSWORD", text)
            }
        }
    }
}

impl From<accounts::SessionError> for Error {
    fn from(error: accounts::SessionError) -> Self {
        use accounts::SessionError as E;
        let text = error.to_string();
        match error {
            E::Deactivated => Self::new(StatusCode::FORBIDDEN, "M_USER_DEACTIVATED", text),
            E::UserChanged => Self::forbidden(text),
            E::Locked => Self::user_locked(),
            E::Store(error) => error.into(),
        }
    }
}

impl From<accounts::RefreshError> for Error {
    fn from(error: accounts::RefreshError) -> Self {
        match error {
            accounts::RefreshError::Unknown => Self::unknown_token(false),
            accounts::RefreshError::Locked => Self::user_locked(),
            accounts::RefreshError::Store(error) => error.into(),
        }
    }
}

impl From<accounts::SharedSecretError> for Error {
    fn from(error: accounts::SharedSecretError) -> Self {
        use accounts::SharedSecretError as E;
        let text = error.to_string();
        match error {
            E::Disabled => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", text),
            E::Nonce | E::Nul => Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", text),
            E::Mac => Self::forbidden(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use rooms::ports::RemoteError;
    use serde_json::json;

    use super::Error;

    #[test]
    fn what_another_server_refuses_is_refused_for_its_reason() {
        for (status, errcode, expected) in [
            (403, "M_FORBIDDEN", (403, "M_FORBIDDEN")),
            (400, "M_INCOMPATIBLE_ROOM_VERSION", (400, "M_INCOMPATIBLE_ROOM_VERSION")),
            (404, "", (404, "M_UNKNOWN")),
            (302, "M_FOUND", (502, "M_UNKNOWN")),
            // What was wrong is what this server sent, not what the client did.
            (400, "M_INVALID_PARAM", (502, "M_UNKNOWN")),
            (400, "M_MISSING_PARAM", (502, "M_UNKNOWN")),
        ] {
            let refused = RemoteError::Refused {
                server: ruma::owned_server_name!("there.test"),
                status,
                errcode: errcode.to_owned(),
                message: "no".to_owned(),
                room_version: Some("org.x".to_owned()),
            };
            let error = Error::from(rooms::Error::Remote(refused));
            assert_eq!((error.status.as_u16(), error.errcode()), expected, "{status} {errcode}");
            let version = (expected.0 != 502).then_some("org.x");
            assert_eq!(error.to_json()["room_version"], json!(version), "{status} {errcode}");
        }
    }
}
