//! One region in this process: a store in memory, a clock that stands still, and a loopback port.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use meridian::{Config, Limits, Parts, Region};
use serde_json::{Value, json};
use stdx::{ManualClock, Rng, Tasks};
use storage::Store;
use tokio::net::TcpListener;

use crate::user::User;

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const START_MS: u64 = 1_700_000_000_000;
const UNLIMITED: &str = "[rate_limits]\nenabled = false\n";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
    pub(crate) region: Region,
    http: Client<HttpConnector, Full<Bytes>>,
    listener: Tasks,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }

    #[track_caller]
    pub(crate) fn refused(self, row: &str, status: u16, errcode: &str) -> Value {
        let found = (self.status.as_u16(), self.body["errcode"].as_str().unwrap_or_default());
        assert_eq!(found, (status, errcode), "{row}: {}", self.body);
        self.body
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::named("x.test", UNLIMITED).await
    }

    /// `sections` are of `meridian.toml`; rates are limited unless they say otherwise.
    pub(crate) async fn with(sections: &str) -> Self {
        Self::named("x.test", sections).await
    }

    pub(crate) async fn unlimited_with(sections: &str) -> Self {
        Self::named("x.test", &format!("{UNLIMITED}{sections}")).await
    }

    pub(crate) async fn named(name: &str, sections: &str) -> Self {
        let limits = Limits {
            header_timeout: Duration::from_secs(30),
            connections_max: 1000,
            drain: Duration::from_secs(5),
        };
        Self::limited(name, sections, limits).await
    }

    pub(crate) async fn limited(name: &str, sections: &str, limits: Limits) -> Self {
        let config = Config::parse(&format!("server_name = \"{name}\"\n{sections}"));
        let seed = name.bytes().map(u64::from).sum();
        let store = Store::open(&storage::Config::memory(), seed).expect("memory opens");
        let clock = ManualClock::new(START_MS);
        let parts = Parts { store: store.clone(), clock: clock.clone(), rng: Rng::from_seed(seed) };
        let config = config.expect("the configuration is valid");
        let region = Region::build(&config, parts, None).await.expect("the region starts");
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = socket.local_addr().expect("it has an address");
        let listener = Tasks::new();
        let served = meridian::serve(socket, None, region.router(), limits, region.tasks().clone());
        listener.spawn("listener", served);
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { address, clock, store, region, http, listener }
    }

    /// `path` from the root.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.send_request(request.body(Full::new(body.into())).expect("a request")).await
    }

    pub(crate) async fn send_request(&self, request: Request<Full<Bytes>>) -> Answer {
        let (status, headers, body) = self.exchange(request).await;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, headers, body }
    }

    /// An answer that need not be JSON.
    pub(crate) async fn bytes(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.exchange(request.body(Full::default()).expect("a request")).await
    }

    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let exchange = async {
            let response = self.http.request(request).await.expect("an answer");
            let (parts, body) = response.into_parts();
            (parts, body.collect().await.expect("the whole answer").to_bytes())
        };
        let (parts, body) =
            tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
        (parts.status, parts.headers, body)
    }

    /// Without a token; `path` below `/_matrix/client`.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, &format!("/_matrix/client{path}"), None, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        let body = body.to_owned();
        self.send(Method::POST, &format!("/_matrix/client{path}"), None, body).await
    }

    /// A new user without a password.
    pub(crate) async fn user(&self, name: &str) -> User<'_> {
        self.register(json!({ "username": name, "device_id": format!("{name}-1") })).await
    }

    pub(crate) async fn user_with_password(&self, name: &str, password: &str) -> User<'_> {
        self.register(json!({ "username": name, "password": password })).await
    }

    async fn register(&self, mut body: Value) -> User<'_> {
        body["auth"] = json!({ "type": "m.login.dummy" });
        User::new(self, &self.post("/v3/register", body).await.ok())
    }

    /// Another device of a user who has a password.
    pub(crate) async fn log_in(&self, name: &str, password: &str, device: &str) -> User<'_> {
        let body = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": name },
            "password": password,
            "device_id": device,
        });
        User::new(self, &self.post("/v3/login", body).await.ok())
    }

    /// Stops as on SIGTERM, and waits for the end.
    pub(crate) async fn stop(self) {
        self.region.tasks().stop();
        let Self { region, listener, .. } = self;
        let stopped = async {
            listener.shutdown().await;
            region.close().await;
        };
        tokio::time::timeout(PATIENCE, stopped).await.expect("the region stops in time");
    }
}
