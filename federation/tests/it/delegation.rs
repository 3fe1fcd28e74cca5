//! `.well-known/matrix/server`: redirects, bounds, and how long an answer counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use federation::{Client, Limits, RequestError};
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode, header};

use crate::net::{Canary, HOUR, MINUTE, Net, Peer, START, Seen, json, name, pass, status};

const WELL_KNOWN: &str = "/.well-known/matrix/server";
const DELEGATES: &str = r#"{"m.server":"b.test:2222"}"#;

async fn ask(client: &Client) -> Result<StatusCode, RequestError> {
    let path = "/_matrix/federation/v1/version";
    let answer = client.request(&name("a.test"), Method::GET, path, None, Limits::ORDINARY).await;
    answer.map(|answer| answer.status)
}

fn redirect(code: u16, location: &str) -> Option<Response> {
    let response = Response::builder().status(code).header(header::LOCATION, location);
    Some(response.body(Body::empty()).expect("a response"))
}

/// Where a.test is found: at b.test:2222 if it delegates, else at its own port.
struct World {
    net: Net,
    delegated: Peer,
    own: Peer,
}

impl World {
    async fn new() -> Self {
        let net = Net::new();
        let delegated = net.peer("b.test", 2222, |_| json("{}")).await;
        let own = net.peer("a.test", 8448, |_| json("{}")).await;
        Self { net, delegated, own }
    }

    /// Whether a new client believes in the delegation.
    async fn is_delegated(&self) -> bool {
        let before = (self.delegated.count(), self.own.count());
        assert_eq!(ask(&self.net.client()).await.expect("found somewhere"), StatusCode::OK);
        let (delegated, own) = (self.delegated.count() - before.0, self.own.count() - before.1);
        assert_eq!(delegated + own, 1);
        delegated == 1
    }
}

#[tokio::test]
async fn redirects_are_followed_within_https() {
    for (location, follows) in [
        ("https://other.test/somewhere?else=1", true),
        ("/elsewhere", true),
        ("https://other.test:9443/", true),
        ("//other.test/somewhere", true),
        ("//other.test:9443/", true),
        ("http://other.test/somewhere", false),
        ("ftp://other.test/somewhere", false),
        ("file:///etc/passwd", false),
        ("gopher://other.test/", false),
        ("https://user@other.test/", false),
        ("https://user:secret@other.test/", false),
        ("https://nowhere.test/", false),
        ("https://", false),
        ("", false),
        ("other.test", false),
        ("javascript:alert(1)", false),
        ("https://wrong.test/", false),
    ] {
        let world = World::new().await;
        let first = move |seen: &Seen| match seen.uri.as_str() {
            WELL_KNOWN => redirect(302, location),
            _ => json(DELEGATES),
        };
        let _first = world.net.peer("a.test", 443, first).await;
        let other = world.net.peer("other.test", 443, |_| json(DELEGATES)).await;
        world.net.names.lead("other.test", 9443, other.address);
        // A certificate of somebody else.
        world.net.names.lead("wrong.test", 443, other.address);
        assert_eq!(world.is_delegated().await, follows, "{location}");
    }
}

#[tokio::test]
async fn every_kind_of_redirect_counts_and_none_without_a_location() {
    for code in [301, 302, 303, 307, 308] {
        let world = World::new().await;
        let first = move |_: &Seen| redirect(code, "https://other.test/");
        let _first = world.net.peer("a.test", 443, first).await;
        let _other = world.net.peer("other.test", 443, |_| json(DELEGATES)).await;
        assert!(world.is_delegated().await, "{code}");
    }
    for code in [300, 302, 304] {
        let world = World::new().await;
        let code = StatusCode::from_u16(code).expect("a status");
        let _first = world.net.peer("a.test", 443, move |_| status(code)).await;
        assert!(!world.is_delegated().await, "{code}");
    }
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    for (hops, follows) in [(1, true), (10, true), (11, false), (30, false)] {
        let world = World::new().await;
        let first = move |seen: &Seen| {
            let hop: usize = seen.uri.trim_start_matches('/').parse().unwrap_or_default();
            if hop == hops { json(DELEGATES) } else { redirect(307, &format!("/{}", hop + 1)) }
        };
        let first = world.net.peer("a.test", 443, first).await;
        assert_eq!(world.is_delegated().await, follows, "{hops}");
        assert!(first.count() <= 11, "{hops}");
    }
    let world = World::new().await;
    let around = world.net.peer("a.test", 443, |_| redirect(302, WELL_KNOWN)).await;
    assert!(!world.is_delegated().await);
    assert!(around.count() <= 11, "a loop is left");
}

#[tokio::test]
async fn no_delegation_leads_inside() {
    let canary = Canary::new();
    let inside = canary.address();
    for location in [
        format!("https://{inside}/"),
        format!("https://[::ffff:127.0.0.2]:{}/", inside.port()),
        "https://inside.test/".to_owned(),
    ] {
        let world = World::new().await;
        world.net.names.lead("inside.test", 443, inside);
        let first = move |_: &Seen| redirect(302, &location);
        let _first = world.net.peer("a.test", 443, first).await;
        assert!(!world.is_delegated().await);
        assert!(canary.is_alone());
    }
    for delegated in [inside.to_string(), "inside.test:2222".to_owned(), "inside.test".to_owned()] {
        let net = Net::new();
        net.names.lead("inside.test", 2222, inside);
        net.names.lead("inside.test", 8448, inside);
        net.names.serve("_matrix-fed._tcp.inside.test.", (0, 0, "127.0.0.2", inside.port()));
        let body = format!(r#"{{"m.server":"{delegated}"}}"#);
        let _first = net.peer("a.test", 443, move |_| json(&body)).await;
        assert!(ask(&net.client()).await.is_err(), "{delegated}");
        assert!(canary.is_alone(), "{delegated}");
    }
}

#[tokio::test]
async fn an_answer_of_any_size_is_cut() {
    const LIMIT: usize = 50 << 10;
    for (length, counts) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false), (9 << 20, false)]
    {
        let world = World::new().await;
        let body = format!("{DELEGATES}{}", " ".repeat(length - DELEGATES.len()));
        let _first = world.net.peer("a.test", 443, move |_| json(&body)).await;
        assert_eq!(world.is_delegated().await, counts, "{length}");
    }
    // One that says what it should, and goes on.
    let world = World::new().await;
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let endless = move |_: &Seen| {
        let counter = Arc::clone(&counter);
        let spaces = stream::repeat_with(move || {
            counter.fetch_add(4096, Ordering::SeqCst);
            Ok::<_, std::io::Error>(" ".repeat(4096))
        });
        let body = stream::once(async { Ok(DELEGATES.to_owned()) }).chain(spaces);
        Some(Response::new(Body::from_stream(body)))
    };
    let first = world.net.peer("a.test", 443, endless).await;
    assert!(!world.is_delegated().await);
    first.has_ended(1).await;
    let written = written.load(Ordering::SeqCst);
    assert!(written < 8 << 20, "{written} bytes were taken");
}

#[tokio::test]
async fn one_that_does_not_answer_is_waited_for_ten_seconds() {
    let world = World::new().await;
    let first = world.net.peer("a.test", 443, |_| None).await;
    let client = world.net.client();
    let asking = ask(&client);
    tokio::pin!(asking);
    tokio::select! {
        _ = &mut asking => panic!("the answer has not come"),
        () = first.has_seen(1) => {}
    }
    pass(Duration::from_millis(10_100)).await;
    assert_eq!(asking.await.expect("found without"), StatusCode::OK);
    assert_eq!(world.own.count(), 1);
}

#[tokio::test]
async fn a_delegation_counts_as_long_as_it_says_within_bounds() {
    for (control, at_least, at_most) in [
        (None, 24 * HOUR, 24 * HOUR),
        (Some("max-age=3600"), HOUR, HOUR),
        (Some("public, Max-Age=\"7200\", immutable"), 2 * HOUR, 2 * HOUR),
        (Some("max-age=60"), 5 * MINUTE, 5 * MINUTE),
        (Some("max-age=0"), 0, 5 * MINUTE),
        (Some("no-store"), 0, 5 * MINUTE),
        (Some("no-cache, max-age=86400"), 0, 5 * MINUTE),
        (Some("max-age=31536000"), 48 * HOUR, 48 * HOUR),
        (Some("max-age=99999999999999999999999"), HOUR, 48 * HOUR),
        (Some("max-age=-1"), 0, 48 * HOUR),
        (Some("max-age=soon"), 0, 48 * HOUR),
        (Some(",,;;="), 24 * HOUR, 24 * HOUR),
    ] {
        let world = World::new().await;
        let first = move |_: &Seen| {
            let mut response = Response::new(Body::from(DELEGATES));
            if let Some(control) = control {
                response.headers_mut().insert(header::CACHE_CONTROL, control.parse().expect("it"));
            }
            Some(response)
        };
        let first = world.net.peer("a.test", 443, first).await;
        let client = world.net.client();
        // What was looked up a moment before counts for a few minutes more.
        let over = at_most + 5 * MINUTE + 1000;
        for (after, fetched) in [(0, 1), (at_least.saturating_sub(1000), 1), (over, 2)] {
            world.net.clock.set(START + after);
            assert_eq!(ask(&client).await.expect("found"), StatusCode::OK);
            assert_eq!(first.count(), fetched, "{control:?} after {after} ms");
        }
        assert_eq!(world.own.count(), 0);
    }
}

#[tokio::test]
async fn that_there_is_no_delegation_is_remembered_for_an_hour_at_most() {
    let world = World::new().await;
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let first = move |_: &Seen| {
        if is_broken.load(Ordering::SeqCst) {
            status(StatusCode::BAD_GATEWAY)
        } else {
            json(DELEGATES)
        }
    };
    let first = world.net.peer("a.test", 443, first).await;
    let client = world.net.client();
    for _ in 0..50 {
        assert_eq!(ask(&client).await.expect("found without"), StatusCode::OK);
    }
    assert_eq!(first.count(), 1, "who has nothing to say is not asked each time");
    broken.store(false, Ordering::SeqCst);
    world.net.clock.advance(HOUR + 1000);
    assert_eq!(ask(&client).await.expect("found"), StatusCode::OK);
    assert_eq!(world.delegated.count(), 1);
}
