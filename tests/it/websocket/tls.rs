//! The transport under the WebSocket may be TLS.

use std::{sync::Arc, time::Duration};

use meridian::Limits;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    server::{PATIENCE, Server},
    socket::{Ask, Closed, Socket},
};

/// Both ends of a certificate for `x.test`.
fn ends() -> (TlsAcceptor, TlsConnector) {
    let certified = rcgen::generate_simple_self_signed(["x.test".to_owned()]).expect("made here");
    let certificate = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("they are known")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .expect("they fit together");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they are known")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
}

#[tokio::test]
async fn a_socket_works_over_tls_until_the_end() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    // More than one record.
    ada.say(&room, "long", &"x".repeat(60_000)).await;
    let (acceptor, connector) = ends();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("it has an address");
    let limits = Limits {
        header_timeout: Duration::from_secs(30),
        connections_max: 10,
        drain: Duration::from_secs(5),
    };
    let (app, tasks) = (server.region.router(), server.region.tasks().clone());
    let serve = meridian::serve(listener, Some(acceptor), app, limits, tasks);
    server.region.tasks().spawn("TLS listener", serve);

    let stream = TcpStream::connect(address).await.expect("the server listens");
    let name = ServerName::try_from("x.test").expect("a name");
    let stream = connector.connect(name, stream).await.expect("the certificate is trusted");
    let ask = Ask { token: Some(&ada.token), ..Ask::default() };
    let socket = Socket::over(Box::new(stream), ask, PATIENCE).await;
    let mut socket = socket.expect("the socket opens");
    socket.start(json!({})).await;
    let first = socket.batch().await;
    assert!(first.to_string().len() > 60_000);
    socket.ack(&first).await;
    ada.post("/v3/logout", json!({})).await.ok();
    assert_eq!(socket.closed().await, Closed::With(4004));
}
