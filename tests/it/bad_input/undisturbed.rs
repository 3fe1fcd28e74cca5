//! That nothing is left of what was refused, and nobody noticed: every row of the store is as before, and
//! those who did nothing wrong are served.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use http::Method;
use serde_json::{Value, json};
use storage::Store;

use crate::{
    server::Server,
    socket::Socket,
    user::{User, Witness},
};

/// Tables of what follows from the log, as it is followed. Where the log has not moved nothing does.
const FOLLOWING: [&str; 4] = ["log_consumers", "log_pruned", "user_directory_", "search"];

/// A request that must be refused: what is wrong with it, the request, the status and the errcode.
pub(super) type Row = (&'static str, Method, String, Value, u16, &'static str);

/// Somebody who tries what no client should, in a room with somebody who does not.
pub(super) struct World<'s> {
    pub(super) ada: User<'s>,
    pub(super) bob: User<'s>,
    pub(super) room: String,
    server: &'s Server,
}

#[derive(PartialEq)]
struct Before {
    position: u64,
    rows: BTreeMap<String, (usize, u64)>,
    bob: Witness,
}

/// Of each table the number of its rows, and a hash of them.
fn rows(store: &Store) -> BTreeMap<String, (usize, u64)> {
    let snapshot = store.snapshot().expect("a snapshot");
    let tables = snapshot.tables().expect("the tables are listed").into_iter();
    let tables = tables.filter(|table| !FOLLOWING.iter().any(|prefix| table.starts_with(prefix)));
    let count = |table: String| {
        let (mut rows, mut hasher) = (0, DefaultHasher::new());
        let mut each = |key: &[u8], value: &[u8]| {
            rows += 1;
            key.hash(&mut hasher);
            // When a device was seen is written now and then.
            if table != "devices" {
                value.hash(&mut hasher);
            }
            true
        };
        snapshot.for_each(&table, &mut each).expect("the table is read");
        (table, (rows, hasher.finish()))
    };
    tables.map(count).collect()
}

impl<'s> World<'s> {
    pub(super) async fn new(server: &'s Server) -> Self {
        let (ada, bob) = (server.user("ada").await, server.user("bob").await);
        let room = ada.room_with(&[&bob]).await;
        Self { ada, bob, room, server }
    }

    async fn now(&self) -> Before {
        let (position, rows) = (self.server.store.log().position(), rows(&self.server.store));
        Before { position, rows, bob: self.bob.witness(&self.room).await }
    }

    /// Sends each request, and finds everything as it was before.
    pub(super) async fn refuses(&self, cases: Vec<Row>) {
        let (before, mut wrong) = (self.now().await, Vec::new());
        for (row, method, path, body, status, errcode) in cases {
            let row = format!("{row}: {method} {path:.120}");
            let answer = self.ada.call(method, &path, body.to_string()).await;
            let found = answer.body["errcode"].as_str().unwrap_or_default();
            if (answer.status.as_u16(), found) != (status, errcode) {
                wrong.push(format!("{row}: {} {:.200}", answer.status, answer.body.to_string()));
            }
            assert!(self.now().await == before, "something is left of {row}");
            self.ada.get("/v3/account/whoami").await.ok();
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        // Both go on as if nothing had been.
        let said = self.ada.say(&self.room, "afterwards", "here").await;
        let seen = self.bob.sync("", 0).await;
        let events = seen["rooms"]["join"][&self.room]["timeline"]["events"].as_array();
        let last = events.and_then(|events| events.last()).expect("an event");
        assert_eq!(last["event_id"], said.as_str());
    }

    /// The same over a WebSocket: what is wrong, the method and its parameters, the errcode.
    pub(super) async fn refuses_frames(&self, cases: Vec<(&str, &str, Value, &str)>) {
        let mut socket = Socket::open(&self.ada).await;
        let (before, mut wrong) = (self.now().await, Vec::new());
        for (row, method, params, errcode) in cases {
            let answer = socket.request(method, params).await;
            if answer["error"]["errcode"] != errcode {
                wrong.push(format!("{row}: {:.200}", answer.to_string()));
            }
            assert!(self.now().await == before, "something is left of {row}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        let params = json!({ "room_id": self.room, "event_type": "m.x", "content": {} });
        Socket::result(&socket.request("send", params).await);
    }
}
