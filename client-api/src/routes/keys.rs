//! `/_matrix/client/*/keys/{upload,query,claim,changes}` ([spec])
//!
//! Bodies are read by hand: keys are passed on as they were signed, and ruma would drop what it does
//! not know.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#key-management-api

use std::{collections::BTreeMap, time::Duration};

use ::sync::Sync as SyncEngine;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::{get, post},
};
use devices::{
    Devices,
    keys::{KeysClaim, KeysError, KeysQuery, KeysUpload, SignedJson},
};
use ruma::CanonicalJsonValue;
use serde::Deserialize;
use serde_json::json;

use crate::{
    acting::device,
    error::Error,
    extract::{AuthedRaw, json},
    gate::Gate,
    respond::RawJson,
};

/// How long other servers have, if the client does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(20);
/// Users and devices in one request.
const NAMED_MAX: usize = 10_000;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Devices: FromRef<S>,
    SyncEngine: FromRef<S>,
{
    ["r0", "v3", "unstable"].into_iter().fold(Router::new(), |router, version| {
        let base = format!("/_matrix/client/{version}/keys");
        router
            .route(&format!("{base}/upload"), post(upload_keys))
            // "deviceId: deprecated", and it was the request's own device anyway.
            .route(&format!("{base}/upload/{{device_id}}"), post(upload_keys))
            .route(&format!("{base}/query"), post(query_keys))
            .route(&format!("{base}/claim"), post(claim_keys))
            .route(&format!("{base}/changes"), get(get_changes))
    })
}

async fn upload_keys(
    State(devices): State<Devices>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        device_keys: Option<SignedJson>,
        one_time_keys: Option<BTreeMap<String, CanonicalJsonValue>>,
        fallback_keys: Option<BTreeMap<String, CanonicalJsonValue>>,
        #[serde(rename = "org.matrix.msc2732.fallback_keys")]
        unstable_fallback_keys: Option<BTreeMap<String, CanonicalJsonValue>>,
    }
    if path_args.first().is_some_and(|device_id| *device_id != session.device_id.as_str()) {
        return Err(Error::invalid_param("Keys are uploaded for the device of the access token"));
    }
    let body: Body = json(&body)?;
    let upload = KeysUpload {
        device_keys: body.device_keys,
        one_time_keys: body.one_time_keys.unwrap_or_default(),
        fallback_keys: body.fallback_keys.or(body.unstable_fallback_keys).unwrap_or_default(),
    };
    let counts = devices.upload_keys(&session.user_id, device(&session)?, upload).await?;
    Ok(RawJson(json!({ "one_time_key_counts": counts.one_time }).to_string().into()))
}

fn timeout(milliseconds: Option<u64>) -> Duration {
    milliseconds.map_or(TIMEOUT_DEFAULT, Duration::from_millis).min(TIMEOUT_MAX)
}

fn check_number(users: usize, devices: usize) -> Result<(), Error> {
    let fits = users <= NAMED_MAX && devices <= NAMED_MAX;
    if fits { Ok(()) } else { Err(Error::invalid_param("Too many users or devices at once")) }
}

fn failures(failures: &devices::keys::Failures) -> BTreeMap<&str, serde_json::Value> {
    let told = |message: &String| json!({ "errcode": "M_UNAVAILABLE", "error": message });
    failures.iter().map(|(server, message)| (server.as_str(), told(message))).collect()
}

async fn query_keys(
    State(devices): State<Devices>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        timeout: Option<u64>,
        device_keys: KeysQuery,
    }
    let body: Body = json(&body)?;
    check_number(body.device_keys.len(), body.device_keys.values().map(Vec::len).sum())?;
    let query = devices.query_keys(&session.user_id, body.device_keys, timeout(body.timeout));
    let answer = query.await?;
    let body = json!({
        "device_keys": answer.device_keys,
        "master_keys": answer.master_keys,
        "self_signing_keys": answer.self_signing_keys,
        "user_signing_keys": answer.user_signing_keys,
        "failures": failures(&answer.failures),
    });
    Ok(RawJson(body.to_string().into()))
}

async fn claim_keys(
    State(devices): State<Devices>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        timeout: Option<u64>,
        one_time_keys: KeysClaim,
    }
    let body: Body = json(&body)?;
    check_number(body.one_time_keys.len(), body.one_time_keys.values().map(BTreeMap::len).sum())?;
    let claim = devices.claim_keys(&session.user_id, body.one_time_keys, timeout(body.timeout));
    let (claimed, failed) = claim.await?;
    let body = json!({ "one_time_keys": claimed, "failures": failures(&failed) });
    Ok(RawJson(body.to_string().into()))
}

async fn get_changes(
    State(sync): State<SyncEngine>,
    AuthedRaw { session, parts, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Query {
        from: String,
        to: Option<String>,
    }
    let query: Query = serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::missing_param(format!("The query is not valid: {error}")))?;
    let lists =
        sync.device_list_changes(&session.user_id, &query.from, query.to.as_deref()).await?;
    let body = json!({ "changed": lists.changed, "left": lists.left });
    Ok(RawJson(body.to_string().into()))
}

impl From<KeysError> for Error {
    fn from(error: KeysError) -> Self {
        use KeysError as E;
        let text = error.to_string();
        match error {
            E::NoSuchDevice => Self::not_found(text),
            E::Malformed(_) => Self::bad_json(text),
            E::Invalid(_) | E::KeyExists(_) => Self::invalid_param(text),
            E::TooLarge(_) => Self::new(http::StatusCode::BAD_REQUEST, "M_TOO_LARGE", text),
            E::BadSignature(_) => {
                Self::new(http::StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", text)
            }
            E::NoMasterKey => Self::missing_param(text),
            E::NeedsAuthentication | E::IsDevice => Self::forbidden(text),
            E::Store(error) => error.into(),
        }
    }
}
