//! The WebSocket of the client-server API, as a client: requests with their answers, and sync
//! batches that are acknowledged.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message, client::IntoClientRequest as _, http::HeaderValue, protocol::WebSocketConfig,
    },
};

use crate::client::{Account, Refusal, SYNC_FILTER, Sync};

const PATH: &str = "/_matrix/client/unstable/im.meridian/sync/ws";
const SUBPROTOCOL: &str = "im.meridian.v1.json";

pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    requests: u64,
}

/// What a server may send. A response has an id, a notification a method, a server's ping both.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame {
    pub(crate) id: Option<String>,
    pub(crate) method: Option<String>,
    pub(crate) seq: Option<u64>,
    pub(crate) data: Option<Sync>,
    result: Option<Value>,
    error: Option<Value>,
}

impl Socket {
    pub(crate) async fn open(address: SocketAddr, account: &Account) -> anyhow::Result<Self> {
        Self::open_from(address, Ipv4Addr::LOCALHOST, account).await
    }

    /// Opens from a given loopback address: one address has too few ports for many sockets.
    pub(crate) async fn open_from(
        address: SocketAddr,
        source: Ipv4Addr,
        account: &Account,
    ) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        let stream = socket.connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{address}{PATH}").into_client_request()?;
        let headers = request.headers_mut();
        headers.insert(
            "Authorization",
            HeaderValue::from_str(&format!("Bearer {}", account.token)).context("token")?,
        );
        headers.insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        // The default read buffer of 128 KiB would be most of this process's memory.
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let (stream, _) =
            client_async_with_config(request, stream, Some(config)).await.context("upgrade")?;
        Ok(Self { stream, requests: 0 })
    }

    /// Starts the sync of this socket from a token, or from nothing.
    pub(crate) async fn start_sync(&mut self, since: Option<&str>) -> anyhow::Result<()> {
        let mut params = json!({
            "mode": "v3",
            "window": 2,
            "set_presence": "offline",
            "filter": SYNC_FILTER,
        });
        if let Some(since) = since {
            params["since"] = json!(since);
        }
        self.requests += 1;
        let id = format!("start{}", self.requests);
        self.request(&id, "sync.start", params).await?;
        let response = self.next().await?;
        if response.id.as_deref() != Some(&id) {
            bail!("sync.start was answered by {response:?}");
        }
        response.into_result().map(drop)
    }

    pub(crate) async fn request(
        &mut self,
        id: &str,
        method: &str,
        params: Value,
    ) -> anyhow::Result<()> {
        self.write(json!({ "id": id, "method": method, "params": params })).await
    }

    /// A request that wants no answer.
    pub(crate) async fn notify(&mut self, method: &str, params: Value) -> anyhow::Result<()> {
        self.write(json!({ "method": method, "params": params })).await
    }

    /// Returns when everything that was sent before has been read by the server.
    pub(crate) async fn round_trip(&mut self) -> anyhow::Result<()> {
        self.requests += 1;
        let id = format!("trip{}", self.requests);
        self.request(&id, "ping", json!({})).await?;
        while self.next().await?.id.as_deref() != Some(&id) {}
        Ok(())
    }

    pub(crate) async fn acknowledge(&mut self, seq: u64) -> anyhow::Result<()> {
        self.write(json!({ "method": "sync.ack", "params": { "seq": seq } })).await
    }

    /// Sends a text message and returns its event id. The id is the transaction id.
    pub(crate) async fn send(
        &mut self,
        room_id: &str,
        transaction_id: &str,
        content: Value,
    ) -> anyhow::Result<String> {
        let params =
            json!({ "room_id": room_id, "event_type": "m.room.message", "content": content });
        self.request(transaction_id, "send", params).await?;
        loop {
            let frame = self.next().await?;
            if frame.id.as_deref() == Some(transaction_id) {
                let result = frame.into_result()?;
                let event_id = result["event_id"].as_str().context("send without an event id")?;
                return Ok(event_id.to_owned());
            }
        }
    }

    /// The next frame that is for the caller: pings are answered here.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Frame> {
        loop {
            let text = self.next_text().await?;
            let frame: Frame =
                serde_json::from_str(&text).with_context(|| format!("frame {text}"))?;
            match (&frame.method, &frame.id) {
                (Some(method), Some(id)) if method == "ping" => {
                    self.write(json!({ "id": id, "result": {} })).await?;
                }
                _ => return Ok(frame),
            }
        }
    }

    /// The next text frame as it came, for callers that take the time before they parse.
    pub(crate) async fn next_text(&mut self) -> anyhow::Result<String> {
        loop {
            match self.stream.next().await.context("closed")?.context("read")? {
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Close(reason) => bail!("closed by the server: {reason:?}"),
                _ => {}
            }
        }
    }

    async fn write(&mut self, frame: Value) -> anyhow::Result<()> {
        self.stream.send(Message::text(frame.to_string())).await.context("write")
    }
}

impl Frame {
    pub(crate) fn into_result(self) -> anyhow::Result<Value> {
        match (self.result, self.error) {
            (Some(result), None) => Ok(result),
            (_, Some(error)) => Err(Refusal(error.to_string()).into()),
            (None, None) => bail!("neither result nor error"),
        }
    }
}
