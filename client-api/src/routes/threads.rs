//! `GET /_matrix/client/v1/rooms/{roomId}/threads` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room

use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::Rooms;
use ruma::api::client::threads::get_threads;

use super::{EndpointExt as _, message::PAGE_EVENTS_MAX};
use crate::{error::Error, extract::Authed, gate::Gate, render, respond::Matrix};

/// Threads of a page when the client names no limit.
const PAGE_THREADS: usize = 20;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().endpoint::<get_threads::v1::Request, _, _>(get_threads)
}

async fn get_threads(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_threads::v1::Request>,
) -> Result<Matrix<get_threads::v1::Response>, Error> {
    let participated = match req.include {
        get_threads::v1::IncludeThreads::All => false,
        get_threads::v1::IncludeThreads::Participated => true,
        other => return Err(Error::invalid_param(format!("unknown value {other} of `include`"))),
    };
    let limit = req.limit.map_or(PAGE_THREADS, |limit| {
        usize::try_from(limit).unwrap_or(PAGE_EVENTS_MAX).clamp(1, PAGE_EVENTS_MAX)
    });
    let (roots, next_batch) = rooms
        .threads(&session.user_id, &req.room_id, participated, req.from.as_deref(), limit)
        .await?;
    let chunk = render::events(&rooms, &session, &req.room_id, &roots).await?;
    Ok(Matrix(get_threads::v1::Response { chunk, next_batch }))
}
