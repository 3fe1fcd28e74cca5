//! `/_matrix/client/*/pushers` and `/pushers/set` ([spec])
//!
//! The body is read by hand: ruma's types know nothing of MSC3881 and MSC4174.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers

use ::push::{ActivationError, NewPusher, Push, Pusher, PusherError, SetPusher};
use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    error::Error,
    extract::{AuthedRaw, json as parse},
    gate::Gate,
    respond::{Empty, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Push: FromRef<S>,
{
    let mut router = Router::new();
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}/pushers");
        router = router
            .route(&base, get(get_pushers))
            .route(&format!("{base}/set"), post(set_pusher))
            .route(&format!("{base}/ack"), post(activate_pusher));
    }
    router
}

async fn get_pushers(
    State(push): State<Push>,
    AuthedRaw { session, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let pushers = push.pushers(&session.user_id).await?;
    let pushers: Vec<_> = pushers.iter().map(|pusher| render(pusher)).collect();
    Ok(RawJson(json!({ "pushers": pushers }).to_string().into()))
}

fn render(pusher: &Pusher) -> Value {
    let mut object = json!({
        "kind": pusher.kind.as_str(),
        "app_id": pusher.app_id,
        "pushkey": pusher.pushkey,
        "app_display_name": pusher.app_display_name,
        "device_display_name": pusher.device_display_name,
        "lang": pusher.lang,
        "data": pusher.data,
        "enabled": pusher.enabled,
        "org.matrix.msc3881.enabled": pusher.enabled,
        "device_id": pusher.device_id,
        "org.matrix.msc3881.device_id": pusher.device_id,
    });
    if let Some(profile_tag) = &pusher.profile_tag {
        object["profile_tag"] = json!(profile_tag);
    }
    if let Some(activated) = pusher.activated() {
        object["activated"] = json!(activated);
    }
    object
}

/// Fields that are required are so in the one form or in the other only.
#[derive(Deserialize)]
struct Body {
    app_id: Option<String>,
    pushkey: Option<String>,
    /// That it is there, and `null`, is an order to delete.
    #[serde(default, deserialize_with = "present")]
    kind: Option<Option<String>>,
    app_display_name: Option<String>,
    device_display_name: Option<String>,
    profile_tag: Option<String>,
    lang: Option<String>,
    data: Option<Map<String, Value>>,
    append: Option<bool>,
    enabled: Option<bool>,
    #[serde(rename = "org.matrix.msc3881.enabled")]
    unstable_enabled: Option<bool>,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What a request must have, by name.
#[derive(Default)]
struct Required(Vec<&'static str>);

impl Required {
    fn take<T: Default>(&mut self, name: &'static str, value: Option<T>) -> T {
        value.unwrap_or_else(|| {
            self.0.push(name);
            T::default()
        })
    }

    fn check(self) -> Result<(), Error> {
        match self.0.as_slice() {
            [] => Ok(()),
            missing => {
                Err(Error::missing_param(format!("Missing parameters: {}", missing.join(", "))))
            }
        }
    }
}

async fn set_pusher(
    State(push): State<Push>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<Response, Error> {
    let body: Body = parse(&body)?;
    let mut required = Required::default();
    let app_id = required.take("app_id", body.app_id);
    let pushkey = required.take("pushkey", body.pushkey);
    let kind = required.take("kind", body.kind);
    let Some(kind) = kind.filter(|_| required.0.is_empty()) else {
        required.check()?;
        push.delete_pusher(&session.user_id, &app_id, &pushkey).await?;
        return Ok(Empty.into_response());
    };
    let new = NewPusher {
        app_id,
        pushkey,
        kind,
        app_display_name: required.take("app_display_name", body.app_display_name),
        device_display_name: required.take("device_display_name", body.device_display_name),
        profile_tag: body.profile_tag,
        lang: required.take("lang", body.lang),
        data: required.take("data", body.data),
        enabled: body.enabled.or(body.unstable_enabled).unwrap_or(true),
        append: body.append.unwrap_or(false),
    };
    required.check()?;
    Ok(match push.set_pusher(&session, new).await? {
        SetPusher::Active => Empty.into_response(),
        // "The pusher is set but needs to be activated."
        SetPusher::AwaitsActivation => (StatusCode::CREATED, Empty).into_response(),
    })
}

async fn activate_pusher(
    State(push): State<Push>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        app_id: Option<String>,
        ack_token: Option<String>,
    }
    let body: Body = parse(&body)?;
    let mut required = Required::default();
    let app_id = required.take("app_id", body.app_id);
    let ack_token = required.take("ack_token", body.ack_token);
    required.check()?;
    push.activate_pusher(&session, &app_id, &ack_token).await?;
    Ok(Empty)
}

impl From<PusherError> for Error {
    fn from(error: PusherError) -> Self {
        match &error {
            PusherError::Invalid(_) => Self::invalid_param(error.to_string()),
            PusherError::NotOwnAddress(_) => {
                Self::new(StatusCode::BAD_REQUEST, "M_THREEPID_NOT_FOUND", error.to_string())
            }
            PusherError::Commit(storage::CommitError::LowSpace) => Self::low_space(),
            other => Self::internal(other),
        }
    }
}

impl From<ActivationError> for Error {
    fn from(error: ActivationError) -> Self {
        let bad = |errcode, text: String| Self::new(StatusCode::BAD_REQUEST, errcode, text);
        let text = error.to_string();
        match error {
            ActivationError::NoPusher => Self::not_found(text),
            ActivationError::Expired => bad("M_EXPIRED_ACTIVATION_TOKEN", text),
            ActivationError::UnknownToken => bad("M_UNKNOWN_ACTIVATION_TOKEN", text),
            ActivationError::Pusher(error) => error.into(),
        }
    }
}
