//! A WebSocket client that sees every frame.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};
use tower::ServiceExt as _;

use crate::{
    server::{PATIENCE, Server},
    user::User,
};

pub(crate) const PATH: &str = "/_matrix/client/unstable/im.meridian/sync/ws";
pub(crate) const PROTOCOL: &str = "im.meridian.v1.json";

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Io>>,
    /// Frames that came while another was waited for.
    early: VecDeque<Value>,
    pub(crate) protocol: Option<String>,
    patience: Duration,
    ids: u32,
}

/// How to ask for a WebSocket.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) protocols: Option<&'a str>,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self { path: PATH, token: None, protocols: Some(PROTOCOL) }
    }
}

/// Why the server closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    With(u16),
    Without,
}

impl Socket {
    pub(crate) async fn open(user: &User<'_>) -> Self {
        let ask = Ask { token: Some(&user.token), ..Ask::default() };
        Self::ask(user.server, ask).await.expect("the socket opens")
    }

    /// The error is the status and errcode of the HTTP answer.
    pub(crate) async fn ask(server: &Server, ask: Ask<'_>) -> Result<Self, (u16, String)> {
        let stream = TcpStream::connect(server.address).await.expect("the server listens");
        Self::over(Box::new(stream), ask, PATIENCE).await
    }

    /// Over memory, so that time can be paused: nothing waits for the kernel. `buffer` is what the
    /// server can write before the client reads.
    pub(crate) async fn piped(server: &Server, token: Option<&str>, buffer: usize) -> Self {
        let (near, far) = tokio::io::duplex(buffer);
        serve_pipe(server, far);
        let ask = Ask { token, ..Ask::default() };
        // Paused time leaps ahead, so whatever waits has to wait for days.
        let patience = Duration::from_secs(1_000_000);
        Self::over(Box::new(near), ask, patience).await.expect("the socket opens")
    }

    pub(crate) async fn over(
        stream: Box<dyn Io>,
        ask: Ask<'_>,
        patience: Duration,
    ) -> Result<Self, (u16, String)> {
        let url = format!("ws://x.test{}", ask.path);
        let mut request = url.into_client_request().expect("a URL");
        if let Some(token) = ask.token {
            let value = format!("Bearer {token}").parse().expect("a header");
            request.headers_mut().insert("Authorization", value);
        }
        if let Some(protocols) = ask.protocols {
            let value = protocols.parse().expect("a header");
            request.headers_mut().insert("Sec-WebSocket-Protocol", value);
        }
        match client_async(request, stream).await {
            Ok((stream, response)) => {
                let protocol = response.headers().get("Sec-WebSocket-Protocol");
                let protocol = protocol.map(|name| name.to_str().expect("text").to_owned());
                Ok(Self { stream, early: VecDeque::new(), protocol, patience, ids: 0 })
            }
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let errcode = body["errcode"].as_str().unwrap_or_default().to_owned();
                Err((response.status().as_u16(), errcode))
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_message(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        // A server that has closed meanwhile says so to whoever reads.
        let _closed = self.stream.send(message).await;
    }

    /// Bytes as they are, whether they are frames or not.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        // A server that has closed meanwhile says so to whoever reads.
        let _closed = stream.write_all(bytes).await;
        let _closed = stream.flush().await;
    }

    /// The payload of the next pong.
    pub(crate) async fn pong(&mut self) -> Vec<u8> {
        loop {
            match self.message().await {
                Some(Ok(Message::Pong(payload))) => return payload.to_vec(),
                Some(Ok(_)) => (),
                other => panic!("no pong, but {other:?}"),
            }
        }
    }

    async fn message(&mut self) -> Option<Result<Message, tungstenite::Error>> {
        let next = tokio::time::timeout(self.patience, self.stream.next());
        next.await.expect("a frame in time")
    }

    /// The next frame from the wire.
    async fn receive(&mut self) -> Value {
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).expect("frames are JSON");
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => (),
                other => panic!("no frame, but {other:?}"),
            }
        }
    }

    pub(crate) async fn frame_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.early.iter().position(&wanted) {
            return self.early.remove(index).expect("it was found there");
        }
        loop {
            let frame = self.receive().await;
            if wanted(&frame) {
                return frame;
            }
            self.early.push_back(frame);
        }
    }

    /// Sends a request under `id` and returns the answer.
    pub(crate) async fn request_as(&mut self, id: &str, method: &str, params: Value) -> Value {
        self.send(json!({ "id": id, "method": method, "params": params })).await;
        self.frame_where(|frame| frame["id"] == id && frame["method"].is_null()).await
    }

    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Value {
        self.ids += 1;
        let id = format!("r{}", self.ids);
        self.request_as(&id, method, params).await
    }

    #[track_caller]
    pub(crate) fn result(answer: &Value) -> &Value {
        assert!(answer["error"].is_null(), "{answer}");
        &answer["result"]
    }

    pub(crate) async fn start(&mut self, mut params: Value) {
        params["mode"] = json!("v3");
        if params["set_presence"].is_null() {
            params["set_presence"] = json!("offline");
        }
        let answer = self.request("sync.start", params).await;
        Self::result(&answer);
    }

    pub(crate) async fn batch(&mut self) -> Value {
        self.frame_where(|frame| frame["method"] == "sync").await
    }

    /// Whether a batch has come, after a round trip.
    pub(crate) async fn has_batch(&mut self) -> bool {
        let answer = self.request("ping", json!({})).await;
        Self::result(&answer);
        self.early.iter().any(|frame| frame["method"] == "sync")
    }

    pub(crate) async fn ack(&mut self, batch: &Value) {
        self.send(json!({ "method": "sync.ack", "params": { "seq": batch["seq"] } })).await;
    }

    /// The next batch, or nothing if the connection ends first.
    pub(crate) async fn batch_unless_gone(&mut self) -> Option<Value> {
        loop {
            if let Some(index) = self.early.iter().position(|frame| frame["method"] == "sync") {
                return self.early.remove(index);
            }
            match self.message().await {
                Some(Ok(Message::Text(text))) => {
                    self.early.push_back(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => (),
            }
        }
    }

    /// Reads to the end.
    pub(crate) async fn closed(&mut self) -> Closed {
        loop {
            match self.message().await {
                Some(Ok(Message::Close(Some(frame)))) => return Closed::With(frame.code.into()),
                Some(Ok(Message::Text(text))) => {
                    self.early.push_back(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Closed::Without,
                Some(Ok(_)) => (),
            }
        }
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(self) {
        drop(self);
    }
}

/// Serves one connection that is a pipe in memory.
pub(crate) fn serve_pipe(server: &Server, far: DuplexStream) {
    let app = server.region.router();
    server.region.tasks().spawn("pipe", async move {
        let service = hyper::service::service_fn(move |request: http::Request<_>| {
            app.clone().oneshot(request.map(axum::body::Body::new))
        });
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        let _ended = builder.serve_connection_with_upgrades(TokioIo::new(far), service).await;
    });
}
