//! `/rooms/{roomId}/report`, `/rooms/{roomId}/report/{eventId}` and `/users/{userId}/report`
//! ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#reporting-content

use accounts::{Accounts, ReportError, Reported};
use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::Rooms;
use ruma::{
    api::client::{
        reporting::report_user,
        room::{report_content, report_room},
    },
    events::room::member::MembershipState,
};

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, respond::Empty};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<report_content::v3::Request, _, _>(report_content)
        .endpoint::<report_room::v3::Request, _, _>(report_room)
        .endpoint::<report_user::v3::Request, _, _>(report_user)
}

/// "Homeservers that wish to conceal this information MAY return 200 responses regardless of the
/// existence of the reported room": a room that this server does not know is nothing it could act
/// on, and is not kept.
async fn report_room(
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<report_room::v3::Request>,
) -> Result<Empty, Error> {
    if rooms.room(&req.room_id).await?.is_some() {
        let reported = Reported::Room(req.room_id);
        accounts.report(session.user_id, reported, some(req.reason)).await?;
    }
    Ok(Empty)
}

async fn report_content(
    State(accounts): State<Accounts>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<report_content::v3::Request>,
) -> Result<Empty, Error> {
    let membership = rooms.membership(&session.user_id, &req.room_id).await?;
    if membership != Some(MembershipState::Join) {
        let text = "The event was not found or you are not joined to the room.";
        return Err(Error::not_found(text));
    }
    rooms.event(&session.user_id, &req.room_id, &req.event_id).await?;
    let reported = Reported::Event(req.room_id, req.event_id);
    accounts.report(session.user_id, reported, req.reason).await?;
    Ok(Empty)
}

/// Whether a user exists is not told either. Others' users are not known here.
async fn report_user(
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<report_user::v3::Request>,
) -> Result<Empty, Error> {
    let known = !accounts.is_local(&req.user_id) || accounts.user(&req.user_id).await?.is_some();
    if known {
        let reported = Reported::User(req.user_id);
        accounts.report(session.user_id, reported, some(req.reason)).await?;
    }
    Ok(Empty)
}

/// "May be blank."
fn some(reason: String) -> Option<String> {
    Some(reason).filter(|reason| !reason.is_empty())
}

impl From<ReportError> for Error {
    fn from(error: ReportError) -> Self {
        let text = error.to_string();
        match error {
            ReportError::TooLarge => Self::too_large(text),
            ReportError::TooMany => Self::limit_exceeded(std::time::Duration::from_secs(3600)),
            ReportError::Store(error) => error.into(),
        }
    }
}
