//! Strangers choose names; where they lead must not be inside.

use axum::response::IntoResponse as _;
use federation::{Client, Config, Limits, RequestError};
use http::{Method, header};

use crate::net::{Canary, MINUTE, Net, Peer, json, name, our_key, us};

async fn ask(client: &Client, server: &str) -> Result<(), RequestError> {
    let path = "/_matrix/key/v2/server";
    let server = name(server);
    let answer = client.request_unsigned(&server, Method::GET, path, None, Limits::ORDINARY).await;
    answer.map(|_| ())
}

/// With the system's resolver, which reads more notations of an address than one would think.
#[tokio::test]
async fn no_notation_of_an_address_leads_inside() {
    let canary = Canary::at("127.0.0.1:0");
    let port = canary.address().port();
    let net = Net::new();
    let config = Config::default();
    let client = Client::new(&config, us().to_owned(), our_key(), net.clock.clone());
    let client = client.expect("the system has a resolver");
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        // Some are no server names at all, which is as well.
        let Ok(server) = ruma::ServerName::parse(format!("{host}:{port}")) else { continue };
        let path = "/_matrix/key/v2/server";
        let limits = Limits::ORDINARY;
        let answer = client.request_unsigned(&server, Method::GET, path, None, limits).await;
        let Err(error) = answer else { panic!("{host} was reached") };
        assert!(canary.is_alone(), "{host}: {error}");
    }
}

#[tokio::test]
async fn no_record_leads_inside() {
    let canary = Canary::new();
    let (inside, port) = (canary.address(), canary.address().port());
    let by_name = Net::new();
    by_name.names.lead("a.test", 443, inside);
    by_name.names.lead("a.test", 8448, inside);
    let by_service = Net::new();
    by_service.names.serve("_matrix-fed._tcp.a.test.", (0, 0, "127.0.0.2", port));
    by_service.names.serve("_matrix._tcp.a.test.", (0, 0, "inside.test", port));
    by_service.names.lead("inside.test", port, inside);
    for net in [by_name, by_service] {
        assert!(ask(&net.client(), "a.test").await.is_err());
        assert!(canary.is_alone());
    }
}

#[tokio::test]
async fn an_address_inside_does_not_hide_those_outside() {
    let (canary, net) = (Canary::new(), Net::new());
    let peer = net.peer("a.test", 1234, |_| json("{}")).await;
    net.names.lead_to_each("a.test", 1234, &[canary.address(), peer.address]);
    ask(&net.client(), "a.test:1234").await.expect("the second address is good");
    assert!(canary.is_alone());
}

#[tokio::test]
async fn a_name_that_moves_inside_is_not_followed() {
    let (canary, net) = (Canary::new(), Net::new());
    // Each request needs a connection of its own: one that is open leads where it led.
    let closing = |_: &_| Some(([(header::CONNECTION, "close")], "{}").into_response());
    let certificate = net.authority.issue(&["a.test"]);
    let peer = Peer::at("127.0.0.1:0", certificate, &[b"http/1.1"], closing).await;
    net.names.lead("a.test", 1234, peer.address);
    let client = net.client();
    ask(&client, "a.test:1234").await.expect("it is outside yet");
    peer.has_ended(1).await;
    net.names.lead("a.test", 1234, canary.address());
    net.clock.advance(6 * MINUTE);
    assert!(ask(&client, "a.test:1234").await.is_err());
    assert!(canary.is_alone());
}

#[tokio::test]
async fn an_operator_says_which_addresses_are_inside() {
    let net = Net::new();
    let certificate = net.authority.issue(&["127.0.0.2"]);
    let peer = Peer::at("127.0.0.2:0", certificate, &[b"h2"], |_| json("{}")).await;
    let server = peer.address.to_string();
    assert!(ask(&net.client(), &server).await.is_err());
    let open = vec!["127.0.0.2/32".parse().expect("a network")];
    let config = Config { allowed_addresses: open, ..net.config() };
    ask(&net.client_with(&config), &server).await.expect("it is open");
    assert_eq!(peer.count(), 1);
}
