//! A system that knows who people are: an OpenID provider, a CAS server and a captcha service in one,
//! on loopback. It checks what a good one checks, and lies where a test tells it to.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use rcgen::KeyPair;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use stdx::Tasks;
use tokio::net::TcpListener;
use url::Url;

pub(crate) const CLIENT: &str = "meridian";
/// With characters that are encoded before they are joined.
pub(crate) const SECRET: &str = "s3cret:+ö";
pub(crate) const CAPTCHA_SECRET: &str = "captcha-private";
const KEY_ID: &str = "key-1";

pub(crate) type Fields = BTreeMap<String, String>;
/// Changes what a token says before it is signed.
type Twist = Box<dyn Fn(&mut Map<String, Value>) + Send>;

/// How an ID token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Signed {
    #[default]
    Well,
    /// By a key that is not published, under the id of one that is.
    ByAnother,
    /// By the client's secret, as HS256.
    BySecret,
    Not,
}

struct Grant {
    claims: Map<String, Value>,
    userinfo: Value,
    query: Fields,
}

struct Ticket {
    user: String,
    service: String,
    /// The user gave their password for it.
    renewed: bool,
}

#[derive(Default)]
struct Book {
    grants: BTreeMap<String, Grant>,
    userinfos: BTreeMap<String, Value>,
    tickets: BTreeMap<String, Ticket>,
    issued: u32,
    twist: Option<Twist>,
    signed: Signed,
}

struct Inner {
    base: String,
    key: KeyPair,
    book: Mutex<Book>,
}

/// Stops when dropped.
pub(crate) struct IdentityProvider {
    inner: Arc<Inner>,
    _tasks: Tasks,
}

impl IdentityProvider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("it has an address");
        let inner = Arc::new(Inner {
            base: format!("http://{address}"),
            key: KeyPair::generate().expect("a key"),
            book: Mutex::default(),
        });
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .route("/cas/proxyValidate", get(validate))
            .route("/siteverify", post(site_verify))
            .with_state(inner.clone());
        let tasks = Tasks::new();
        tasks.spawn_until_stopped("identity provider", async move {
            let served = axum::serve(listener, app).await;
            served.expect("it serves");
        });
        Self { inner, _tasks: tasks }
    }

    pub(crate) fn base(&self) -> &str {
        &self.inner.base
    }

    /// `[[login.oidc]]` for it.
    pub(crate) fn oidc_section(&self, more: &str) -> String {
        let base = self.base();
        format!(
            "[[login.oidc]]\nid = \"op\"\nname = \"The <OP>\"\nissuer = \"{base}\"\n\
             client_id = \"{CLIENT}\"\nclient_secret = \"{SECRET}\"\n{more}\n"
        )
    }

    /// `[login.cas]` for it.
    pub(crate) fn cas_section(&self, more: &str) -> String {
        format!("[login.cas]\nserver_url = \"{}/cas/\"\n{more}\n", self.base())
    }

    pub(crate) fn twist(&self, twist: impl Fn(&mut Map<String, Value>) + Send + 'static) {
        self.inner.book.lock().twist = Some(Box::new(twist));
    }

    pub(crate) fn sign(&self, signed: Signed) {
        self.inner.book.lock().signed = signed;
    }

    /// Somebody logs in where `url` led them, and consents: path and query of where they are sent.
    pub(crate) fn consent(&self, url: &str, claims: Value) -> String {
        self.consent_with(url, claims, Value::Null)
    }

    /// As [`consent`](Self::consent), with more at the userinfo endpoint.
    pub(crate) fn consent_with(&self, url: &str, claims: Value, userinfo: Value) -> String {
        let url = Url::parse(url).expect("a URL");
        assert!(url.as_str().starts_with(&format!("{}/authorize?", self.base())), "{url}");
        let query: Fields = url.query_pairs().into_owned().collect();
        for (name, expected) in
            [("response_type", "code"), ("client_id", CLIENT), ("code_challenge_method", "S256")]
        {
            assert_eq!(query[name], expected, "{name}");
        }
        assert!(query["scope"].split(' ').any(|scope| scope == "openid"));
        let redirect = Url::parse(&query["redirect_uri"]).expect("a URL");
        let state = query["state"].clone();
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        let mut book = self.inner.book.lock();
        book.issued += 1;
        let code = format!("code-{}", book.issued);
        book.grants.insert(code.clone(), Grant { claims, userinfo, query });
        format!("{}?code={code}&state={state}", redirect.path())
    }

    /// Somebody logs in at the CAS server where `url` led them: path and query of where they are
    /// sent. `renewed`: they had to give their password.
    pub(crate) fn cas_login(&self, url: &str, user: &str, renewed: bool) -> String {
        let url = Url::parse(url).expect("a URL");
        assert!(url.as_str().starts_with(&format!("{}/cas/login?", self.base())), "{url}");
        let query: Fields = url.query_pairs().into_owned().collect();
        let service = query["service"].clone();
        let ticket = self.cas_ticket(user, &service, renewed);
        let back = Url::parse(&service).expect("a URL");
        format!("{}?{}&ticket={ticket}", back.path(), back.query().unwrap_or_default())
    }

    pub(crate) fn cas_ticket(&self, user: &str, service: &str, renewed: bool) -> String {
        let mut book = self.inner.book.lock();
        book.issued += 1;
        let name = format!("ST-{}-x", book.issued);
        let ticket = Ticket { user: user.to_owned(), service: service.to_owned(), renewed };
        book.tickets.insert(name.clone(), ticket);
        name
    }
}

async fn discovery(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let base = &inner.base;
    Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "userinfo_endpoint": format!("{base}/userinfo"),
        "jwks_uri": format!("{base}/keys"),
    }))
}

async fn keys(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let (x, y) = inner.key.public_key_raw()[1..].split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
        "x": encode(x), "y": encode(y),
    });
    // What nobody knows is no reason to overlook the other.
    Json(json!({ "keys": [{ "kty": "unheard-of", "kid": "key-0" }, key] }))
}

fn refuse(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}

async fn token(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: String) -> Response {
    let form = fields(&body);
    let both = format!("{CLIENT}:s3cret%3A%2B%C3%B6");
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both));
    if headers.get("authorization").is_none_or(|value| value.as_bytes() != basic.as_bytes()) {
        return refuse("invalid_client");
    }
    let mut book = inner.book.lock();
    // A code is good once.
    let Some(Grant { mut claims, userinfo, query }) = book.grants.remove(&form["code"]) else {
        return refuse("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    if challenge != query["code_challenge"] || form["redirect_uri"] != query["redirect_uri"] {
        return refuse("invalid_grant");
    }
    let seconds = crate::server::START_MS / 1000;
    for (name, value) in [
        ("iss", json!(inner.base)),
        ("aud", json!([CLIENT, "another"])),
        ("azp", json!(CLIENT)),
        ("iat", json!(seconds)),
        ("exp", json!(seconds + 300)),
        ("nonce", json!(query["nonce"])),
    ] {
        claims.insert(name.to_owned(), value);
    }
    if let Some(twist) = &book.twist {
        twist(&mut claims);
    }
    let id_token = sign(&inner.key, book.signed, &claims);
    let access_token = format!("at-{}", book.issued);
    book.userinfos.insert(access_token.clone(), userinfo);
    let tokens =
        json!({ "access_token": access_token, "token_type": "Bearer", "id_token": id_token });
    Json(tokens).into_response()
}

fn sign(key: &KeyPair, signed: Signed, claims: &Map<String, Value>) -> String {
    let header = |algorithm| Header { kid: Some(KEY_ID.to_owned()), ..Header::new(algorithm) };
    let by = |key: &KeyPair| {
        let key = EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).expect("a key");
        jsonwebtoken::encode(&header(Algorithm::ES256), claims, &key).expect("signed")
    };
    match signed {
        Signed::Well => by(key),
        Signed::ByAnother => by(&KeyPair::generate().expect("a key")),
        Signed::BySecret => {
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            jsonwebtoken::encode(&header(Algorithm::HS256), claims, &key).expect("signed")
        }
        Signed::Not => {
            let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let header = encode(json!({ "alg": "none", "kid": KEY_ID }));
            format!("{header}.{}.", encode(Value::Object(claims.clone())))
        }
    }
}

async fn userinfo(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    match inner.book.lock().userinfos.get(token) {
        Some(Value::Object(claims)) => Json(claims.clone()).into_response(),
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn validate(State(inner): State<Arc<Inner>>, Query(query): Query<Fields>) -> Response {
    // "Service tickets MUST be valid for one ticket validation attempt", good or not.
    let ticket = inner.book.lock().tickets.remove(&query["ticket"]);
    let wants_password = query.get("renew").is_some_and(|renew| renew == "true");
    let good = ticket
        .filter(|ticket| ticket.service == query["service"] && (ticket.renewed || !wants_password));
    let inside = match good {
        Some(Ticket { user, .. }) => format!(
            "<cas:authenticationSuccess><cas:user>{user}</cas:user><cas:attributes>\
             <cas:cn>Name of {user}</cas:cn></cas:attributes></cas:authenticationSuccess>"
        ),
        None => "<cas:authenticationFailure code='INVALID_TICKET'>no</cas:authenticationFailure>"
            .to_owned(),
    };
    let xml = format!(
        "<cas:serviceResponse xmlns:cas='http://www.yale.edu/tp/cas'>{inside}</cas:serviceResponse>"
    );
    xml.into_response()
}

fn fields(form: &str) -> Fields {
    url::form_urlencoded::parse(form.as_bytes()).into_owned().collect()
}

async fn site_verify(body: String) -> Json<Value> {
    let form = fields(&body);
    let good = form["secret"] == CAPTCHA_SECRET && form["response"] == "human";
    Json(json!({ "success": good }))
}
