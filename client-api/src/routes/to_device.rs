//! `PUT /_matrix/client/*/sendToDevice/{eventType}/{txnId}` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging

use axum::{
    Router,
    extract::{FromRef, State},
    routing::put,
};
use devices::{Devices, SendToDevice, SendToDeviceError, ToDeviceMessages};
use ruma::TransactionId;
use serde::Deserialize;

use super::message::check_txn_id;
use crate::{
    error::Error,
    extract::{AuthedRaw, json},
    gate::Gate,
    respond::Empty,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Devices: FromRef<S>,
{
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let path = format!("/_matrix/client/{version}/sendToDevice/{{event_type}}/{{txn_id}}");
        router = router.route(&path, put(send_event_to_device));
    }
    router
}

async fn send_event_to_device(
    State(devices): State<Devices>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        messages: ToDeviceMessages,
    }
    let [event_type, txn_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let body: Body = json(&body)?;
    let txn_id: &TransactionId = txn_id.as_str().into();
    check_txn_id(txn_id)?;
    devices
        .send_to_device(SendToDevice {
            sender: &session.user_id,
            device_id: &session.device_id,
            event_type,
            txn_id,
            messages: &body.messages,
        })
        .await?;
    Ok(Empty)
}

impl From<SendToDeviceError> for Error {
    fn from(error: SendToDeviceError) -> Self {
        let text = error.to_string();
        match error {
            SendToDeviceError::TooLarge | SendToDeviceError::TooMany => Self::too_large(text),
            SendToDeviceError::NotAnObject => Self::bad_json(text),
            SendToDeviceError::Store(error) => error.into(),
        }
    }
}
