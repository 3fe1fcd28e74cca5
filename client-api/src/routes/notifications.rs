//! `GET /notifications` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications

use ::push::{NotificationsQuery, Push};
use accounts::Session;
use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{Rooms, UnsignedFor};
use ruma::{MilliSecondsSinceUnixEpoch, UInt, api::client::push::get_notifications};

use super::EndpointExt as _;
use crate::{error::Error, extract::Authed, gate::Gate, render::raw, respond::Matrix};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 200;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Push: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().endpoint::<get_notifications::v3::Request, _, _>(get_notifications)
}

async fn get_notifications(
    State(push): State<Push>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_notifications::v3::Request>,
) -> Result<Matrix<get_notifications::v3::Response>, Error> {
    let before = req.from.as_deref().map(|from| {
        from.parse().map_err(|_| Error::invalid_param("'from' is not a token of this server"))
    });
    let limit = req.limit.and_then(|limit| usize::try_from(limit).ok());
    let query = NotificationsQuery {
        user: &session.user_id,
        before: before.transpose()?,
        limit: limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        only_highlights: req.only.as_deref() == Some("highlight"),
    };
    let page = push.notifications(query).await?;
    let mut notifications = Vec::with_capacity(page.notifications.len());
    for notification in &page.notifications {
        notifications.push(render(&rooms, &session, notification).await?);
    }
    let next_token = page.before.map(|before| before.to_string());
    Ok(Matrix(get_notifications::v3::Response { next_token, notifications }))
}

async fn render(
    rooms: &Rooms,
    session: &Session,
    notification: &::push::Notification,
) -> Result<get_notifications::v3::Notification, Error> {
    let event = &notification.event;
    let viewer = UnsignedFor {
        viewer: &session.user_id,
        device: Some(&session.device_id),
        membership: None,
        relations: None,
    };
    let unsigned = rooms.unsigned(event, &viewer).await?;
    let mut json = Vec::with_capacity(1024);
    event.client.write(&mut json, None, Some(&unsigned));
    let ts = UInt::new_saturating(event.pdu.origin_server_ts());
    Ok(get_notifications::v3::Notification {
        actions: notification.actions.to_vec(),
        event: raw(json)?,
        // Rules have none since long; the field is there all the same, as in Synapse.
        profile_tag: Some(String::new()),
        read: notification.read,
        room_id: event.pdu.room_id().to_owned(),
        ts: MilliSecondsSinceUnixEpoch(ts),
    })
}
