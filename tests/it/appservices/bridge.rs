//! An application service on a loopback port: what it was sent, and what it answers.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stdx::Tasks;
use tokio::{net::TcpListener, sync::Notify};

use crate::server::PATIENCE;

/// A request that it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Answering = Box<dyn Fn(&Sent) -> (u16, Value) + Send>;

struct Inner {
    seen: Mutex<Vec<Sent>>,
    answer: Mutex<Answering>,
    news: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panicked while they held it")
}

#[derive(Clone)]
pub(crate) struct Bridge {
    inner: Arc<Inner>,
    pub(crate) address: SocketAddr,
    tasks: Tasks,
}

impl Bridge {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("it has an address");
        let all_is_well: Answering = Box::new(|_| (200, json!({})));
        let answer = Mutex::new(all_is_well);
        let inner = Arc::new(Inner { seen: Mutex::default(), answer, news: Notify::new() });
        let app = Router::new().fallback(take).with_state(inner.clone());
        let tasks = Tasks::new();
        tasks.spawn_until_stopped("bridge", async move {
            axum::serve(listener, app).await.expect("it serves");
        });
        Self { inner, address, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/as", self.address)
    }

    pub(crate) fn answer(&self, answer: impl Fn(&Sent) -> (u16, Value) + Send + 'static) {
        *lock(&self.inner.answer) = Box::new(answer);
    }

    pub(crate) fn seen(&self) -> Vec<Sent> {
        lock(&self.inner.seen).clone()
    }

    /// The first that is looked for, of all that it ever was sent.
    pub(crate) async fn find<T>(&self, look: impl Fn(&[Sent]) -> Option<T>) -> T {
        let found = async {
            loop {
                let news = self.inner.news.notified();
                let found = look(&lock(&self.inner.seen));
                if let Some(found) = found {
                    return found;
                }
                news.await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("it was not sent; what was: {:#?}", self.seen()),
        }
    }

    /// The first event of that kind.
    pub(crate) async fn event(&self, list: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.find(|seen| events(seen, list).into_iter().find(|event| is_it(event))).await
    }

    pub(crate) async fn stop(&self) {
        self.tasks.shutdown().await;
    }
}

/// Of all transactions, in the order in which they came.
pub(crate) fn events(seen: &[Sent], list: &str) -> Vec<Value> {
    let transactions = seen.iter().filter(|sent| sent.path.contains("/transactions/"));
    let lists = transactions.map(|sent| {
        let mut body: Value = serde_json::from_slice(&sent.body).expect("a transaction is JSON");
        body[list].take()
    });
    lists.filter_map(|events| events.as_array().cloned()).flatten().collect()
}

async fn take(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let path = parts.uri.to_string();
    let sent = Sent { method: parts.method, path, headers: parts.headers, body };
    let (status, answer) = lock(&inner.answer)(&sent);
    lock(&inner.seen).push(sent);
    inner.news.notify_waiters();
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [("content-type", "application/json")], answer.to_string()).into_response()
}
