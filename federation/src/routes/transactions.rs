//! `PUT /send/{txnId}`.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::put,
};

use super::RawJson;
use crate::{
    error::Error,
    extract::{Signed, TRANSACTION_BYTES_MAX},
    inbound::Inbound,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new().route("/_matrix/federation/v1/send/{txn_id}", put(send_transaction_message))
}

async fn send_transaction_message(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed<TRANSACTION_BYTES_MAX>,
) -> Result<RawJson, Error> {
    let [txn_id] = request.path()?;
    let txn_id = txn_id.to_owned();
    inbound.receive_transaction(origin, txn_id, request.body.clone()).await.map(RawJson)
}
