//! `/_matrix/client/*/presence/{userId}/status` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#presence

use std::time::Duration;

use axum::{
    Router,
    extract::{FromRef, State},
};
use presence::{Presence, PresenceError};
use rooms::Rooms;
use ruma::{
    api::client::presence::{get_presence, set_presence},
    presence::PresenceState,
};

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, respond::Matrix};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Presence: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<get_presence::v3::Request, _, _>(get_presence)
        .endpoint::<set_presence::v3::Request, _, _>(set_presence)
}

async fn get_presence(
    State(gate): State<Gate>,
    State(presence): State<Presence>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_presence::v3::Request>,
) -> Result<Matrix<get_presence::v3::Response>, Error> {
    let own = session.user_id == req.user_id;
    if !own && !rooms.shares_room(&session.user_id, &req.user_id).await? {
        return Err(Error::forbidden("You are not in a room with this user"));
    }
    let state = presence.get(&req.user_id).await?;
    let ago = |ts: u64| Duration::from_millis(gate.now_ms().saturating_sub(ts));
    Ok(Matrix(get_presence::v3::Response {
        status_msg: state.status_msg.map(|status| status.to_string()),
        currently_active: (state.presence == PresenceState::Online)
            .then_some(state.currently_active),
        last_active_ago: state.last_active_ts.map(ago),
        presence: state.presence,
    }))
}

async fn set_presence(
    State(presence): State<Presence>,
    Authed { session, req }: Authed<set_presence::v3::Request>,
) -> Result<Matrix<set_presence::v3::Response>, Error> {
    if session.user_id != req.user_id {
        return Err(Error::forbidden("You may only set your own presence"));
    }
    presence
        .set(&session.user_id, &session.device_id, &req.presence, req.status_msg.as_deref())
        .await?;
    Ok(Matrix(set_presence::v3::Response::new()))
}

impl From<PresenceError> for Error {
    fn from(error: PresenceError) -> Self {
        let text = error.to_string();
        match error {
            PresenceError::InvalidState | PresenceError::StatusTooLong => Self::invalid_param(text),
            PresenceError::Store(error) => error.into(),
        }
    }
}
