//! Gateways as processes: they share a port, die, come back, and outlive the core.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    server::PATIENCE,
    socket::{Ask, Closed, Socket},
};

const POLL: Duration = Duration::from_millis(5);
/// Connections of one device that the server allows.
const SOCKETS_PER_USER: usize = 8;

/// A process of the server, killed at the end if it lives.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    /// Starts it and waits until it says where it is.
    fn start(arguments: &[&str], data: &Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meridian"))
            .args(arguments)
            .current_dir(data)
            .env("MERIDIAN_DATA_DIR", data.join("data"))
            .env("MERIDIAN_LISTEN", "127.0.0.1:0")
            .env("MERIDIAN_SERVER_NAME", "x.test")
            .env("MERIDIAN_RATE_LIMITS__ENABLED", "false")
            .env("MERIDIAN_FEDERATION__ENABLED", "false")
            .env("MERIDIAN_STORAGE__LOW_WATER_MIB", "0")
            .env("MERIDIAN_STORAGE__BALLAST_MIB", "0")
            .env("MERIDIAN_LOGGING__FILTER", "warn")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = child.stdout.take().expect("its output");
        let line = BufReader::new(output).lines().find_map(|line| {
            let line = line.expect("text");
            let (_, url) = line.split_once(" is up: http://")?;
            Some(url.trim_end_matches('/').to_owned())
        });
        let address = line.expect("it says where it is").parse().expect("an address");
        Self { child, address }
    }

    fn signal(&self, signal: &str) {
        signal_to(self.child.id(), signal);
    }

    /// The processes that it started.
    fn children(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let lists = tasks
            .expect("it lives")
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
        let lists: Vec<String> = lists.collect();
        let pids = lists.iter().flat_map(|list| list.split_whitespace());
        pids.map(|pid| pid.parse().expect("a number")).collect()
    }

    async fn ended(&mut self) {
        until("the process ends", async || self.child.try_wait().expect("a child").is_some()).await;
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Value,
    ) -> Option<(StatusCode, Value)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/_matrix/client{path}", self.address))
            .header("Authorization", format!("Bearer {}", token.unwrap_or("none")))
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn ok(&self, method: Method, path: &str, token: &str, body: Value) -> Value {
        let answer = self.call(method, path, Some(token), body).await;
        let (status, body) = answer.expect("an answer");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn answers(&self) {
        until("requests are answered", async || {
            let answer = self.call(Method::GET, "/versions", None, json!({})).await;
            answer.is_some_and(|(status, _)| status == 200)
        })
        .await;
    }

    async fn register(&self, name: &str) -> String {
        let body = json!({ "username": name, "auth": { "type": "m.login.dummy" } });
        let user = self.ok(Method::POST, "/v3/register", "none", body).await;
        user["access_token"].as_str().expect("a token").to_owned()
    }

    async fn say(&self, token: &str, room: &str, body: &str) {
        let path = format!("/v3/rooms/{room}/send/m.room.message/{body}");
        self.ok(Method::PUT, &path, token, json!({ "msgtype": "m.text", "body": body })).await;
    }

    async fn socket(&self, token: &str) -> Socket {
        let stream = TcpStream::connect(self.address).await.expect("somebody listens");
        let ask = Ask { token: Some(token), ..Ask::default() };
        Socket::over(Box::new(stream), ask, PATIENCE).await.expect("the socket opens")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _status = self.child.wait();
    }
}

fn signal_to(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.expect("kill").success());
}

async fn until(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !fact().await {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_late| panic!("never: {what}"));
}

/// The messages of a batch.
fn bodies(batch: &Value) -> Vec<String> {
    let rooms = batch["data"]["rooms"]["join"].as_object().into_iter().flatten();
    let events = rooms.flat_map(|(_, room)| room["timeline"]["events"].as_array()).flatten();
    events.filter_map(|event| event["content"]["body"].as_str()).map(str::to_owned).collect()
}

/// A client that keeps what it has to come back with.
struct Watcher {
    token: String,
    socket: Socket,
    since: Value,
    heard: Vec<String>,
}

impl Watcher {
    async fn open(core: &Process, token: &str) -> Self {
        let mut socket = core.socket(token).await;
        socket.start(json!({})).await;
        let mut this =
            Self { token: token.to_owned(), socket, since: Value::Null, heard: Vec::new() };
        this.hear("").await;
        this
    }

    /// Reads until something was said; any batch will do for nothing. Whether it came to that.
    async fn hear(&mut self, body: &str) -> bool {
        loop {
            let Some(batch) = self.socket.batch_unless_gone().await else { return false };
            self.socket.ack(&batch).await;
            self.since = batch["data"]["next_batch"].clone();
            self.heard.extend(bodies(&batch));
            if body.is_empty() || self.heard.iter().any(|heard| heard == body) {
                return true;
            }
        }
    }

    async fn come_back(&mut self, at: &Process) {
        self.socket = at.socket(&self.token).await;
        self.socket.start(json!({ "since": self.since })).await;
    }
}

async fn watchers(core: &Process, count: usize) -> (String, String, Vec<Watcher>) {
    let author = core.register("author").await;
    let room =
        core.ok(Method::POST, "/v3/createRoom", &author, json!({ "preset": "public_chat" })).await;
    let room = room["room_id"].as_str().expect("a room").to_owned();
    let mut watchers = Vec::new();
    while watchers.len() < count {
        let token = core.register(&format!("user{}", watchers.len())).await;
        core.ok(Method::POST, &format!("/v3/join/{room}"), &token, json!({})).await;
        for _ in 0..SOCKETS_PER_USER.min(count - watchers.len()) {
            watchers.push(Watcher::open(core, &token).await);
        }
    }
    (author, room, watchers)
}

#[tokio::test]
async fn the_clients_of_a_gateway_that_was_killed_miss_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut core = Process::start(&["--gateways", "2"], directory.path(), &[]);
    core.answers().await;
    let (author, room, mut watchers) = watchers(&core, 50).await;

    core.say(&author, &room, "one").await;
    for watcher in &mut watchers {
        assert!(watcher.hear("one").await, "nothing has happened to it");
        let beat = watcher.socket.request("presence", json!({ "active": true })).await;
        assert_eq!(beat["result"], json!({}));
    }

    let gateways = core.children();
    assert_eq!(gateways.len(), 2);
    signal_to(gateways[0], "-KILL");
    until("the gateway is replaced", async || {
        let now = core.children();
        now.len() == 2 && !now.contains(&gateways[0])
    })
    .await;
    core.say(&author, &room, "two").await;
    let mut lost = 0;
    for watcher in &mut watchers {
        if !watcher.hear("two").await {
            lost += 1;
            watcher.come_back(&core).await;
            assert!(watcher.hear("two").await, "it was told when it came back");
        }
        assert_eq!(watcher.heard, ["one", "two"]);
    }
    assert!((1..50).contains(&lost), "{lost} of 50 were with the one that was killed");

    core.signal("-TERM");
    for watcher in &mut watchers {
        assert_eq!(watcher.socket.closed().await, Closed::With(1012));
    }
    core.ended().await;
    for pid in gateways {
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "no gateway is left");
    }
}

#[tokio::test]
async fn a_gateway_outlives_the_core() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("core.sock");
    let socket = ("MERIDIAN_GATEWAYS__SOCKET", path.to_str().expect("text"));
    let mut core = Process::start(&["serve"], directory.path(), &[socket]);
    let gateway = Process::start(&["gateway"], directory.path(), &[socket]);
    gateway.answers().await;
    let (author, room, mut watchers) = watchers(&gateway, 3).await;

    core.signal("-KILL");
    for watcher in &mut watchers {
        assert_eq!(watcher.socket.closed().await, Closed::With(1012));
    }
    let answer = gateway.call(Method::GET, "/versions", None, json!({})).await;
    let (status, body) = answer.expect("an answer");
    assert_eq!((status.as_u16(), &body["errcode"]), (503, &json!("M_UNKNOWN")));
    core.ended().await;

    let _core = Process::start(&["serve"], directory.path(), &[socket]);
    gateway.answers().await;
    gateway.say(&author, &room, "again").await;
    for watcher in &mut watchers {
        watcher.come_back(&gateway).await;
        assert!(watcher.hear("again").await);
    }
}

/// The core sees who asks, whatever a client writes into the gateway's header.
#[tokio::test]
async fn a_client_cannot_say_where_it_comes_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let core = Process::start(
        &["--gateways", "1"],
        directory.path(),
        &[("MERIDIAN_HTTP__TRUSTED_PROXIES", "[]")],
    );
    core.answers().await;
    let token = core.register("ada").await;
    let request = Request::get(format!("http://{}/_matrix/client/v3/devices", core.address))
        .header("Authorization", format!("Bearer {token}"))
        .header("X-Meridian-Client", "203.0.113.9:1")
        .body(Full::<Bytes>::default())
        .expect("a request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.expect("an answer");
    let body = response.into_body().collect().await.expect("all of it").to_bytes();
    let devices: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(devices["devices"][0]["last_seen_ip"], "127.0.0.1", "{devices}");
}
