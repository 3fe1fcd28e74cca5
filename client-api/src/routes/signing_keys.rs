//! `/_matrix/client/*/keys/{device_signing,signatures}/upload` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#cross-signing

use std::collections::BTreeMap;

use accounts::{Accounts, Stage};
use axum::{
    Router,
    extract::{FromRef, State},
    routing::post,
};
use devices::{
    Devices,
    keys::{SignatureFailure, SignaturesUpload, SignedJson, SigningKeysUpload},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    error::Error,
    extract::{AuthedRaw, json},
    gate::Gate,
    respond::{Empty, RawJson},
    uia::{self, Challenge},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Devices: FromRef<S>,
{
    // "unstable" is what clients of before version 1.1 use.
    ["r0", "v3", "unstable"].into_iter().fold(Router::new(), |router, version| {
        let base = format!("/_matrix/client/{version}/keys");
        router
            .route(&format!("{base}/device_signing/upload"), post(upload_signing_keys))
            .route(&format!("{base}/signatures/upload"), post(upload_signatures))
    })
}

/// The password is asked for only where keys would be replaced (MSC3967), and not of an application
/// service.
async fn upload_signing_keys(
    State(accounts): State<Accounts>,
    State(devices): State<Devices>,
    AuthedRaw { session, parts, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    #[derive(Deserialize)]
    struct Body {
        master_key: Option<SignedJson>,
        self_signing_key: Option<SignedJson>,
        user_signing_key: Option<SignedJson>,
        auth: Option<Box<RawValue>>,
    }
    let body: Body = json(&body)?;
    let upload = SigningKeysUpload {
        master: body.master_key,
        self_signing: body.self_signing_key,
        user_signing: body.user_signing_key,
    };
    let replaces = devices.signing_keys_want_authentication(&session.user_id, &upload).await?;
    if replaces && session.appservice.is_none() {
        let challenge = Challenge {
            method: &parts.method,
            path: parts.uri.path(),
            session: Some(&session),
            target: "",
            flows: &[&[Stage::Password]],
            auth: body.auth.as_deref(),
        };
        uia::require(&accounts, challenge).await?;
    }
    devices.upload_signing_keys(&session.user_id, upload, replaces).await?;
    Ok(Empty)
}

async fn upload_signatures(
    State(devices): State<Devices>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let upload: SignaturesUpload = json(&body)?;
    let failures = devices.upload_signatures(&session.user_id, upload).await?;
    let told = |failure: SignatureFailure| {
        let errcode = match failure {
            SignatureFailure::NotFound => "M_NOT_FOUND",
            SignatureFailure::Differs => "M_INVALID_PARAM",
            SignatureFailure::BadSignature => "M_INVALID_SIGNATURE",
            SignatureFailure::TooMany => "M_TOO_LARGE",
        };
        json!({ "errcode": errcode, "error": failure.to_string() })
    };
    let failures: BTreeMap<_, BTreeMap<_, _>> = failures
        .into_iter()
        .map(|(user_id, of_user)| {
            (user_id, of_user.into_iter().map(|(key, failure)| (key, told(failure))).collect())
        })
        .collect();
    Ok(RawJson(json!({ "failures": failures }).to_string().into()))
}
