//! One HTTP/1.1 connection that is kept open and opened again when the server closed it. One
//! connection carries one request at a time, so a writer's latency is its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub(crate) struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Another one to the same server.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.address)
    }

    /// Sends a request and reads the whole answer. An error means that nothing is known about what
    /// the server did with it.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> anyhow::Result<Response> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        self.request_as(method, path, bearer, body).await
    }

    /// The same, with any `Authorization`.
    pub(crate) async fn request_as(
        &mut self,
        method: Method,
        path: &str,
        authorization: Option<String>,
        body: Bytes,
    ) -> anyhow::Result<Response> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).context("request")?;
        let mut sender = self.open().await?;
        let response = sender.send_request(request).await.context("send")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("read")?.to_bytes();
        self.sender = Some(sender);
        Ok(Response { status, body })
    }

    /// Takes the sender out: a request that is dropped half-way takes its connection with it.
    async fn open(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.context("handshake")?;
        // It ends when the sender is dropped or the server is gone; the request reports why.
        tokio::spawn(async { drop(driver.await) });
        Ok(sender)
    }
}
