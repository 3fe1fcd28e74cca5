//! A push gateway and a push service of our own, behind TLS, and a region that tells them; and the list of
//! notifications.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Bytes, routing::post};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use meridian::Limits;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use stdx::Tasks;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch};
use tokio_rustls::TlsAcceptor;

use crate::{
    app::App,
    pushers::pusher,
    server::{PATIENCE, Server},
    user::{User, event_id, segment},
};

/// Where the push service takes messages.
const RESOURCE: &str = "/wpush/v2/abc";

/// Stops when dropped.
struct Gateway {
    address: SocketAddr,
    taken: watch::Receiver<Vec<Value>>,
    /// By Web Push.
    pushed: watch::Receiver<Vec<(HeaderMap, Bytes)>>,
    /// What a region needs to trust it.
    sections: String,
    tasks: Tasks,
    _authority: TempDir,
}

impl Gateway {
    async fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("made here");
        let key = KeyPair::generate().expect("a key");
        let names = ["127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).expect("a name");
        let certificate = certificate.signed_by(&key, &authority).expect("signed");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they are known")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("they fit together");
        let (taken, seen) = watch::channel(Vec::new());
        let notify = post(async move |body: Bytes| {
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            taken.send_modify(|taken| taken.push(body["notification"].clone()));
            axum::Json(json!({ "rejected": [] }))
        });
        let (pushing, pushed) = watch::channel(Vec::new());
        let push = post(async move |headers: HeaderMap, body: Bytes| {
            pushing.send_modify(|pushed| pushed.push((headers, body)));
            StatusCode::CREATED
        });
        let app = Router::new().route("/_matrix/push/v1/notify", notify).route(RESOURCE, push);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("it has an address");
        let limits = Limits {
            header_timeout: Duration::from_secs(30),
            connections_max: 10,
            drain: Duration::from_secs(1),
        };
        let tasks = Tasks::new();
        let acceptor = Some(TlsAcceptor::from(Arc::new(tls)));
        tasks.spawn("gateway", meridian::serve(listener, acceptor, app, limits, tasks.clone()));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        fs::write(&path, authority.pem()).expect("written");
        let sections = format!(
            "[rate_limits]\nenabled = false\n[federation]\ncertificate_authorities = [{path:?}]\n\
             allowed_addresses = [\"127.0.0.1/32\"]\n"
        );
        Self { address, taken: seen, pushed, sections, tasks, _authority: folder }
    }

    fn pusher(&self, key: &str) -> Value {
        let mut pusher = pusher(key);
        let url = format!("https://{}/_matrix/push/v1/notify", self.address);
        pusher["data"] = json!({ "url": url });
        pusher
    }

    fn web_pusher(&self, app: &App) -> Value {
        let mut pusher = pusher(&app.pushkey());
        pusher["kind"] = json!("webpush");
        let url = format!("https://{}{RESOURCE}", self.address);
        pusher["data"] = json!({ "url": url, "auth": app.auth() });
        pusher
    }

    /// The message of this number, from one on.
    async fn push(&mut self, number: usize) -> (HeaderMap, Bytes) {
        let waited = self.pushed.wait_for(|pushed| pushed.len() >= number);
        let pushed = tokio::time::timeout(PATIENCE, waited).await.expect("in time");
        pushed.expect("the push service is there")[number - 1].clone()
    }

    async fn takes(&mut self, count: usize) -> Vec<Value> {
        let waited = self.taken.wait_for(|taken| taken.len() >= count);
        let taken = tokio::time::timeout(PATIENCE, waited).await.expect("in time");
        taken.expect("the gateway is there").clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

#[tokio::test]
async fn a_message_comes_to_the_gateway_over_tls() {
    let mut gateway = Gateway::start().await;
    let server = Server::with(&gateway.sections).await;
    let (ada, ben) = (server.user("ada").await, server.user("ben").await);
    ben.post("/v3/pushers/set", gateway.pusher("ben")).await.ok();
    let room = ada.room_with(&[&ben]).await;
    let (one, two) = (ada.say(&room, "t1", "one").await, ada.say(&room, "t2", "two").await);
    let taken = gateway.takes(2).await;
    let ids: Vec<_> = taken.iter().map(|taken| taken["event_id"].as_str()).collect();
    assert_eq!(ids, [Some(one.as_str()), Some(two.as_str())]);
    assert_eq!(taken[0]["content"]["body"], "one");
    assert_eq!(taken[0]["devices"][0]["pushkey"], "ben");
    let path = format!("/v3/rooms/{}/receipt/m.read/{}", segment(&room), segment(&two));
    ben.post(&path, json!({})).await.ok();
    let taken = gateway.takes(3).await;
    assert_eq!(taken[2]["counts"], json!({ "unread": 0 }));
    server.stop().await;
}

#[tokio::test]
async fn an_app_is_pushed_without_a_gateway() {
    let mut gateway = Gateway::start().await;
    let server = Server::with(&gateway.sections).await;
    let (ada, ben, app) = (server.user("ada").await, server.user("ben").await, App::new(1));
    let capability = ben.get("/v3/capabilities").await.ok()["capabilities"]["m.webpush"].take();
    assert_eq!(capability["enabled"], true);
    let set = async || ben.post("/v3/pushers/set", gateway.web_pusher(&app)).await;
    let ack = async |app_id: &str, token: &str| {
        ben.post("/v3/pushers/ack", json!({ "app_id": app_id, "ack_token": token })).await
    };
    let activated = async || ben.get("/v3/pushers").await.ok()["pushers"][0]["activated"].take();
    assert_eq!(set().await.status, 201);
    assert_eq!(activated().await, false);
    let (_, body) = gateway.push(1).await;
    let token = app.open(&body).expect("for the app")["ack_token"].take();
    let token = token.as_str().expect("a token");
    let wrong = ack("org.example.other", token).await;
    wrong.refused("another app", 404, "M_NOT_FOUND");
    let wrong = ack("org.example.app", "x").await;
    wrong.refused("another token", 400, "M_UNKNOWN_ACTIVATION_TOKEN");
    server.clock.advance(5 * 60 * 1000);
    ack("org.example.app", token).await.refused("late", 400, "M_EXPIRED_ACTIVATION_TOKEN");
    assert_eq!(ben.post("/v3/pushers/set", gateway.web_pusher(&app)).await.status, 201);
    let (_, body) = gateway.push(2).await;
    let token = app.open(&body).expect("for the app")["ack_token"].take();
    let answer = ack("org.example.app", token.as_str().expect("a token")).await;
    assert_eq!(answer.ok(), json!({}));
    assert_eq!(activated().await, true);
    ben.post("/v3/pushers/set", gateway.web_pusher(&app)).await.ok();

    let room = ada.room_with(&[&ben]).await;
    let event = ada.say(&room, "t1", "hello").await;
    let (headers, body) = gateway.push(3).await;
    let told = app.open(&body).expect("for the app");
    assert_eq!(told["notification"]["event_id"], event);
    for (name, expected) in
        [("content-encoding", "aes128gcm"), ("ttl", "172800"), ("urgency", "high")]
    {
        assert_eq!(headers[name], expected, "{name}");
    }
    let authorization = headers["authorization"].to_str().expect("text");
    let rest = authorization.strip_prefix("vapid t=").expect("a token");
    let (token, key) = rest.split_once(", k=").expect("a key");
    assert_eq!(key, capability["vapid"]);
    let claims = token.split('.').nth(1).expect("claims");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    assert_eq!(claims["aud"], format!("https://{}", gateway.address));
    server.stop().await;
}

#[tokio::test]
async fn where_there_is_no_web_push_none_is_offered() {
    let server = Server::with("[push]\nweb_push = false\n").await;
    let (ben, app) = (server.user("ben").await, App::new(1));
    let capabilities = ben.get("/v3/capabilities").await.ok()["capabilities"].take();
    assert_eq!(capabilities.get("m.webpush"), None);
    let mut pusher = pusher(&app.pushkey());
    pusher["kind"] = json!("webpush");
    pusher["data"] = json!({ "url": "https://push.example/x", "auth": app.auth() });
    let refused = ben.post("/v3/pushers/set", pusher).await;
    refused.refused("switched off", 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn a_gateway_inside_the_house_is_not_connected_to() {
    let gateway = Gateway::start().await;
    let closed = gateway.sections.replace("allowed_addresses", "denied_addresses");
    let mut open = Gateway::start().await;
    let server = Server::with(&closed).await;
    let (ada, ben) = (server.user("ada").await, server.user("ben").await);
    ben.post("/v3/pushers/set", gateway.pusher("ben")).await.ok();
    let room = ada.room_with(&[&ben]).await;
    ada.say(&room, "t1", "one").await;
    // A region that may connect there does in the meantime.
    let other = Server::with(&open.sections).await;
    let (cid, dan) = (other.user("cid").await, other.user("dan").await);
    dan.post("/v3/pushers/set", open.pusher("dan")).await.ok();
    let room = cid.room_with(&[&dan]).await;
    cid.say(&room, "t1", "one").await;
    open.takes(1).await;
    assert!(gateway.taken.borrow().is_empty());
}

async fn listed(user: &User<'_>, query: &str) -> Value {
    user.get(&format!("/v3/notifications{query}")).await.ok()
}

#[tokio::test]
async fn notifications_are_listed_in_pages() {
    let server = Server::start().await;
    let (ada, ben) = (server.user("ada").await, server.user("ben").await);
    let room = ada.room_with(&[&ben]).await;
    let one = ada.say(&room, "t1", "one").await;
    let mention = json!({ "body": "two", "m.mentions": { "user_ids": [ben.id] } });
    let path = format!("/v3/rooms/{}/send/m.room.message/t2", segment(&room));
    let two = event_id(&ada.put(&path, mention).await.ok());
    let page = listed(&ben, "?limit=1").await;
    let notification = &page["notifications"][0];
    assert_eq!(page["notifications"].as_array().map(Vec::len), Some(1));
    assert_eq!(notification["event"]["event_id"], two);
    assert_eq!(notification["event"]["sender"], ada.id);
    assert_eq!(notification["room_id"], room);
    assert_eq!(notification["read"], false);
    assert_eq!(notification["ts"], notification["event"]["origin_server_ts"]);
    let actions = json!(["notify", { "set_tweak": "sound", "value": "default" }, { "set_tweak": "highlight" }]);
    assert_eq!(notification["actions"], actions);
    let token = page["next_token"].as_str().expect("a token");
    let page = listed(&ben, &format!("?limit=5&from={token}")).await;
    assert_eq!(page["notifications"][0]["event"]["event_id"], one);
    assert_eq!(page.get("next_token"), None);
    let page = listed(&ben, "?only=highlight").await;
    assert_eq!(page["notifications"].as_array().map(Vec::len), Some(1));
    let answer = ben.get("/v3/notifications?from=nonsense").await;
    answer.refused("from", 400, "M_INVALID_PARAM");
    let answer = ben.get("/v3/notifications?limit=-1").await;
    answer.refused("limit", 400, "M_INVALID_PARAM");
}
