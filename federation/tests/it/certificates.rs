//! Who is believed to be whom.

use std::time::Duration;

use federation::{Limits, RequestError};
use http::Method;

use crate::net::{Authority, Certificate, Net, Peer, json, name, pass};

#[tokio::test]
async fn a_certificate_must_be_for_the_name_that_the_procedure_says() {
    type Make = fn(&Net) -> Certificate;
    let cases: [(&str, Make, bool); 9] = [
        ("the name", |net| net.authority.issue(&["a.test"]), true),
        ("among others", |net| net.authority.issue(&["x.test", "a.test", "y.test"]), true),
        ("everything at the top", |net| net.authority.issue(&["*.test"]), false),
        ("another name", |net| net.authority.issue(&["b.test"]), false),
        ("where the record points", |net| net.authority.issue(&["c.test"]), false),
        ("a name below", |net| net.authority.issue(&["a.a.test", "*.a.test"]), false),
        ("the address", |net| net.authority.issue(&["127.0.0.1"]), false),
        ("out of date", |net| net.authority.issue_expired(&["a.test"]), false),
        ("by itself", |_| Certificate::self_signed(&["a.test"]), false),
    ];
    for (what, make, good) in cases {
        let net = Net::new();
        let peer = Peer::start(make(&net), |_| json("{}")).await;
        // By a record, whose target is not who is expected there.
        net.names.serve("_matrix-fed._tcp.a.test.", (0, 0, "c.test", 3333));
        net.names.lead("c.test", 3333, peer.address);
        check(&net, &peer, "a.test", what, good).await;
    }
}

#[tokio::test]
async fn an_address_needs_a_certificate_for_the_address() {
    for (what, names, good) in [
        ("the address", &["127.0.0.1"][..], true),
        ("another address", &["127.0.0.3"], false),
        ("a name", &["localhost", "a.test"], false),
    ] {
        let net = Net::new();
        let peer = Peer::start(net.authority.issue(names), |_| json("{}")).await;
        check(&net, &peer, &peer.address.to_string(), what, good).await;
    }
}

#[tokio::test]
async fn an_authority_that_nobody_named_vouches_for_nobody() {
    let net = Net::new();
    let peer = Peer::start(Authority::new().issue(&["127.0.0.1"]), |_| json("{}")).await;
    check(&net, &peer, &peer.address.to_string(), "another authority", false).await;
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_an_error_at_the_start() {
    let net = Net::new();
    let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    let config = federation::Config { certificate_authorities: vec![garbage], ..net.config() };
    let key = crate::net::our_key();
    let client = federation::Client::with_resolver(
        &config,
        net.names.clone(),
        crate::net::us().to_owned(),
        key,
        net.clock.clone(),
    );
    assert!(client.is_err());
}

#[tokio::test]
async fn one_that_does_not_shake_hands_is_left() {
    let net = Net::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    net.names.lead("a.test", 1234, listener.local_addr().expect("an address"));
    let client = net.client();
    let server = name("a.test:1234");
    let asking = client.request(&server, Method::GET, "/", None, Limits::ORDINARY);
    tokio::pin!(asking);
    let (held, _) = tokio::select! {
        _ = &mut asking => panic!("nobody has answered"),
        accepted = listener.accept() => accepted.expect("a connection"),
    };
    pass(Duration::from_millis(10_100)).await;
    assert!(matches!(asking.await, Err(RequestError::Connection(_))));
    drop(held);
}

async fn check(net: &Net, peer: &Peer, server: &str, what: &str, good: bool) {
    let server = name(server);
    let body = Some("{\"secret\":1}".into());
    let path = "/_matrix/federation/v1/send/1";
    let answer = net.client().request(&server, Method::PUT, path, body, Limits::ORDINARY).await;
    match answer {
        Ok(_) => assert!(good, "{what}"),
        Err(RequestError::Connection(_)) => assert!(!good, "{what}"),
        Err(other) => panic!("{what}: {other}"),
    }
    assert_eq!(peer.count(), usize::from(good), "{what}: not a byte for who is not who they say");
}
