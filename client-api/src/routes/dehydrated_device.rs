//! `/unstable/org.matrix.msc3814.v1/dehydrated_device` (MSC3814).
//!
//! Bodies are read by hand: keys are passed on as they were signed.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use devices::{
    DehydratedError, DehydratedMessages, Devices, NewDehydratedDevice,
    keys::{KeysUpload, SignedJson},
};
use ruma::{CanonicalJsonValue, DeviceId, OwnedDeviceId};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    error::Error,
    extract::{AuthedRaw, json, json_or_default},
    gate::Gate,
    respond::RawJson,
};

/// Messages of one page.
const PAGE_MESSAGES: usize = 100;
const PATH: &str = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Devices: FromRef<S>,
{
    let device =
        get(get_dehydrated_device).put(put_dehydrated_device).delete(delete_dehydrated_device);
    Router::new()
        .route(PATH, device)
        .route(&format!("{PATH}/{{device_id}}/events"), get(get_events).post(post_events))
}

fn none() -> Error {
    Error::not_found("There is no dehydrated device")
}

fn answer(body: &Value) -> RawJson {
    RawJson(body.to_string().into())
}

async fn get_dehydrated_device(
    State(devices): State<Devices>,
    AuthedRaw { session, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let device = devices.dehydrated_device(&session.user_id).await?.ok_or_else(none)?;
    Ok(answer(&json!({ "device_id": device.device_id, "device_data": device.device_data })))
}

async fn put_dehydrated_device(
    State(devices): State<Devices>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        device_id: OwnedDeviceId,
        device_data: Box<RawValue>,
        initial_device_display_name: Option<String>,
        device_keys: SignedJson,
        #[serde(default)]
        one_time_keys: BTreeMap<String, CanonicalJsonValue>,
        #[serde(default)]
        fallback_keys: BTreeMap<String, CanonicalJsonValue>,
    }
    let body: Body = json(&body)?;
    let new = NewDehydratedDevice {
        device_id: &body.device_id,
        device_data: &body.device_data,
        display_name: body.initial_device_display_name.as_deref(),
        keys: KeysUpload {
            device_keys: Some(body.device_keys),
            one_time_keys: body.one_time_keys,
            fallback_keys: body.fallback_keys,
        },
    };
    devices.set_dehydrated_device(&session.user_id, new).await?;
    Ok(answer(&json!({ "device_id": body.device_id })))
}

async fn delete_dehydrated_device(
    State(devices): State<Devices>,
    AuthedRaw { session, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let deleted = devices.delete_dehydrated_device(&session.user_id).await?.ok_or_else(none)?;
    Ok(answer(&json!({ "device_id": deleted })))
}

/// "Must include a `next_batch` property if and only if there are more messages."
async fn get_events(State(devices): State<Devices>, request: AuthedRaw) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        from: Option<String>,
    }
    let query: Query = serde_html_form::from_str(request.parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::invalid_param(format!("The query is not valid: {error}")))?;
    let after = position(query.from.as_deref())?;
    let messages = messages(&devices, &request, after).await?;
    let next_batch = messages.last.filter(|_| messages.has_more);
    render(&messages, next_batch)
}

/// As the proposal was before, and matrix-rust-sdk asks: until there are no more events, with
/// whatever `next_batch` came last. Without one it would begin again.
async fn post_events(State(devices): State<Devices>, request: AuthedRaw) -> Result<RawJson, Error> {
    #[derive(Default, Deserialize)]
    struct Body {
        next_batch: Option<String>,
    }
    let body: Body = json_or_default(&request.body)?;
    let after = position(body.next_batch.as_deref())?;
    let messages = messages(&devices, &request, after).await?;
    let next_batch = messages.last.unwrap_or(after);
    render(&messages, Some(next_batch))
}

fn position(token: Option<&str>) -> Result<u64, Error> {
    let Some(token) = token else { return Ok(0) };
    let position = token.strip_prefix('d').and_then(|position| position.parse().ok());
    position.ok_or_else(|| Error::invalid_param("This is not a token of these messages"))
}

async fn messages(
    devices: &Devices,
    request: &AuthedRaw,
    after: u64,
) -> Result<DehydratedMessages, Error> {
    let [device_id] = request.path_args.as_slice() else { return Err(Error::unrecognized()) };
    let device_id: &DeviceId = device_id.as_str().into();
    let user_id = &request.session.user_id;
    let messages = devices.dehydrated_messages(user_id, device_id, after, PAGE_MESSAGES).await?;
    messages.ok_or_else(|| Error::forbidden("This is not the dehydrated device"))
}

fn render(messages: &DehydratedMessages, next_batch: Option<u64>) -> Result<RawJson, Error> {
    let events: Vec<&RawValue> = messages
        .events
        .iter()
        .map(|event| serde_json::from_slice(event))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::internal(&error))?;
    let mut body = json!({ "events": events });
    if let Some(next_batch) = next_batch {
        body["next_batch"] = format!("d{next_batch}").into();
    }
    Ok(answer(&body))
}

impl From<DehydratedError> for Error {
    fn from(error: DehydratedError) -> Self {
        use DehydratedError as E;
        let text = error.to_string();
        match error {
            E::DeviceExists => Self::invalid_param(text),
            E::NoKeys => Self::missing_param(text),
            E::BadData => Self::bad_json(text),
            E::Device(error) => error.into(),
            E::Keys(error) => error.into(),
            E::Store(error) => error.into(),
        }
    }
}
