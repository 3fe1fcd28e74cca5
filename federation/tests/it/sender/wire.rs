//! The wire: peers that answer as a test says, and a record of all that they were sent.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use federation::{Answer, RequestError, Sending, Transport};
use http::StatusCode;
use parking_lot::Mutex;
use ruma::ServerName;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

/// In our time, whatever the test's clock does.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a peer behaves.
#[derive(Clone)]
pub(crate) enum Mood {
    Well,
    /// Nobody listens there.
    Down,
    /// It takes connections and never answers.
    Silent,
    Says(u16, &'static str),
    /// Well, but it refuses some transactions with a status and a body.
    Picky(fn(&Value) -> Option<(u16, &'static str)>),
}

/// One request.
#[derive(Clone)]
pub(crate) struct Try {
    pub(crate) server: String,
    pub(crate) path: String,
    pub(crate) raw: Bytes,
    pub(crate) body: Value,
    pub(crate) at: Instant,
    /// Answered with 200.
    pub(crate) taken: bool,
}

impl Try {
    pub(crate) fn pdus(&self) -> &Vec<Value> {
        self.body["pdus"].as_array().expect("a list of PDUs")
    }

    pub(crate) fn edus(&self) -> &Vec<Value> {
        self.body["edus"].as_array().expect("a list of EDUs")
    }

    /// Contents of the EDUs of a type.
    pub(crate) fn edus_of(&self, edu_type: &str) -> Vec<&Value> {
        let of_type = self.edus().iter().filter(|edu| edu["edu_type"] == edu_type);
        of_type.map(|edu| &edu["content"]).collect()
    }
}

#[derive(Default)]
struct State {
    moods: HashMap<String, Mood>,
    tries: Vec<Try>,
    /// Requests that have no answer yet.
    in_flight: BTreeMap<String, usize>,
    most_in_flight: usize,
    is_paused: bool,
}

#[derive(Clone)]
pub(crate) struct Wire {
    state: Arc<Mutex<State>>,
    news: watch::Sender<()>,
}

/// A request that is under way.
struct Flight {
    wire: Wire,
    server: String,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(count) = self.wire.state.lock().in_flight.get_mut(&self.server) {
            *count -= 1;
        }
    }
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), news: watch::Sender::new(()) }
    }

    /// From now on time passes by itself, and only while nobody has anything to do. What waits for
    /// the store's own thread does not count as doing something, so nothing may wait for that.
    pub(crate) fn stop_the_clock(&self) {
        self.state.lock().is_paused = true;
        tokio::time::pause();
    }

    /// Lets time pass, and all happen that happens in it, once the clock is stopped.
    pub(crate) async fn pass(&self, time: Duration) {
        assert!(self.state.lock().is_paused, "nobody waits for a real clock");
        let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
    }

    pub(crate) fn set(&self, server: &str, mood: Mood) {
        self.state.lock().moods.insert(server.to_owned(), mood);
    }

    pub(crate) fn tries(&self, server: &str) -> Vec<Try> {
        let state = self.state.lock();
        state.tries.iter().filter(|one| one.server == server).cloned().collect()
    }

    /// What a peer answered with 200.
    pub(crate) fn taken(&self, server: &str) -> Vec<Try> {
        self.tries(server).into_iter().filter(|one| one.taken).collect()
    }

    /// The texts of the messages that a peer took, in their order.
    pub(crate) fn texts(&self, server: &str) -> Vec<String> {
        let taken = self.taken(server);
        let pdus = taken.iter().flat_map(Try::pdus);
        pdus.filter_map(|pdu| Some(pdu["content"]["body"].as_str()?.to_owned())).collect()
    }

    /// Requests to all peers that had no answer at one time.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.state.lock().most_in_flight
    }

    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.tries.clear();
        state.most_in_flight = 0;
    }

    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let mut news = self.news.subscribe();
        // No timer of the runtime: a stopped clock would be there at once while only the store's
        // own thread works.
        let (_here, gone) = mpsc::channel::<()>();
        let (is_late, late) = (Arc::new(AtomicBool::new(false)), self.clone());
        let told = Arc::clone(&is_late);
        std::thread::spawn(move || {
            if gone.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                told.store(true, Ordering::Relaxed);
                late.news.send_replace(());
            }
        });
        while !is_so(self) {
            news.changed().await.expect("the wire is there");
            assert!(
                !is_late.load(Ordering::Relaxed) || is_so(self),
                "not so: {what}: {}",
                self.story()
            );
        }
    }

    /// What was asked of whom, and when.
    fn story(&self) -> String {
        let state = self.state.lock();
        let line = |one: &Try| {
            let Try { server, path, at, taken, .. } = one;
            format!("\n  {at:?} {server} {path}: {} PDUs, {taken}", one.pdus().len())
        };
        state.tries.iter().map(line).collect()
    }

    pub(crate) async fn until_tried(&self, server: &str, count: usize) {
        self.until(&format!("{count} requests to {server}"), |wire| {
            wire.tries(server).len() >= count
        })
        .await;
    }

    pub(crate) async fn until_texts(&self, server: &str, texts: &[String]) {
        let what = format!("{server} has {texts:?}");
        self.until(&what, |wire| wire.texts(server).len() >= texts.len()).await;
        assert_eq!(self.texts(server), texts, "{server}");
    }

    fn take_off(&self, server: &str) -> Flight {
        let mut state = self.state.lock();
        let count = state.in_flight.entry(server.to_owned()).or_default();
        *count += 1;
        assert_eq!(*count, 1, "{server} has one transaction at a time");
        let all = state.in_flight.values().sum();
        state.most_in_flight = state.most_in_flight.max(all);
        Flight { wire: self.clone(), server: server.to_owned() }
    }

    fn note(&self, server: &str, path: &str, raw: Bytes, body: Value, taken: bool) {
        let (server, path) = (server.to_owned(), path.to_owned());
        let at = Instant::now();
        self.state.lock().tries.push(Try { server, path, raw, body, at, taken });
        self.news.send_replace(());
    }

    async fn answer(
        self,
        server: String,
        path: String,
        raw: Bytes,
    ) -> Result<Answer, RequestError> {
        let _flight = self.take_off(&server);
        // As a network does.
        tokio::task::yield_now().await;
        let mood = self.state.lock().moods.get(&server).cloned().unwrap_or(Mood::Well);
        let body: Value = serde_json::from_slice(&raw).expect("a transaction is JSON");
        let (status, text) = match mood {
            Mood::Well => (200, r#"{"pdus":{}}"#),
            Mood::Says(status, text) => (status, text),
            Mood::Picky(judge) => judge(&body).unwrap_or((200, "{}")),
            Mood::Down => {
                self.note(&server, &path, raw, body, false);
                return Err(RequestError::Connection("connection refused".to_owned()));
            }
            Mood::Silent => {
                self.note(&server, &path, raw, body, false);
                let time = Duration::from_secs(60);
                let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
                return Err(RequestError::Timeout);
            }
        };
        let taken = status == 200 && text.starts_with('{');
        self.note(&server, &path, raw, body, taken);
        let status = StatusCode::from_u16(status).expect("a status");
        Ok(Answer { status, body: Bytes::from_static(text.as_bytes()) })
    }
}

impl Transport for Wire {
    fn put<'a>(&'a self, server: &'a ServerName, path: &'a str, body: Bytes) -> Sending<'a> {
        Box::pin(self.clone().answer(server.to_string(), path.to_owned(), body))
    }
}

pub(crate) fn has_pdu_with(body: &Value, text: &str) -> bool {
    let pdus = body["pdus"].as_array().expect("a list of PDUs");
    pdus.iter().any(|pdu| pdu["content"]["body"] == json!(text))
}
