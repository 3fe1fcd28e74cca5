//! Content of other servers: the answer in parts, what it points to, and the endpoint of old.

use std::time::Duration;

use axum::{body::Body, response::Response};
use futures_util::TryStreamExt as _;
use http::{StatusCode, header};
use media::ports::{RemoteContent, RemoteError, RemoteMedia as _};

use super::World;
use crate::net::{Canary, Net, Reply, Seen, json, name};

const WAIT: Duration = Duration::from_secs(7);

fn parts(kind: &str, second: &str) -> Reply {
    let body = format!("--xyz\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--xyz\r\n{second}");
    let answer = Response::builder().header(header::CONTENT_TYPE, kind).body(Body::from(body));
    Some(answer.expect("an answer"))
}

fn refusal(status: u16, errcode: &str) -> Reply {
    let mut answer = json(format!(r#"{{"errcode":"{errcode}","error":"no"}}"#)).expect("an answer");
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    Some(answer)
}

async fn read(content: RemoteContent) -> Result<String, RemoteError> {
    let pieces: Vec<_> = content.body.try_collect().await?;
    Ok(String::from_utf8(pieces.concat()).expect("text"))
}

async fn ask(world: &World) -> Result<RemoteContent, RemoteError> {
    world.remote.download(&world.server, "abc-_", WAIT).await
}

#[tokio::test]
async fn the_second_part_is_the_content() {
    for kind in ["multipart/mixed; boundary=xyz", "Multipart/Mixed;Boundary=\"xyz\""] {
        let world = World::with(move |_| {
            parts(
                kind,
                "Content-Type: image/png\r\nContent-Disposition: inline; filename=\"a b.png\"\r\n\r\n\
                 hello\r\nthere\r\n--xyz--\r\n",
            )
        })
        .await;
        let content = ask(&world).await.expect(kind);
        assert_eq!(content.content_type.as_deref(), Some("image/png"));
        assert_eq!(content.filename.as_deref(), Some("a b.png"));
        assert_eq!(read(content).await.expect(kind), "hello\r\nthere");
        let [seen] = &world.peer.seen()[..] else { panic!("{:?}", world.peer.seen()) };
        assert_eq!(seen.uri, "/_matrix/federation/v1/media/download/abc-_?timeout_ms=7000");
        let authorization = seen.authorization.as_deref().unwrap_or_default();
        assert!(authorization.starts_with("X-Matrix "), "{authorization}");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_or_in_no_parts_is_refused() {
    for (row, kind, second) in [
        ("no parts", "application/json", "\r\nx\r\n--xyz--"),
        ("no boundary", "multipart/mixed", "\r\nx\r\n--xyz--"),
        ("another boundary", "multipart/mixed; boundary=abc", "\r\nx\r\n--xyz--"),
    ] {
        let world = World::with(move |_| parts(kind, second)).await;
        let refused = ask(&world).await.map(drop);
        assert!(matches!(refused, Err(RemoteError::Malformed(_))), "{row}: {refused:?}");
    }
    let world = World::with(|_| parts("multipart/mixed; boundary=xyz", "\r\nhalf\r\n--xy")).await;
    let content = ask(&world).await.expect("it begins well");
    let cut = read(content).await;
    assert!(matches!(cut, Err(RemoteError::Malformed(_))), "{cut:?}");
}

#[tokio::test]
async fn refusals_are_told_apart() {
    type Check = fn(&RemoteError) -> bool;
    let cases: [(u16, &str, Check); 6] = [
        (404, "M_NOT_FOUND", |error| matches!(error, RemoteError::NotFound)),
        (504, "M_NOT_YET_UPLOADED", |error| matches!(error, RemoteError::NotYetUploaded)),
        (502, "M_TOO_LARGE", |error| matches!(error, RemoteError::TooLarge)),
        (413, "M_UNKNOWN", |error| matches!(error, RemoteError::TooLarge)),
        (500, "M_UNKNOWN", |error| matches!(error, RemoteError::Unreachable(_))),
        (401, "M_UNAUTHORIZED", |error| matches!(error, RemoteError::Unreachable(_))),
    ];
    for (status, errcode, check) in cases {
        let world = World::with(move |_| refusal(status, errcode)).await;
        let refused = ask(&world).await.map(drop);
        assert!(refused.as_ref().is_err_and(check), "{status} {errcode}: {refused:?}");
        assert_eq!(world.peer.count(), 1, "{status} {errcode}: nothing else is tried");
    }
}

#[tokio::test]
async fn a_server_that_knows_only_the_endpoint_of_old_is_asked_there_without_a_signature() {
    let world = World::with(|seen: &Seen| match seen.uri.starts_with("/_matrix/media/v3/") {
        true => Some(Response::new(Body::from("as of old"))),
        false => refusal(404, "M_UNRECOGNIZED"),
    })
    .await;
    let content = ask(&world).await.expect("it is there");
    assert_eq!(content.content_type, None);
    assert_eq!(read(content).await.expect("whole"), "as of old");
    let seen = world.peer.seen();
    let path = "/_matrix/media/v3/download/a.test%3A1/abc-_?allow_remote=false&timeout_ms=7000";
    assert_eq!(seen[1].uri, path);
    assert_eq!(seen[1].authorization, None);

    let world = World::with(|_| refusal(404, "M_UNRECOGNIZED")).await;
    let refused = ask(&world).await.map(drop);
    assert!(matches!(refused, Err(RemoteError::NotFound)), "{refused:?}");
    assert_eq!(world.peer.count(), 2);
}

fn pointing(url: String) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |_| {
        let second = format!("Location: {url}\r\n\r\n\r\n--xyz--\r\n");
        parts("multipart/mixed; boundary=xyz", &second)
    }
}

#[tokio::test]
async fn a_place_it_points_to_is_asked_like_any_stranger() {
    let net = Net::new();
    let cdn = net
        .peer("cdn.test", 443, |_| {
            let answer = Response::builder().header(header::CONTENT_TYPE, "text/plain");
            Some(answer.body(Body::from("from the side")).expect("an answer"))
        })
        .await;
    let peer = net.peer("a.test", 1, pointing("https://cdn.test/x?sig=1".to_owned())).await;
    let (remote, server) = (federation::Remote::new(net.client()), name("a.test:1"));
    let content = remote.download(&server, "abc", WAIT).await.expect("it is there");
    assert_eq!(content.content_type.as_deref(), Some("text/plain"));
    assert_eq!(read(content).await.expect("whole"), "from the side");
    let [seen] = &cdn.seen()[..] else { panic!("{:?}", cdn.seen()) };
    assert_eq!((seen.uri.as_str(), &seen.authorization), ("/x?sig=1", &None));
    assert_eq!(peer.count(), 1);
}

#[tokio::test]
async fn nobody_points_us_inside_or_away_from_tls() {
    let net = Net::new();
    let canary = Canary::new();
    net.names.lead("inside.test", 443, canary.address());
    let port = canary.address().port();
    for (number, url) in [
        "https://inside.test/secret".to_owned(),
        format!("https://127.0.0.2:{port}/secret"),
        format!("https://[::ffff:127.0.0.2]:{port}/secret"),
        format!("http://127.0.0.2:{port}/secret"),
        format!("https://a.test@127.0.0.2:{port}/secret"),
        "file:///etc/passwd".to_owned(),
        "/relative".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("a{number}.test");
        let _peer = net.peer(&host, 1, pointing(url.clone())).await;
        let remote = federation::Remote::new(net.client());
        let refused = remote.download(&name(&format!("{host}:1")), "abc", WAIT).await.map(drop);
        assert!(matches!(refused, Err(RemoteError::Unreachable(_))), "{url}: {refused:?}");
        assert!(canary.is_alone(), "{url}");
    }
}
