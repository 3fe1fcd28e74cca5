//! Why a socket ends, and the close code that says so.

use frames::codec::Violation;
use serde_json::json;

use super::channel::Broken;
use crate::error::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client cannot be reached any more.
    Gone,
    /// The client closed, with this code if with any.
    Left {
        code: Option<u16>,
    },
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
pub(super) const LOCKED: End = End::Close { code: 4006, reason: "the account is locked" };
pub(super) const SLOW: End = End::Close { code: 4008, reason: "slow consumer" };
pub(super) const TOO_FAST: End = End::Close { code: 4029, reason: "too many frames" };
pub(super) const TOO_BIG: End = End::Close { code: 1009, reason: "message too big" };

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gone => Self::Gone,
            Broken::Violation(Violation::TooLong) => TOO_BIG,
            Broken::Violation(Violation::Protocol(reason)) => Self::Close { code: 4000, reason },
        }
    }
}

impl End {
    /// What follows from a refused `auth` in the first frame.
    pub(super) fn of_refused_token(error: &Error) -> Self {
        let body = error.to_json();
        if body["errcode"] == json!("M_USER_LOCKED") {
            return LOCKED;
        }
        if body["errcode"] != json!("M_UNKNOWN_TOKEN") {
            NO_AUTH
        } else if body["soft_logout"] == json!(true) {
            SOFT_LOGOUT
        } else {
            UNKNOWN_TOKEN
        }
    }
}
