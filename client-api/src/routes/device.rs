//! `/_matrix/client/*/devices` and `/delete_devices` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#device-management

use accounts::{Accounts, Session, Stage};
use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse as _, Response},
    routing::{delete, post},
};
use devices::{DeviceError, Devices};
use http::StatusCode;
use ruma::{
    DeviceId, MilliSecondsSinceUnixEpoch, OwnedDeviceId, UInt,
    api::client::device::{Device, get_device, get_devices, update_device},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{EndpointExt as _, account::end_device};
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw, json, json_or_default},
    gate::Gate,
    respond::{Empty, Matrix},
    uia::{self, Challenge},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Devices: FromRef<S>,
{
    let mut router = Router::new()
        .endpoint::<get_device::v3::Request, _, _>(get_device)
        .endpoint::<get_devices::v3::Request, _, _>(get_devices)
        .endpoint::<update_device::v3::Request, _, _>(update_device);
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}");
        router = router
            .route(&format!("{base}/devices/{{device_id}}"), delete(delete_device))
            .route(&format!("{base}/delete_devices"), post(delete_devices));
    }
    router
}

fn render(device: devices::Device) -> Device {
    let ts = device.last_seen_ts.and_then(|ts| UInt::try_from(ts).ok());
    Device {
        device_id: device.device_id,
        display_name: device.display_name,
        last_seen_ip: device.last_seen_ip.map(|ip| ip.to_string()),
        last_seen_ts: ts.map(MilliSecondsSinceUnixEpoch),
    }
}

async fn get_devices(
    State(devices): State<Devices>,
    Authed { session, .. }: Authed<get_devices::v3::Request>,
) -> Result<Matrix<get_devices::v3::Response>, Error> {
    let devices = devices.list(&session.user_id).await?.into_iter().map(render).collect();
    Ok(Matrix(get_devices::v3::Response { devices }))
}

async fn get_device(
    State(devices): State<Devices>,
    Authed { session, req }: Authed<get_device::v3::Request>,
) -> Result<Matrix<get_device::v3::Response>, Error> {
    let device = devices
        .get(&session.user_id, &req.device_id)
        .await?
        .ok_or_else(|| Error::not_found("Device not found"))?;
    Ok(Matrix(get_device::v3::Response { device: render(device) }))
}

/// "Application services can use the … endpoint to create new devices."
async fn create_device(
    devices: &Devices,
    session: &Session,
    req: &update_device::v3::Request,
) -> Result<Response, Error> {
    let name = req.display_name.as_deref();
    devices.ensure(&session.user_id, Some(&req.device_id), name).await?;
    Ok((StatusCode::CREATED, Empty).into_response())
}

async fn update_device(
    State(devices): State<Devices>,
    Authed { session, req }: Authed<update_device::v3::Request>,
) -> Result<Response, Error> {
    if session.appservice.is_some()
        && devices.get(&session.user_id, &req.device_id).await?.is_none()
    {
        return create_device(&devices, &session, &req).await;
    }
    if let Some(name) = &req.display_name {
        devices.rename(&session.user_id, &req.device_id, Some(name)).await?;
    } else if devices.get(&session.user_id, &req.device_id).await?.is_none() {
        return Err(Error::not_found("Device not found"));
    }
    Ok(Empty.into_response())
}

/// Deleting a device wants the password again, but of an application service.
async fn prove(
    accounts: &Accounts,
    session: &Session,
    parts: &http::request::Parts,
    target: &str,
    auth: Option<&RawValue>,
) -> Result<(), Error> {
    if session.appservice.is_some() {
        return Ok(());
    }
    let challenge = Challenge {
        method: &parts.method,
        path: parts.uri.path(),
        session: Some(session),
        target,
        flows: &[&[Stage::Password]],
        auth,
    };
    uia::require(accounts, challenge).await.map(drop)
}

async fn delete_device(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    AuthedRaw { session, parts, path_args, body }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Default, Deserialize)]
    struct Body {
        auth: Option<Box<RawValue>>,
    }
    let [device_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let body: Body = json_or_default(&body)?;
    prove(&accounts, &session, &parts, device_id, body.auth.as_deref()).await?;
    let device_id: &DeviceId = device_id.as_str().into();
    end_device(&accounts, &devices, &session.user_id, device_id).await?;
    Ok(Empty)
}

async fn delete_devices(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    AuthedRaw { session, parts, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        devices: Vec<OwnedDeviceId>,
        auth: Option<Box<RawValue>>,
    }
    let body: Body = json(&body)?;
    let target = body.devices.iter().map(|id| id.as_str()).collect::<Vec<_>>().join("\0");
    prove(&accounts, &session, &parts, &target, body.auth.as_deref()).await?;
    for device_id in &body.devices {
        end_device(&accounts, &devices, &session.user_id, device_id).await?;
    }
    Ok(Empty)
}

impl From<DeviceError> for Error {
    fn from(error: DeviceError) -> Self {
        let text = error.to_string();
        match error {
            DeviceError::NotFound => Self::not_found(text),
            DeviceError::IsSigningKey => Self::forbidden(text),
            DeviceError::Invalid(_) => Self::invalid_param(text),
            DeviceError::TooMany => {
                Self::new(StatusCode::FORBIDDEN, "M_RESOURCE_LIMIT_EXCEEDED", text)
            }
            DeviceError::Store(error) => error.into(),
        }
    }
}
