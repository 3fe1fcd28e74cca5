//! What an answer may cost, and what ends it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use events::RequestToSign;
use federation::{Limits, RequestError};
use futures_util::stream;
use http::{Method, StatusCode, header};

use crate::net::{Canary, Net, Peer, Seen, json, name, our_key, pass, us};

const MIB: usize = 1 << 20;
const SMALL: Limits = Limits { time: Duration::from_secs(20), body: MIB };

async fn get(net: &Net, limits: Limits) -> Result<(StatusCode, usize), RequestError> {
    let client = net.client();
    let answer = client.request(&name("a.test:1"), Method::GET, "/x?y=%2F", None, limits).await?;
    Ok((answer.status, answer.body.len()))
}

#[tokio::test]
async fn a_body_may_be_as_large_as_the_limit_and_no_larger() {
    for (length, fits) in [(0, true), (1, true), (MIB, true), (MIB + 1, false), (5 * MIB, false)] {
        let net = Net::new();
        let _peer = net.peer("a.test", 1, move |_| json("x".repeat(length))).await;
        match get(&net, SMALL).await {
            Ok(answer) => assert_eq!((answer, fits), ((StatusCode::OK, length), true)),
            Err(error) => {
                assert!(matches!(error, RequestError::TooLarge(MIB)), "{length}: {error}");
                assert!(!fits, "{length}");
            }
        }
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_let_go() {
    for protocol in [b"h2".as_slice(), b"http/1.1"] {
        let net = Net::new();
        let written = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&written);
        let endless = move |_: &Seen| {
            let counter = Arc::clone(&counter);
            let chunks = stream::repeat_with(move || {
                counter.fetch_add(16 << 10, Ordering::SeqCst);
                Ok::<_, std::io::Error>(vec![b'x'; 16 << 10])
            });
            Some(Response::new(Body::from_stream(chunks)))
        };
        let certificate = net.authority.issue(&["a.test"]);
        let peer = Peer::at("127.0.0.1:0", certificate, &[protocol], endless).await;
        net.names.lead("a.test", 1, peer.address);
        let answer = get(&net, SMALL).await;
        assert!(matches!(answer, Err(RequestError::TooLarge(MIB))), "{answer:?}");
        peer.has_ended(1).await;
        let written = written.load(Ordering::SeqCst);
        assert!(written < 16 * MIB, "{written} bytes were taken");
    }
}

#[tokio::test]
async fn bytes_that_are_no_answer_are_an_error() {
    for (what, first, rest) in [
        ("nothing", "", ""),
        ("garbage", "hello, who is there?\r\n\r\n", ""),
        ("endless garbage", "", "\u{1}"),
        ("endless first line", "HTTP/1.1 200 ", "O"),
        ("endless header", "HTTP/1.1 200 OK\r\n", "x-more: and more\r\n"),
        ("endless header line", "HTTP/1.1 200 OK\r\nx: ", "y"),
        ("endless greetings", "", "HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n"),
        ("a body that breaks off", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", ""),
        (
            "chunks that break off",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
            "",
        ),
        (
            "a chunk without end",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            "x",
        ),
        (
            "endless chunk extensions",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;",
            "x",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", ""),
        ("a length that is none", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}", ""),
        ("a huge length", "HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n", "x"),
        (
            "endless trailers",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            "x: y\r\n",
        ),
    ] {
        let net = Net::new();
        let peer = Peer::babbling(net.authority.issue(&["a.test"]), first, rest).await;
        net.names.lead("a.test", 1, peer.address);
        let answer = get(&net, Limits { time: Duration::from_secs(3), ..SMALL }).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
        peer.has_ended(1).await;
    }
}

#[tokio::test]
async fn an_answer_must_come_in_time() {
    let silent: fn(&Seen) -> Option<Response> = |_| None;
    let halting: fn(&Seen) -> Option<Response> =
        |_| Some(Response::new(Body::from_stream(stream::pending::<Result<&str, String>>())));
    for answer in [silent, halting] {
        let net = Net::new();
        let peer = net.peer("a.test", 1, answer).await;
        let asking = get(&net, SMALL);
        tokio::pin!(asking);
        tokio::select! {
            _ = &mut asking => panic!("there is no answer"),
            () = peer.has_seen(1) => {}
        }
        pass(SMALL.time + Duration::from_millis(100)).await;
        assert!(matches!(asking.await, Err(RequestError::Timeout)));
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (net, canary) = (Net::new(), Canary::at("127.0.0.1:0"));
    let to = format!("https://{}/", canary.address());
    let peer = move |_: &Seen| {
        let response = Response::builder().status(307).header(header::LOCATION, &to);
        Some(response.body(Body::empty()).expect("a response"))
    };
    let _peer = net.peer("a.test", 1, peer).await;
    assert_eq!(get(&net, SMALL).await.expect("it").0, StatusCode::TEMPORARY_REDIRECT);
    assert!(canary.is_alone());
}

/// As the other server checks it.
#[tokio::test]
async fn a_request_is_signed_as_it_is_sent() {
    let net = Net::new();
    let peer = net.peer("a.test", 1, |_| json("{}")).await;
    let (client, server) = (net.client(), name("a.test:1"));
    let body = r#"{"b":1.50,"a":"\u0061"}"#;
    let path = "/_matrix/federation/v1/x/%21room%3Ab?v=%24a&v=b+c";
    for (method, body) in
        [(Method::PUT, Some(body)), (Method::POST, Some("{}")), (Method::GET, None)]
    {
        let bytes = body.map(Into::into);
        let answer = client.request(&server, method, path, bytes, SMALL).await.expect("answered");
        assert_eq!(answer.status, StatusCode::OK);
    }
    for (seen, content) in peer.seen().iter().zip([Some(body), Some("{}"), None]) {
        assert_eq!((&*seen.uri, &*seen.body), (path, content.unwrap_or_default().as_bytes()));
        let header = seen.authorization.as_deref().expect("it is signed");
        let (rest, sig) = header.split_once("sig=\"").expect("a signature");
        let expected = r#"X-Matrix origin="us.test",destination="a.test:1",key="ed25519:us","#;
        assert_eq!(rest, expected);
        let request = RequestToSign {
            method: &seen.method,
            uri: &seen.uri,
            origin: us(),
            destination: Some(&server),
            content: content.map(str::as_bytes),
        };
        let sig = sig.trim_end_matches('"');
        let right = events::verify_request(&request, &our_key().public_key(), sig);
        assert_eq!(right, Ok(()), "{}", seen.method);
    }
    let plain = client.request_unsigned(&server, Method::GET, path, None, SMALL).await;
    assert_eq!(plain.expect("answered").status, StatusCode::OK);
    assert_eq!(peer.seen()[3].authorization, None);
}

#[tokio::test]
async fn a_path_cannot_become_another_host_or_header() {
    let (net, canary) = (Net::new(), Canary::new());
    let peer = net.peer("a.test", 1, |_| json("{}")).await;
    let client = net.client();
    for path in [
        format!("@{}/", canary.address()),
        format!(".{}/", canary.address()),
        "/x HTTP/1.1\r\nx-evil: 1\r\n\r\n".to_owned(),
        "/x\nx-evil: 1".to_owned(),
        "/\u{0}".to_owned(),
    ] {
        let server = name("a.test:1");
        let answer = client.request_unsigned(&server, Method::GET, &path, None, SMALL).await;
        assert!(answer.is_err(), "{path:?}");
    }
    assert_eq!(peer.count(), 0);
    assert!(canary.is_alone());
}

/// Of all of them together no more is taken than of each alone.
#[tokio::test]
async fn many_endless_bodies_at_once_are_cut_like_one() {
    const AT_ONCE: usize = 32;
    let net = Net::new();
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let endless = move |_: &Seen| {
        let counter = Arc::clone(&counter);
        let chunks = stream::repeat_with(move || {
            counter.fetch_add(16 << 10, Ordering::SeqCst);
            Ok::<_, std::io::Error>(vec![b'x'; 16 << 10])
        });
        Some(Response::new(Body::from_stream(chunks)))
    };
    let _peer = net.peer("a.test", 1, endless).await;
    let client = net.client();
    let server = name("a.test:1");
    let asks = (0..AT_ONCE).map(|_| client.request(&server, Method::GET, "/x", None, SMALL));
    for answer in futures_util::future::join_all(asks).await {
        assert!(matches!(answer, Err(RequestError::TooLarge(MIB))), "{answer:?}");
    }
    let written = written.load(Ordering::SeqCst);
    assert!(written < 4 * AT_ONCE * MIB, "{written} bytes were taken");
}
