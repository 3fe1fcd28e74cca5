//! The other end: a gateway, or a push service, that takes notifications, refuses them, or never
//! answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use push::{GatewayAnswer, GatewayFuture, WebPushMessage};
use serde_json::{Value, json};
use tokio::sync::watch;

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What it does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// Answers 502.
    Fails,
    /// There is no connection.
    Absent,
    Rejects,
    /// Never answers.
    Hangs,
    /// Answers with this status, and wants to be left alone for so many seconds.
    Answers(u16, u64),
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Receiver {
    /// By a part of the URL.
    moods: Arc<Mutex<Vec<(&'static str, Mood)>>>,
    taken: Arc<watch::Sender<Vec<(String, Value)>>>,
    /// What came by Web Push.
    pushed: Arc<watch::Sender<Vec<WebPushMessage>>>,
    tried: Arc<watch::Sender<usize>>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        let (taken, _) = watch::channel(Vec::new());
        let (tried, _) = watch::channel(0);
        let pushed = Arc::new(watch::channel(Vec::new()).0);
        Self { moods: Arc::default(), taken: Arc::new(taken), pushed, tried: Arc::new(tried) }
    }

    /// From now on, for URLs that contain `part`.
    pub(crate) fn becomes(&self, part: &'static str, mood: Mood) {
        let mut moods = self.moods.lock();
        moods.retain(|(known, _)| *known != part);
        moods.push((part, mood));
    }

    fn mood(&self, url: &str) -> Mood {
        let moods = self.moods.lock();
        moods.iter().find(|(part, _)| url.contains(part)).map_or(Mood::Takes, |(_, mood)| *mood)
    }

    /// The notifications that were taken, once there are so many; forgotten by this.
    pub(crate) async fn takes(&self, count: usize) -> Vec<Value> {
        let mut taken = self.taken.subscribe();
        let waited = taken.wait_for(|taken| taken.len() >= count);
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        let is_enough = waited.is_ok();
        drop(waited);
        assert!(is_enough, "{count} are expected, there are {:#?}", self.taken.borrow());
        let all = self.taken.send_replace(Vec::new());
        all.into_iter().map(|(_, body)| body["notification"].clone()).collect()
    }

    /// The messages by Web Push that were taken, once there are so many; forgotten by this.
    pub(crate) async fn is_pushed(&self, count: usize) -> Vec<WebPushMessage> {
        let mut pushed = self.pushed.subscribe();
        let waited = pushed.wait_for(|pushed| pushed.len() >= count);
        let waited = tokio::time::timeout(PATIENCE, waited).await.map(drop);
        assert!(waited.is_ok(), "{count} are expected, there are {:#?}", self.pushed.borrow());
        self.pushed.send_replace(Vec::new())
    }

    /// Until it was tried so often since the beginning.
    pub(crate) async fn has_been_tried(&self, often: usize) {
        let mut tried = self.tried.subscribe();
        let waited = tokio::time::timeout(PATIENCE, tried.wait_for(|tried| *tried >= often)).await;
        assert!(waited.is_ok(), "nobody tries");
    }

    /// What was taken so far.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let taken = self.taken.borrow();
        taken.iter().map(|(_, body)| body["notification"].clone()).collect()
    }

    /// Until it was tried so often more, whatever came of it. Only where it is tried again and again:
    /// what has happened already does not count.
    pub(crate) async fn is_tried(&self, more: usize) {
        let mut tried = self.tried.subscribe();
        let goal = *tried.borrow() + more;
        let waited = tokio::time::timeout(PATIENCE, tried.wait_for(|tried| *tried >= goal)).await;
        assert!(waited.is_ok(), "nobody tries");
    }
}

impl push::Gateway for Receiver {
    fn post<'a>(&'a self, url: &'a str, body: Bytes) -> GatewayFuture<'a> {
        Box::pin(async move {
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let mood = self.mood(url);
            self.tried.send_modify(|tried| *tried += 1);
            let answer = |status, body: Value| {
                Ok(GatewayAnswer { status, body: body.to_string().into(), retry_after: None })
            };
            match mood {
                Mood::Takes => {
                    self.taken.send_modify(|taken| taken.push((url.to_owned(), body)));
                    answer(200, json!({ "rejected": [] }))
                }
                Mood::Fails => answer(502, json!({})),
                Mood::Absent => Err("no connection".to_owned()),
                Mood::Rejects => {
                    let key = body["notification"]["devices"][0]["pushkey"].clone();
                    answer(200, json!({ "rejected": [key] }))
                }
                Mood::Hangs => std::future::pending().await,
                Mood::Answers(status, _) => answer(status, json!({})),
            }
        })
    }

    fn push<'a>(&'a self, url: &'a str, message: WebPushMessage) -> GatewayFuture<'a> {
        Box::pin(async move {
            let mood = self.mood(url);
            self.tried.send_modify(|tried| *tried += 1);
            let answer = |status| Ok(GatewayAnswer { status, ..GatewayAnswer::default() });
            match mood {
                Mood::Takes => {
                    self.pushed.send_modify(|pushed| pushed.push(message));
                    answer(201)
                }
                Mood::Fails => answer(502),
                Mood::Absent => Err("no connection".to_owned()),
                Mood::Rejects => answer(410),
                Mood::Hangs => std::future::pending().await,
                Mood::Answers(status, seconds) => {
                    let retry_after = Some(Duration::from_secs(seconds));
                    Ok(GatewayAnswer { status, retry_after, ..GatewayAnswer::default() })
                }
            }
        })
    }
}

/// Of notifications about events, in order.
pub(crate) fn event_ids(taken: &[Value]) -> Vec<&str> {
    taken.iter().filter_map(|notification| notification["event_id"].as_str()).collect()
}
