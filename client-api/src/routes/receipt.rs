//! `POST /_matrix/client/*/rooms/{roomId}/receipt/{receiptType}/{eventId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#receipts

use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{NewReceipt, Rooms};
use ruma::{
    api::client::receipt::create_receipt::{self, v3::ReceiptType},
    events::receipt::ReceiptThread,
};

use super::{EndpointExt as _, read_marker::set_fully_read};
use crate::{error::Error, extract::Authed, gate::Gate, respond::Matrix};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new().endpoint::<create_receipt::v3::Request, _, _>(create_receipt)
}

async fn create_receipt(
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<create_receipt::v3::Request>,
) -> Result<Matrix<create_receipt::v3::Response>, Error> {
    let kind = match req.receipt_type {
        ReceiptType::Read => "m.read",
        ReceiptType::ReadPrivate => "m.read.private",
        ReceiptType::FullyRead => {
            // "m.fully_read ... thread_id must not be specified".
            if req.thread != ReceiptThread::Unthreaded {
                return Err(Error::invalid_param("m.fully_read cannot have a thread_id"));
            }
            set_fully_read(&rooms, &accounts, &session, &req.room_id, &req.event_id).await?;
            return Ok(Matrix(create_receipt::v3::Response::new()));
        }
        other => {
            return Err(Error::invalid_param(format!("unknown receipt type {other}")));
        }
    };
    rooms
        .set_receipt(NewReceipt {
            room_id: &req.room_id,
            user: &session.user_id,
            kind,
            event_id: &req.event_id,
            thread: req.thread.as_str(),
        })
        .await?;
    Ok(Matrix(create_receipt::v3::Response::new()))
}
