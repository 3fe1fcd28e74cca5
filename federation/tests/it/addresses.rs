//! Strangers choose names; where they lead must not be inside.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use accounts::{IdentityAuth, IdentityRequest, IdentityServers as _};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use federation::{Client, Config, Limits, Remote, RequestError};
use http::{Method, header};
use media::ports::RemoteMedia as _;
use rooms::ports::RemoteServers as _;
use ruma::ServerName;

use crate::{
    keys::{ask as ask_for_keys, memory, ring_on},
    net::{Canary, MINUTE, Net, Peer, json, name, our_key, us},
};

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

/// One address of each network that is not for strangers to lead to, and some that hide one.
const INSIDE: [&str; 31] = [
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.2",
    "::ffff:127.0.0.2",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:2",
    "64:ff9b:1::a00:1",
    "2001:db8::1",
    "2002:7f00:2::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
];

/// What makes us connect to a server that somebody else names, each with its own way to do so.
const SOURCES: [&str; 7] =
    ["federation", "policy server", "push", "web push", "identity server", "media", "page"];

/// What is said of the attempt.
async fn attempt(client: &Client, source: &str, server: &ServerName) -> String {
    let remote = Remote::new(client.clone());
    match source {
        "federation" => format!("{:?}", ask(client, server.as_str()).await),
        "policy server" => format!("{:?}", remote.policy_sign(server, Bytes::from("{}")).await),
        "push" => {
            let url = format!("https://{server}/_matrix/push/v1/notify");
            format!("{:?}", client.post_url(&url, Bytes::from("{}"), Limits::ORDINARY).await)
        }
        "web push" => {
            let url = format!("https://{server}/wpush/v2/abc");
            let (body, headers) = (Bytes::from_static(&[0; 103]), http::HeaderMap::new());
            format!("{:?}", client.post_with(&url, headers, body, Limits::ORDINARY).await)
        }
        "identity server" => {
            let auth = IdentityAuth::Signed;
            let path = "/_matrix/identity/v2/account";
            format!("{:?}", remote.ask(IdentityRequest { server, path, auth, body: None }).await)
        }
        "media" => {
            let wait = Duration::from_secs(5);
            format!("{:?}", remote.download(server, "abc", wait).await.map(drop))
        }
        // For the preview of a URL that somebody has said.
        "page" => {
            let url = format!("https://{server}/page");
            format!("{:?}", remote.page(&url, Duration::from_secs(5)).await.map(drop))
        }
        other => panic!("{other} is no source"),
    }
}

/// By a name that has the address, and by the address itself. Refused is what counts: that nobody
/// was at home there would be another answer.
#[tokio::test]
async fn whoever_names_a_server_leads_nobody_inside() {
    let (net, canary) = (Net::new(), Canary::new());
    let port = canary.address().port();
    let client = net.client();
    let mut cells = 0;
    for (n, address) in INSIDE.into_iter().enumerate() {
        let address: IpAddr = address.parse().expect("an address");
        let (literal, named) = (SocketAddr::new(address, port), format!("inside{n}.test"));
        net.names.lead(&named, port, literal);
        let literal = literal.to_string();
        for host in [literal, format!("{named}:{port}")] {
            let Ok(server) = ServerName::parse(&host) else { continue };
            for source in SOURCES {
                let said = attempt(&client, source, &server).await;
                assert!(said.contains("is not connected to"), "{source}, {host}: {said}");
                assert!(canary.is_alone(), "{source}, {host}");
                cells += 1;
            }
        }
    }
    assert!(cells >= 300, "{cells}");
}

/// Those that tell nobody why they failed.
#[tokio::test]
async fn keys_and_their_validity_are_not_asked_for_inside() {
    let (net, canary) = (Net::new(), Canary::new());
    let port = canary.address().port();
    net.names.lead("inside.test", port, canary.address());
    for host in [canary.address().to_string(), format!("inside.test:{port}")] {
        let remote = Remote::new(net.client());
        for url in [format!("https://{host}/isvalid"), format!("https://x@{host}/isvalid")] {
            assert!(!remote.is_key_valid(&url, "AAAA").await, "{url}");
        }
        let notaries = vec![name(&host)];
        let ring = ring_on(&net, &Config { notaries, ..net.config() }, memory());
        assert!(ask_for_keys(&ring, &host, &["ed25519:1"]).await.is_empty(), "{host}");
        assert!(ask_for_keys(&ring, "nowhere.test:1", &["ed25519:1"]).await.is_empty(), "{host}");
        assert!(canary.is_alone(), "{host}");
    }
}

/// Those that follow redirects look where each of them leads.
#[tokio::test]
async fn no_redirect_leads_inside() {
    let (net, canary) = (Net::new(), Canary::new());
    let port = canary.address().port();
    net.names.lead("inside.test", port, canary.address());
    net.names.lead("inside.test", 443, canary.address());
    for to in [
        format!("https://{}/", canary.address()),
        format!("https://[::ffff:127.0.0.2]:{port}/"),
        format!("https://inside.test:{port}/"),
        "https://inside.test/".to_owned(),
        format!("http://{}/", canary.address()),
        format!("//inside.test:{port}/"),
        format!("https://a.test@inside.test:{port}/"),
        "file:///etc/passwd".to_owned(),
        "gopher://inside.test/".to_owned(),
    ] {
        let location = to.clone();
        let answer = move |_: &_| {
            Some((http::StatusCode::FOUND, [(header::LOCATION, location.clone())]).into_response())
        };
        let peer = net.peer("a.test", 1234, answer).await;
        let remote = Remote::new(net.client());
        let page = remote.page("https://a.test:1234/page", Duration::from_secs(5)).await;
        assert!(page.is_err(), "{to}");
        assert!(!remote.is_key_valid("https://a.test:1234/isvalid", "AAAA").await, "{to}");
        assert_eq!(peer.count(), 2, "{to}");
        assert!(canary.is_alone(), "{to}");
    }
}
