//! When a server is asked for its keys, and when it is left alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use rooms::ports::KeyRing as _;

use super::{DAY, Document, ask, ask_at, key, memory, ring, ring_on, want};
use crate::net::{MINUTE, Net, Peer, START, json, pass, status, us};

const ONE: &str = "ed25519:one";
const TWO: &str = "ed25519:two";

/// A server whose document can change, and which can be away.
struct Server {
    net: Net,
    peer: Peer,
    document: Arc<Mutex<Document>>,
    away: Arc<AtomicBool>,
}

const NAME: &str = "a.test:1";

impl Server {
    async fn new() -> Self {
        let net = Net::new();
        let document = Arc::new(Mutex::new(Document::of(NAME, &key(1, "one"))));
        let away = Arc::new(AtomicBool::new(false));
        let (says, is_away) = (Arc::clone(&document), Arc::clone(&away));
        let answer = move |_: &_| match is_away.load(Ordering::SeqCst) {
            true => status(http::StatusCode::BAD_GATEWAY),
            false => json(says.lock().json()),
        };
        let peer = net.peer("a.test", 1, answer).await;
        Self { net, peer, document, away }
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    fn says(&self, document: Document) {
        *self.document.lock() = document;
    }
}

#[tokio::test]
async fn what_is_known_is_not_asked_for_again() {
    let server = Server::new().await;
    let ring = ring(&server.net);
    for _ in 0..20 {
        assert_eq!(ask(&ring, NAME, &[ONE]).await.len(), 1);
    }
    server.net.clock.set(START + DAY);
    assert_eq!(ask_at(&ring, NAME, &[ONE], START + DAY).await.len(), 1);
    assert_eq!(server.peer.count(), 1);
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_request() {
    let server = Server::new().await;
    let ring = ring(&server.net);
    let found = join_all((0..50).map(|_| ask(&ring, NAME, &[ONE]))).await;
    assert!(found.iter().all(|found| found.contains_key(ONE)));
    assert_eq!(server.peer.count(), 1);
}

/// Anybody can name a key that is not there, in an event or in a header.
#[tokio::test]
async fn keys_that_are_made_up_cost_one_request() {
    let server = Server::new().await;
    let ring = ring(&server.net);
    let made_up: Vec<String> = (0..100).map(|index| format!("ed25519:x{index}")).collect();
    let ids: Vec<&str> = made_up.iter().map(String::as_str).chain([ONE]).collect();
    assert_eq!(ask(&ring, NAME, &ids).await.len(), 1, "the one that is real is found");
    for id in &ids {
        ask(&ring, NAME, &[id]).await;
    }
    assert_eq!(server.peer.count(), 1);
    // Nor do events of the future, of a document that has run out.
    server.says(Document::of(NAME, &key(1, "one")).with("/valid_until_ts", START + 10));
    server.net.clock.advance(DAY + MINUTE);
    for _ in 0..20 {
        ask_at(&ring, NAME, &[ONE], START + 30 * DAY).await;
    }
    assert_eq!(server.peer.count(), 2);
}

#[tokio::test]
async fn a_key_that_is_new_is_known_within_a_minute() {
    let server = Server::new().await;
    let ring = ring(&server.net);
    assert_eq!(ask(&ring, NAME, &[ONE]).await.len(), 1);
    let (one, two) = (key(1, "one"), key(2, "two"));
    server.says(Document::of(NAME, &two).and_old(&one, START));
    server.net.clock.advance(MINUTE);
    let found = ask(&ring, NAME, &[ONE, TWO]).await;
    assert_eq!(found[TWO].valid_until, START + DAY);
    assert_eq!(found[ONE].valid_until, START, "the old one has its end now");
    assert_eq!(server.peer.count(), 2);
}

#[tokio::test]
async fn a_document_that_has_run_out_is_replaced() {
    let server = Server::new().await;
    let ring = ring(&server.net);
    ask(&ring, NAME, &[ONE]).await;
    let now = START + DAY + 1;
    server.net.clock.set(now);
    server.says(Document::of(NAME, &key(1, "one")).with("/valid_until_ts", now + DAY));
    assert_eq!(ask_at(&ring, NAME, &[ONE], now).await[ONE].valid_until, now + DAY);
    assert_eq!(server.peer.count(), 2);
}

#[tokio::test]
async fn what_is_known_outlives_its_server() {
    let server = Server::new().await;
    let ring = ring(&server.net);
    ask(&ring, NAME, &[ONE]).await;
    server.set_away(true);
    let now = START + DAY + MINUTE;
    server.net.clock.set(now);
    for _ in 0..10 {
        // Whether a key that has run out counts is for the rules of the room.
        assert_eq!(ask_at(&ring, NAME, &[ONE], now).await[ONE].valid_until, START + DAY);
    }
    assert_eq!(server.peer.count(), 2, "and it is not asked all the time");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_asked_once_a_minute() {
    let server = Server::new().await;
    let ring = ring(&server.net);
    server.set_away(true);
    for minute in 1..=3 {
        for _ in 0..20 {
            assert!(ask(&ring, NAME, &[ONE]).await.is_empty());
        }
        assert_eq!(server.peer.count(), minute);
        server.net.clock.advance(MINUTE);
    }
    server.set_away(false);
    assert_eq!(ask(&ring, NAME, &[ONE]).await.len(), 1, "it is back");
    server.net.clock.set(START);
    let fresh = Server::new().await;
    fresh.set_away(true);
    let ring = super::ring(&fresh.net);
    ask(&ring, NAME, &[ONE]).await;
    fresh.set_away(false);
    fresh.net.clock.set(START - 30 * DAY);
    assert_eq!(ask(&ring, NAME, &[ONE]).await.len(), 1, "the clock was put back");
}

#[tokio::test]
async fn a_restart_asks_nobody() {
    let server = Server::new().await;
    let store = memory();
    let config = server.net.config();
    server.says(Document::of(NAME, &key(1, "one")).with("/valid_until_ts", START + 90 * DAY));
    let found = ask(&ring_on(&server.net, &config, store.clone()), NAME, &[ONE]).await;
    assert_eq!(found[ONE].valid_until, START + 7 * DAY);
    server.net.clock.advance(DAY);
    let found = ask(&ring_on(&server.net, &config, store), NAME, &[ONE]).await;
    assert_eq!(found[ONE].valid_until, START + 7 * DAY, "a week from when it was said");
    assert_eq!(server.peer.count(), 1);
}

#[tokio::test]
async fn one_who_waits_no_longer_leaves_the_way_free() {
    let net = Net::new();
    let first = Arc::new(AtomicBool::new(true));
    let is_first = Arc::clone(&first);
    let document = Document::of(NAME, &key(1, "one")).json();
    let answer = move |_: &_| match is_first.swap(false, Ordering::SeqCst) {
        true => None,
        false => json(&document),
    };
    let peer = net.peer("a.test", 1, answer).await;
    let ring = ring(&net);
    tokio::select! {
        _ = ask(&ring, NAME, &[ONE]) => panic!("there is no answer"),
        () = peer.has_seen(1) => {}
    }
    assert_eq!(ask(&ring, NAME, &[ONE]).await.len(), 1);
}

#[tokio::test]
async fn our_own_keys_are_known_without_asking() {
    let net = Net::new();
    let found = ask(&ring(&net), us().as_str(), &["ed25519:us", "ed25519:other"]).await;
    assert_eq!(found.into_keys().collect::<Vec<_>>(), ["ed25519:us"]);
    assert!(net.names.take_asked().is_empty());
}

/// A room can have members on any number of servers that are no more.
#[tokio::test]
async fn servers_that_are_silent_cost_the_others_nothing() {
    const SILENT: usize = 200;
    let net = Net::new();
    let silent = Peer::start(net.authority.issue(&["*.silent.test"]), |_| None).await;
    let mut wanted = Vec::new();
    for index in 0..SILENT {
        let host = format!("s{index}.silent.test");
        net.names.lead(&host, 1, silent.address);
        wanted.push(want(&format!("{host}:1"), ONE, START));
    }
    let ring = ring(&net);
    let known =
        net.peer("known.test", 1, |_| json(Document::of("known.test:1", &key(1, "one")).json()));
    let known = known.await;
    assert_eq!(ask(&ring, "known.test:1", &[ONE]).await.len(), 1);
    let new = net.peer("new.test", 1, |_| json(Document::of("new.test:1", &key(1, "one")).json()));
    let new = new.await;
    for server in ["known.test:1", "new.test:1"] {
        wanted.push(want(server, ONE, START));
    }
    let asking = ring.verify_keys(wanted);
    tokio::pin!(asking);
    // Those that can answer do, before the patience of 30 seconds is over.
    for _ in 0..4 {
        tokio::select! {
            biased;
            found = &mut asking => panic!("{} servers have answered", found.len()),
            () = settled(&silent) => {}
        }
        pass(Duration::from_millis(7_600)).await;
    }
    let found = asking.await;
    let mut servers: Vec<&str> = found.keys().map(|(server, _)| server.as_str()).collect();
    servers.sort_unstable();
    assert_eq!(servers, ["known.test:1", "new.test:1"]);
    assert_eq!((known.count(), new.count()), (1, 1));
}

/// Until no more requests come.
async fn settled(peer: &Peer) {
    loop {
        let before = peer.count();
        if tokio::time::timeout(Duration::from_millis(300), peer.has_seen(before + 1))
            .await
            .is_err()
        {
            return;
        }
    }
}
