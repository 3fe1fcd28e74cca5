//! Why a socket ends, and the close code that says so.

use serde_json::json;
use tokio_tungstenite::tungstenite;

use crate::error::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client cannot be reached any more.
    Gone,
    /// The client closed.
    Left,
    Close {
        code: u16,
        reason: &'static str,
    },
    /// The server stops.
    Restart,
}

pub(super) const PROTOCOL_ERROR: End = End::Close { code: 4000, reason: "protocol error" };
pub(super) const REPLACED: End = End::Close { code: 4001, reason: "connection replaced" };
pub(super) const NO_AUTH: End = End::Close { code: 4003, reason: "authentication missing or late" };
pub(super) const UNKNOWN_TOKEN: End = End::Close { code: 4004, reason: "unknown token" };
pub(super) const SOFT_LOGOUT: End =
    End::Close { code: 4005, reason: "the access token has expired" };
pub(super) const SLOW: End = End::Close { code: 4008, reason: "slow consumer" };
pub(super) const TOO_FAST: End = End::Close { code: 4029, reason: "too many frames" };
pub(super) const TOO_BIG: End = End::Close { code: 1009, reason: "message too big" };

impl End {
    /// What became of a socket that cannot be read.
    pub(super) fn of(error: axum::Error) -> Self {
        use tungstenite::{Error as E, error::ProtocolError};
        match error.into_inner().downcast_ref() {
            Some(E::Capacity(_)) => TOO_BIG,
            Some(E::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => Self::Gone,
            Some(E::Protocol(_) | E::Utf8(_) | E::AttackAttempt) => PROTOCOL_ERROR,
            _ => Self::Gone,
        }
    }

    /// What follows from a refused `auth` in the first frame.
    pub(super) fn of_refused_token(error: &Error) -> Self {
        let body = error.to_json();
        if body["errcode"] != json!("M_UNKNOWN_TOKEN") {
            NO_AUTH
        } else if body["soft_logout"] == json!(true) {
            SOFT_LOGOUT
        } else {
            UNKNOWN_TOKEN
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::{
        Error as E,
        error::{CapacityError, ProtocolError},
    };

    use super::{End, PROTOCOL_ERROR, TOO_BIG};

    #[test]
    fn what_cannot_be_read_has_a_code() {
        let size = CapacityError::MessageTooLong { size: 9, max_size: 8 };
        let cases = [
            (E::Capacity(size), TOO_BIG),
            (E::Utf8("byte 7".to_owned()), PROTOCOL_ERROR),
            (E::Protocol(ProtocolError::UnmaskedFrameFromClient), PROTOCOL_ERROR),
            (E::Protocol(ProtocolError::ResetWithoutClosingHandshake), End::Gone),
            (E::ConnectionClosed, End::Gone),
            (E::Io(std::io::ErrorKind::ConnectionReset.into()), End::Gone),
        ];
        for (error, end) in cases {
            let text = error.to_string();
            assert_eq!(End::of(axum::Error::new(error)), end, "{text}");
        }
    }
}
