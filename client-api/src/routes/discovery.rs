//! `/versions`, `/capabilities`, and what is in `/.well-known/matrix` for clients ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation

use ::push::Push;
use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use delayed_events::DelayedEvents;
use events::RoomVersion;
use rooms::Rooms;
use ruma::api::client::discovery::get_capabilities;
use serde_json::{Map, json};

use super::EndpointExt as _;
use crate::{config::Support, error::Error, extract::Authed, gate::Gate, respond::RawJson};

/// The versions of the specification whose endpoints, as far as they are built, have this form.
const VERSIONS: &[&str] = &[
    "r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1", "v1.1", "v1.2",
    "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
    "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
];

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Accounts: FromRef<S>,
    DelayedEvents: FromRef<S>,
    Gate: FromRef<S>,
    Push: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<get_capabilities::v3::Request, _, _>(get_capabilities)
        .route("/_matrix/client/versions", get(get_supported_versions))
        .route("/.well-known/matrix/client", get(discover_homeserver))
        .route("/.well-known/matrix/support", get(get_well_known_support))
        .route("/.well-known/matrix/policy_server", get(get_well_known_policy))
}

async fn get_supported_versions() -> RawJson {
    let body = json!({
        "versions": VERSIONS,
        "unstable_features": {
            "im.meridian.ws": true,
            "org.matrix.e2e_cross_signing": true,
            "org.matrix.msc2285.stable": true,
            "org.matrix.msc3391": true,
            "org.matrix.msc3440.stable": true,
            "org.matrix.msc3827.stable": true,
            "org.matrix.msc3874": true,
            "org.matrix.msc3881": true,
            "org.matrix.msc3881.stable": true,
            "org.matrix.msc4140": true,
            "org.matrix.msc4155": true,
            "org.matrix.msc4222": true,
            "org.matrix.msc4306": true,
            "org.matrix.msc4380.stable": true,
            "org.matrix.simplified_msc3575": true,
            "uk.half-shot.msc2666.query_mutual_rooms": true,
            "uk.half-shot.msc2666.query_mutual_rooms.stable": true,
            "uk.tcpip.msc4133": true,
            "uk.tcpip.msc4133.stable": true,
        },
        "server": { "name": "Meridian", "version": env!("CARGO_PKG_VERSION") },
    });
    RawJson(body.to_string().into())
}

async fn discover_homeserver(State(gate): State<Gate>) -> Result<RawJson, Error> {
    let base_url = gate
        .config()
        .public_url
        .as_deref()
        .ok_or_else(|| Error::not_found("This server advertises no address"))?;
    Ok(RawJson(json!({ "m.homeserver": { "base_url": base_url } }).to_string().into()))
}

/// Whom users and other servers may turn to.
async fn get_well_known_support(State(gate): State<Gate>) -> Result<RawJson, Error> {
    let Support { contacts, support_page } = &gate.config().support;
    let mut body = Map::new();
    if !contacts.is_empty() {
        body.insert("contacts".to_owned(), json!(contacts));
    }
    if let Some(page) = support_page {
        body.insert("support_page".to_owned(), json!(page));
    }
    if body.is_empty() {
        return Err(Error::not_found("This server names nobody to turn to"));
    }
    Ok(RawJson(serde_json::Value::Object(body).to_string().into()))
}

/// What a room's `m.room.policy` has to say of this server.
async fn get_well_known_policy(State(rooms): State<Rooms>) -> Result<RawJson, Error> {
    let key =
        rooms.policy_key().ok_or_else(|| Error::not_found("This server is no policy server"))?;
    let body = json!({ "public_keys": { "ed25519": key.to_base64() } });
    Ok(RawJson(body.to_string().into()))
}

async fn get_capabilities(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(push): State<Push>,
    State(delayed): State<DelayedEvents>,
    State(rooms): State<Rooms>,
    Authed { session, .. }: Authed<get_capabilities::v3::Request>,
) -> RawJson {
    let available: Map<_, _> =
        RoomVersion::all().map(|version| (version.as_str().to_owned(), "stable".into())).collect();
    let password = gate.config().password_login;
    let limits = delayed.config();
    let max_delay_ms = u64::try_from(limits.delay_max.as_millis()).unwrap_or(u64::MAX);
    let mut body = json!({
        "capabilities": {
            "m.change_password": { "enabled": password },
            "m.room_versions": {
                "default": rooms.default_room_version().as_str(),
                "available": available,
            },
            "m.set_displayname": { "enabled": true },
            "m.set_avatar_url": { "enabled": true },
            "m.3pid_changes": { "enabled": accounts.sends_mail() },
            "m.get_login_token": { "enabled": true },
            "m.profile_fields": { "enabled": true },
            "m.forget_forced_upon_leave": { "enabled": false },
            "uk.tcpip.msc4133.profile_fields": { "enabled": true },
            "org.matrix.msc4140.delayed_events": {
                "max_delay_ms": max_delay_ms,
                "max_scheduled": limits.scheduled_max,
            },
        },
    });
    if let Some(key) = push.web_push_key() {
        body["capabilities"]["m.webpush"] = json!({ "enabled": true, "vapid": key });
    }
    // "This property should be omitted altogether if `suspend` and `lock` would be `false`."
    if session.admin {
        let moderation = json!({ "suspend": true, "lock": true });
        body["capabilities"]["m.account_moderation"] = moderation.clone();
        body["capabilities"]["uk.timedout.msc4323"] = moderation;
    }
    RawJson(body.to_string().into())
}
