//! A region small enough to be believed, to try the tools on: every change is a line of one file.
//! `TOY_FAULT` makes it break a promise, and then `load crash` and `load transactions` must notice. It authenticates
//! nobody and authorises everything.

#![expect(clippy::disallowed_methods, reason = "a tool: it reads its environment")]

use std::{
    collections::{BTreeMap, HashMap},
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self, Message, WebSocket,
    handshake::server::{ErrorResponse, Request, Response},
};

const PAGE: usize = 1000;

/// The promise that is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The file is written, not synced: only a loss of power shows it.
    AnswerBeforeSync,
    /// The file is written some time after the answer.
    AnswerBeforeWrite,
    /// Transaction ids do not outlive the process.
    ForgetTransactions,
    /// A sync tells its last event again.
    Repeat,
}

/// One line of the file.
#[derive(Clone, Serialize, Deserialize)]
enum Change {
    Room { room: String, user: String },
    Join { room: String, user: String },
    Event { room: String, id: String, content: Value, transaction: String },
}

struct Region {
    state: Mutex<State>,
    changed: Condvar,
    fault: Fault,
}

struct State {
    file: File,
    unwritten: Vec<u8>,
    members: BTreeMap<String, Vec<String>>,
    rooms: HashMap<String, Vec<Value>>,
    /// The order of acceptance, over all rooms. A sync token is a place in it.
    stream: Vec<(String, Value)>,
    transactions: HashMap<String, String>,
}

fn main() -> anyhow::Result<()> {
    let data = std::env::var("MERIDIAN_DATA_DIR").context("MERIDIAN_DATA_DIR")?;
    let listen = std::env::var("MERIDIAN_LISTEN").context("MERIDIAN_LISTEN")?;
    let fault = match std::env::var("TOY_FAULT").as_deref() {
        Ok("answer-before-sync") => Fault::AnswerBeforeSync,
        Ok("answer-before-write") => Fault::AnswerBeforeWrite,
        Ok("forget-transactions") => Fault::ForgetTransactions,
        Ok("repeat") => Fault::Repeat,
        _ => Fault::None,
    };
    let region = Arc::new(Region::open(&Path::new(&data).join("changes"), fault)?);
    if fault == Fault::AnswerBeforeWrite {
        let region = Arc::clone(&region);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(300));
                region.lock().write_out().expect("the file can be written");
            }
        });
    }
    for stream in TcpListener::bind(listen)?.incoming() {
        let (stream, region) = (stream?, Arc::clone(&region));
        // A connection that breaks is the client's business.
        thread::spawn(move || drop(region.serve(stream)));
    }
    Ok(())
}

impl State {
    fn apply(&mut self, change: Change, keep_transaction: bool) {
        match change {
            Change::Room { room, user } => {
                self.members.insert(room.clone(), vec![user]);
                self.push(room, json!({ "content": {} }));
            }
            Change::Join { room, user } => {
                self.members.entry(room.clone()).or_default().push(user);
                self.push(room, json!({ "content": {} }));
            }
            Change::Event { room, id, content, transaction } => {
                if keep_transaction {
                    self.transactions.insert(transaction, id.clone());
                }
                self.push(room, json!({ "event_id": id, "content": content }));
            }
        }
    }

    fn push(&mut self, room: String, mut event: Value) {
        if event["event_id"].is_null() {
            event["event_id"] = json!(format!("$s{}", self.stream.len()));
        }
        self.rooms.entry(room.clone()).or_default().push(event.clone());
        self.stream.push((room, event));
    }

    fn write_out(&mut self) -> anyhow::Result<()> {
        self.file.write_all(&std::mem::take(&mut self.unwritten))?;
        self.file.sync_data()?;
        Ok(())
    }
}

impl Region {
    fn open(path: &Path, fault: Fault) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let mut state = State {
            file: file.try_clone()?,
            unwritten: Vec::new(),
            members: BTreeMap::new(),
            rooms: HashMap::new(),
            stream: Vec::new(),
            transactions: HashMap::new(),
        };
        for line in BufReader::new(file).lines() {
            // A torn last line was not acknowledged.
            let Ok(change) = serde_json::from_str(&line?) else { continue };
            state.apply(change, fault != Fault::ForgetTransactions);
        }
        // Whatever was torn ends here.
        state.file.write_all(b"\n")?;
        Ok(Self { state: Mutex::new(state), changed: Condvar::new(), fault })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Makes a change durable, visible, and only then returns.
    fn commit(&self, state: &mut State, change: Change) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&change)?;
        line.push(b'\n');
        match self.fault {
            Fault::AnswerBeforeWrite => state.unwritten.extend(line),
            Fault::AnswerBeforeSync => state.file.write_all(&line)?,
            _ => {
                state.unwritten.extend(line);
                state.write_out()?;
            }
        }
        state.apply(change, true);
        self.changed.notify_all();
        Ok(())
    }

    fn send(&self, room: &str, user: &str, id: &str, content: Value) -> anyhow::Result<Value> {
        let transaction = format!("{user} {id}");
        let mut state = self.lock();
        if let Some(known) = state.transactions.get(&transaction) {
            return Ok(json!({ "event_id": known }));
        }
        let id = format!("$e{}", state.stream.len());
        let change = Change::Event { room: room.to_owned(), id: id.clone(), content, transaction };
        self.commit(&mut state, change)?;
        Ok(json!({ "event_id": id }))
    }

    /// Takes every event of another server's transaction, and says so.
    fn receive(&self, body: &Value) -> anyhow::Result<Value> {
        let mut verdicts = serde_json::Map::new();
        for pdu in body["pdus"].as_array().context("pdus")? {
            let room = pdu["room_id"].as_str().context("room_id")?;
            let id = pdu["unsigned"]["org.example.id"].as_str().context("an id")?;
            let mut state = self.lock();
            if !state.transactions.contains_key(id) {
                let (room, id) = (room.to_owned(), id.to_owned());
                let (content, transaction) = (pdu["content"].clone(), id.clone());
                self.commit(&mut state, Change::Event { room, id, content, transaction })?;
            }
            verdicts.insert(id.to_owned(), json!({}));
        }
        Ok(json!({ "pdus": verdicts }))
    }

    /// What is new to a user since a token, waiting for it if there is nothing.
    fn sync(&self, user: &str, since: Option<&str>, wait: Duration) -> Value {
        let since = since.and_then(|since| since.strip_prefix('s')?.parse::<usize>().ok());
        let begin = since.unwrap_or(0);
        let deadline = Instant::now() + wait;
        let mut state = self.lock();
        loop {
            let from = if self.fault == Fault::Repeat && state.stream.len() > begin {
                begin.saturating_sub(1)
            } else {
                begin
            };
            let joined = timelines(&state, user, from);
            let left = deadline.saturating_duration_since(Instant::now());
            if !joined.is_empty() || left.is_zero() {
                let next = format!("s{}", state.stream.len());
                return json!({ "next_batch": next, "rooms": { "join": joined } });
            }
            state = self.changed.wait_timeout(state, left).expect("no holder panics").0;
        }
    }

    fn messages(&self, room: &str, from: Option<&str>) -> Value {
        let state = self.lock();
        let events = state.rooms.get(room).map(Vec::as_slice).unwrap_or_default();
        let end = from.and_then(|from| from.parse().ok()).unwrap_or(events.len());
        let start = end.saturating_sub(PAGE);
        let chunk: Vec<&Value> = events[start..end].iter().rev().collect();
        let next = (start > 0).then(|| start.to_string());
        json!({ "chunk": chunk, "end": next })
    }

    fn serve(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        // A client writes its first head at once, so it is all there.
        let mut start = [0; 2048];
        let length = stream.peek(&mut start)?;
        let head = String::from_utf8_lossy(&start[..length]);
        if head.contains("/sync/ws") {
            return self.serve_socket(stream, user_of(&head));
        }
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let mut body = vec![0; header(&head, "content-length").unwrap_or("0").parse()?];
            reader.read_exact(&mut body)?;
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let answer = self.answer(&head, body)?.to_string();
            let length = answer.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{answer}");
            reader.get_mut().write_all(answer.as_bytes())?;
        }
    }

    fn answer(&self, head: &str, body: Value) -> anyhow::Result<Value> {
        let target = head.split(' ').nth(1).context("request line")?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let user = user_of(head);
        let query: HashMap<&str, &str> =
            query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let parts: Vec<&str> = path.trim_start_matches("/_matrix/client/").split('/').collect();
        Ok(match parts.as_slice() {
            ["", "_matrix", "federation", "v1", "send", _] => self.receive(&body)?,
            ["v3", "register"] => {
                json!({ "user_id": body["username"], "access_token": body["username"] })
            }
            ["v3", "createRoom"] => {
                let mut state = self.lock();
                let room = format!("!r{}", state.rooms.len());
                let user = user.to_owned();
                self.commit(&mut state, Change::Room { room: room.clone(), user })?;
                json!({ "room_id": room })
            }
            ["v3", "join", room] => {
                let (room, user) = (decode(room), user.to_owned());
                self.commit(&mut self.lock(), Change::Join { room, user })?;
                json!({})
            }
            ["v3", "rooms", room, "send", _, transaction] => {
                self.send(&decode(room), user, transaction, body)?
            }
            ["v3", "rooms", room, "messages"] => {
                self.messages(&decode(room), query.get("from").copied())
            }
            ["v3", "sync"] => {
                let wait = Duration::from_millis(query.get("timeout").unwrap_or(&"0").parse()?);
                self.sync(user, query.get("since").copied(), wait)
            }
            _ => json!({}),
        })
    }

    fn serve_socket(&self, stream: TcpStream, user: &str) -> anyhow::Result<()> {
        let mut socket = tungstenite::accept_hdr(stream, echo_protocol)?;
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(1)))?;
        let mut since: Option<String> = None;
        let mut seq = 0;
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text)?;
                    self.answer_frame(&mut socket, user, &frame, &mut since)?;
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            let Some(token) = &since else { continue };
            let batch = self.sync(user, Some(token), Duration::ZERO);
            let is_news =
                batch["rooms"]["join"].as_object().is_some_and(|joined| !joined.is_empty());
            // A client without a token gets one, even if there is nothing else to tell.
            if is_news || token.is_empty() {
                seq += 1;
                since = batch["next_batch"].as_str().map(str::to_owned);
                let frame = json!({ "method": "sync", "seq": seq, "data": batch });
                socket.send(Message::text(frame.to_string()))?;
            }
        }
    }

    fn answer_frame(
        &self,
        socket: &mut WebSocket<TcpStream>,
        user: &str,
        frame: &Value,
        since: &mut Option<String>,
    ) -> anyhow::Result<()> {
        let Some(id) = frame["id"].as_str() else { return Ok(()) };
        let params = &frame["params"];
        let result = match frame["method"].as_str() {
            Some("send") => {
                let room = params["room_id"].as_str().context("room_id")?;
                self.send(room, user, id, params["content"].clone())?
            }
            Some("sync.start") => {
                *since = Some(params["since"].as_str().unwrap_or_default().to_owned());
                json!({})
            }
            _ => json!({}),
        };
        let answer = json!({ "id": id, "result": result });
        Ok(socket.send(Message::text(answer.to_string()))?)
    }
}

fn timelines(state: &State, user: &str, from: usize) -> serde_json::Map<String, Value> {
    let mut rooms: BTreeMap<&String, Vec<&Value>> = BTreeMap::new();
    for (room, event) in state.stream.get(from..).unwrap_or_default() {
        if state.members.get(room).is_some_and(|members| members.iter().any(|m| m == user)) {
            rooms.entry(room).or_default().push(event);
        }
    }
    rooms
        .into_iter()
        .map(|(room, events)| (room.clone(), json!({ "timeline": { "events": events } })))
        .collect()
}

/// A room's id in a path.
fn decode(segment: &str) -> String {
    segment.replace("%21", "!").replace("%3A", ":")
}

/// A token is the name of its user.
fn user_of(head: &str) -> &str {
    header(head, "authorization").unwrap_or_default().trim_start_matches("Bearer ")
}

#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn echo_protocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
        response.headers_mut().insert("sec-websocket-protocol", protocol.clone());
    }
    Ok(response)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
