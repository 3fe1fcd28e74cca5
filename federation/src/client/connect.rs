//! Connections: to an address that may be connected to, with a certificate for the right name.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName as TlsName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{RequestError, addresses::AddressRules, discovery::Target};
use crate::Config;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Targets that are remembered for connections that are being made.
const TARGETS_MAX: usize = 65_536;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens the connections of the HTTP client. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    rules: Arc<AddressRules>,
    /// By the authority of the URL: the HTTP client knows of no more than that.
    targets: Arc<Mutex<HashMap<String, Target>>>,
}

impl Connector {
    pub(super) fn new(config: &Config) -> Result<Self, RequestError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for pem in &config.certificate_authorities {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let unusable = |error: &dyn std::fmt::Display| {
                    RequestError::Request(format!("a certificate authority is no good: {error}"))
                };
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| RequestError::Request(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls)),
            rules: Arc::new(AddressRules::new(config)),
            targets: Arc::default(),
        })
    }

    /// The same rules for another client: where its requests go is its own knowledge.
    pub(super) fn apart(&self) -> Self {
        Self { targets: Arc::default(), ..self.clone() }
    }

    /// Says where requests with the target's authority go.
    pub(super) fn register(&self, target: &Target) {
        let mut targets = self.targets.lock();
        if targets.len() >= TARGETS_MAX && !targets.contains_key(&target.authority) {
            targets.clear();
        }
        targets.insert(target.authority.clone(), target.clone());
    }

    async fn connect(self, uri: Uri) -> Result<TlsConnection, BoxError> {
        let authority = uri.authority().map(|authority| authority.as_str().to_owned());
        let target = authority.and_then(|authority| self.targets.lock().get(&authority).cloned());
        let target = target.ok_or("the server was not looked up")?;
        let mut problem: BoxError = "the server has no address".into();
        for address in &target.addresses {
            match self.connect_to(*address, &target).await {
                Ok(connection) => return Ok(connection),
                Err(error) => problem = format!("{address}: {error}").into(),
            }
        }
        Err(problem)
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        target: &Target,
    ) -> Result<TlsConnection, BoxError> {
        // The address that is connected to, not one that was looked up before: names change.
        if !self.rules.allows(address.ip()) {
            return Err("this address is not connected to (see `allowed_addresses`)".into());
        }
        let name = TlsName::try_from(target.tls_name.clone())?;
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            self.tls.connect(name, stream).await
        };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, connect).await??;
        Ok(TlsConnection(TokioIo::new(stream)))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TlsConnection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TlsConnection, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

pub(super) struct TlsConnection(TokioIo<TlsStream<TcpStream>>);

impl Connection for TlsConnection {
    fn connected(&self) -> Connected {
        let (_, tls) = self.0.inner().get_ref();
        let connected = Connected::new();
        if tls.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl hyper::rt::Read for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for TlsConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
