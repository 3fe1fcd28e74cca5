//! "Resolving server names": where a request goes, in whose name, and what was asked on the way.

use federation::{Client, Limits, RequestError};
use http::{Method, StatusCode};

use crate::net::{Net, Peer, json, name, status};

const PATH: &str = "/_matrix/federation/v1/version";

async fn ask(client: &Client, server: &str) -> Result<StatusCode, RequestError> {
    let answer = client.request(&name(server), Method::GET, PATH, None, Limits::ORDINARY).await;
    answer.map(|answer| answer.status)
}

/// A server called `server`, and how it is reached.
struct Case {
    server: &'static str,
    /// What `.well-known` of the name says.
    delegates: Option<&'static str>,
    /// SRV records: name, target and port.
    services: &'static [(&'static str, &'static str, u16)],
    /// Where it really is.
    leads: (&'static str, u16),
    /// The name in the `Host` header; its certificate is for the same without port.
    host: &'static str,
}

const FED: &str = "_matrix-fed._tcp.a.test.";
const OLD: &str = "_matrix._tcp.a.test.";
const DELEGATED_FED: &str = "_matrix-fed._tcp.b.test.";
const DELEGATED_OLD: &str = "_matrix._tcp.b.test.";

const CASES: &[Case] = &[
    // Step 2.
    Case {
        server: "a.test:1234",
        delegates: Some(r#"{"m.server":"b.test:2222"}"#),
        services: &[(FED, "c.test", 3333)],
        leads: ("a.test", 1234),
        host: "a.test:1234",
    },
    // Step 3.2
    Case {
        server: "a.test",
        delegates: Some(r#"{"m.server":"b.test:2222"}"#),
        services: &[(FED, "c.test", 3333), (DELEGATED_FED, "c.test", 3333)],
        leads: ("b.test", 2222),
        host: "b.test:2222",
    },
    // Step 3.3
    Case {
        server: "a.test",
        delegates: Some(r#"{"m.server":"b.test"}"#),
        services: &[
            (FED, "d.test", 4444),
            (DELEGATED_OLD, "d.test", 4444),
            (DELEGATED_FED, "c.test", 3333),
        ],
        leads: ("c.test", 3333),
        host: "b.test",
    },
    // Step 3.4
    Case {
        server: "a.test",
        delegates: Some(r#"{"m.server":"b.test"}"#),
        services: &[(FED, "d.test", 4444), (DELEGATED_OLD, "c.test", 3333)],
        leads: ("c.test", 3333),
        host: "b.test",
    },
    // Step 3.5
    Case {
        server: "a.test",
        delegates: Some(r#"{"m.server":"b.test","and":["more"]}"#),
        services: &[(FED, "d.test", 4444)],
        leads: ("b.test", 8448),
        host: "b.test",
    },
    // Delegation to itself is not followed twice.
    Case {
        server: "a.test",
        delegates: Some(r#"{"m.server":"a.test"}"#),
        services: &[],
        leads: ("a.test", 8448),
        host: "a.test",
    },
    // Step 4
    Case {
        server: "a.test",
        delegates: None,
        services: &[(OLD, "d.test", 4444), (FED, "c.test", 3333)],
        leads: ("c.test", 3333),
        host: "a.test",
    },
    // Step 5
    Case {
        server: "a.test",
        delegates: None,
        services: &[(OLD, "c.test.", 3333)],
        leads: ("c.test", 3333),
        host: "a.test",
    },
    // Step 6
    Case {
        server: "a.test",
        delegates: None,
        services: &[],
        leads: ("a.test", 8448),
        host: "a.test",
    },
    // A target that does not exist is none.
    Case {
        server: "a.test",
        delegates: None,
        services: &[(FED, "gone.test", 3333), (OLD, "c.test", 3333)],
        leads: ("c.test", 3333),
        host: "a.test",
    },
];

#[tokio::test]
async fn a_server_is_found_by_each_step_of_the_procedure() {
    for (index, case) in CASES.iter().enumerate() {
        let net = Net::new();
        let _delegation = match case.delegates {
            Some(body) => Some(net.peer("a.test", 443, move |_| json(body)).await),
            None => None,
        };
        for (service, host, port) in case.services {
            net.names.serve(service, (0, 0, host, *port));
        }
        let certificate = net.authority.issue(&[case.host.split(':').next().expect("a name")]);
        let server = Peer::start(certificate, |_| json("{}")).await;
        net.names.lead(case.leads.0, case.leads.1, server.address);

        let answer = ask(&net.client(), case.server).await;
        assert_eq!(
            answer.unwrap_or_else(|error| panic!("case {index}: {error}")),
            StatusCode::OK,
            "case {index}"
        );
        let [seen] = &*server.seen() else { panic!("case {index}: one request") };
        assert_eq!(seen.host, case.host, "case {index}");
        assert_eq!(seen.uri, PATH, "case {index}");
        // "the server name ... before delegation"
        let destination = format!("destination=\"{}\"", case.server);
        let authorization = seen.authorization.as_deref().unwrap_or_default();
        assert!(authorization.contains(&destination), "case {index}: {authorization}");
    }
}

#[tokio::test]
async fn a_delegation_that_says_nothing_is_none() {
    for body in [
        "",
        "a.test",
        "[]",
        "{}",
        "null",
        r#""b.test""#,
        r#"{"m.server":null}"#,
        r#"{"m.server":5}"#,
        r#"{"m.server":["b.test"]}"#,
        r#"{"m.server":""}"#,
        r#"{"m.server":"b.test:99999"}"#,
        r#"{"m.server":"b.test:port"}"#,
        r#"{"m.server":"https://b.test"}"#,
        r#"{"m.server":"b.test/path"}"#,
        r#"{"m.server":"user@b.test"}"#,
        r#"{"m.server":"b.test b.test"}"#,
        r#"{"m.server":"b.test"}}"#,
        r#"{"m.server":"b.test","m.server":"c.test"}"#,
        "<!doctype html><title>a.test</title>",
    ] {
        let net = Net::new();
        let _delegation = net.peer("a.test", 443, move |_| json(body)).await;
        let server = net.peer("a.test", 8448, |_| json("{}")).await;
        let answer = ask(&net.client(), "a.test").await;
        assert_eq!(answer.expect(body), StatusCode::OK, "{body}");
        assert_eq!(server.count(), 1, "{body}");
        let asked = net.names.take_asked();
        assert!(!asked.iter().any(|name| name.contains("b.test")), "{body}: {asked:?}");
    }
    for code in [204, 400, 401, 404, 410, 429, 500, 502, 503] {
        let net = Net::new();
        let code = StatusCode::from_u16(code).expect("a status");
        let _delegation = net.peer("a.test", 443, move |_| status(code)).await;
        let server = net.peer("a.test", 8448, |_| json("{}")).await;
        assert_eq!(ask(&net.client(), "a.test").await.expect("found"), StatusCode::OK, "{code}");
        assert_eq!(server.count(), 1, "{code}");
    }
}

#[tokio::test]
async fn addresses_are_names_without_delegation() {
    for (listen, host) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let net = Net::new();
        let certificate = net.authority.issue(&[host]);
        let server = Peer::at(listen, certificate, &[b"http/1.1"], |_| json("{}")).await;
        let literal = server.address.to_string();
        let answer = ask(&net.client(), &literal).await;
        assert_eq!(answer.expect("the address leads there"), StatusCode::OK);
        assert_eq!(server.seen()[0].host, literal);
        assert_eq!(net.names.take_asked(), Vec::<String>::new(), "nothing is to be looked up");

        let body = format!(r#"{{"m.server":"{literal}"}}"#);
        let _delegation = net.peer("a.test", 443, move |_| json(&body)).await;
        assert_eq!(ask(&net.client(), "a.test").await.expect("step 3.1"), StatusCode::OK);
        assert_eq!(server.seen()[1].host, literal);
    }
}

#[tokio::test]
async fn an_address_without_a_port_is_asked_at_8448() {
    let net = Net::new();
    let config = federation::Config {
        allowed_addresses: vec!["127.84.48.0/24".parse().expect("a network")],
        ..net.config()
    };
    let certificate = net.authority.issue(&["127.84.48.1"]);
    let server = Peer::at("127.84.48.1:8448", certificate, &[b"http/1.1"], |_| json("{}")).await;
    let answer = ask(&net.client_with(&config), "127.84.48.1").await;
    assert_eq!(answer.expect("the default port"), StatusCode::OK);
    assert_eq!(server.seen()[0].host, "127.84.48.1");
}

#[tokio::test]
async fn services_are_tried_in_the_order_of_their_priorities() {
    let net = Net::new();
    let mut servers = Vec::new();
    for (label, record) in [
        ("first", (1, 5, "first.test", 1001)),
        ("second", (1, 1, "second.test", 1002)),
        ("third", (7, 9, "third.test", 1003)),
    ] {
        let server = Peer::start(net.authority.issue(&["a.test"]), move |_| json(label)).await;
        net.names.lead(record.2, record.3, server.address);
        servers.push((label, record, server));
    }
    // The order in which a name server hands them out says nothing.
    for (_, record, _) in servers.iter().rev() {
        net.names.serve(FED, *record);
    }
    net.names.serve(FED, (0, 0, "gone.test", 1000));
    net.names.serve(FED, (0, 0, ".", 1000));
    let server = name("a.test");
    for (label, (.., host, port), peer) in servers {
        let client = net.client();
        let answer = client.request(&server, Method::GET, PATH, None, Limits::ORDINARY).await;
        assert_eq!(answer.expect("one is there").body, label);
        // The next time this one is down.
        drop(peer);
        net.names.lead(host, port, nobody());
    }
    assert!(ask(&net.client(), "a.test").await.is_err(), "all of them are down");
}

/// An address where nobody listens.
fn nobody() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

#[tokio::test]
async fn a_flood_of_records_is_not_walked_to_its_end() {
    let net = Net::new();
    for index in 0..1000 {
        net.names.serve(FED, (0, 0, &format!("gone{index}.test"), 1000));
    }
    let server = net.peer("a.test", 8448, |_| json("{}")).await;
    assert_eq!(ask(&net.client(), "a.test").await.expect("found"), StatusCode::OK);
    assert_eq!(server.count(), 1);
    assert!(net.names.take_asked().len() < 32, "a stranger says how many records there are");
}

#[tokio::test]
async fn requests_go_by_http_1_and_2() {
    for (protocols, version) in [
        (&[b"h2".as_slice()][..], http::Version::HTTP_2),
        (&[b"http/1.1".as_slice()][..], http::Version::HTTP_11),
        // Some speak TLS and know of no protocols.
        (&[][..], http::Version::HTTP_11),
    ] {
        let net = Net::new();
        let certificate = net.authority.issue(&["a.test"]);
        let server = Peer::at("127.0.0.1:0", certificate, protocols, |_| json("{}")).await;
        net.names.lead("a.test", 1234, server.address);
        assert_eq!(ask(&net.client(), "a.test:1234").await.expect("found"), StatusCode::OK);
        assert_eq!(server.seen()[0].version, version);
        assert_eq!(server.seen()[0].host, "a.test:1234");
    }
}
