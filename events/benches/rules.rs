//! What the rules cost: reading, building and authorising an event, and resolving a large fork.

use std::{collections::HashMap, hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use events::{
    ClientEvent, EventTemplate, Pdu, RequestToSign, RoomVersion, ServerAcl, SigningKey, StateMap,
    auth_events_for, check_auth, peek, resolve, sign_and_build, verify_content_hash,
    verify_signatures, verify_signatures_batch,
};
use ruma::{OwnedEventId, OwnedRoomId, ServerName, UserId, server_name};
use serde_json::{Value, json, value::to_raw_value};

const ALICE: &str = "@alice:a.test";

/// A signed room of version 12, by one server.
struct Room {
    version: &'static RoomVersion,
    key: SigningKey,
    room_id: Option<OwnedRoomId>,
    events: HashMap<OwnedEventId, Arc<Pdu>>,
    state: StateMap,
    clock: u64,
}

impl Room {
    fn new() -> Self {
        let mut room = Self {
            version: RoomVersion::default_version(),
            key: SigningKey::from_seed(&[1; 32], "1").expect("a valid key version"),
            room_id: None,
            events: HashMap::new(),
            state: StateMap::new(),
            clock: 1_700_000_000_000,
        };
        let create = room.state(ALICE, "m.room.create", "", json!({ "room_version": "12" }));
        room.room_id = Some(create.room_id().to_owned());
        room.state(ALICE, "m.room.member", ALICE, json!({ "membership": "join" }));
        room.state(ALICE, "m.room.power_levels", "", json!({ "users": {} }));
        room.state(ALICE, "m.room.join_rules", "", json!({ "join_rule": "public" }));
        room
    }

    fn server() -> &'static ServerName {
        server_name!("a.test")
    }

    fn build(&mut self, sender: &str, event_type: &str, key: Option<&str>, content: Value) -> Pdu {
        self.clock += 1;
        let content = to_raw_value(&content).expect("values serialise");
        let sender = UserId::parse(sender).expect("a valid user id");
        let auth = auth_events_for(self.version, event_type, &sender, key, &content)
            .expect("well-formed content");
        let auth: Vec<_> = auth.iter().filter_map(|key| self.state.get(key).cloned()).collect();
        let template = EventTemplate {
            room_id: self.room_id.as_deref(),
            sender: &sender,
            event_type,
            state_key: key,
            content: &content,
            prev_events: &[],
            auth_events: &auth,
            depth: 1,
            origin_server_ts: self.clock,
            redacts: None,
        };
        sign_and_build(&template, &self.key, Self::server(), self.version).expect("a valid event")
    }

    fn state(&mut self, sender: &str, event_type: &str, key: &str, content: Value) -> Arc<Pdu> {
        let event = Arc::new(self.build(sender, event_type, Some(key), content));
        self.events.insert(event.event_id().clone(), event.clone());
        self.state.insert((event_type.to_owned(), key.to_owned()), event.event_id().clone());
        event
    }
}

fn message(room: &mut Room) -> Pdu {
    let body = "Lorem ipsum dolor sit amet, consetetur sadipscing elitr, sed diam nonumy eirmod.";
    room.build(ALICE, "m.room.message", None, json!({ "body": body, "msgtype": "m.text" }))
}

fn events(c: &mut Criterion) {
    let mut room = Room::new();
    let event = message(&mut room);
    let version = room.version;
    let (json, id) = (event.json().clone(), event.event_id().clone());
    c.bench_function("parse a received event", |b| {
        b.iter(|| Pdu::from_json(black_box(json.clone()), version));
    });
    c.bench_function("parse a stored event", |b| {
        b.iter(|| Pdu::from_stored(id.clone(), black_box(json.clone()), version));
    });
    c.bench_function("build and sign an event", |b| b.iter(|| message(&mut room)));
    let public_key = room.key.public_key();
    c.bench_function("verify hash and signature", |b| {
        b.iter(|| {
            verify_content_hash(&event)
                && verify_signatures(&event, version, |_, _| Some(public_key)).is_ok()
        });
    });
    c.bench_function("authorise an event", |b| {
        b.iter(|| {
            check_auth(version, &event, |event_type, key| {
                room.events.get(room.state.get(&(event_type.to_owned(), key.to_owned()))?).cloned()
            })
        });
    });
    c.bench_function("serialise for clients", |b| b.iter(|| ClientEvent::new(&event, version)));
    let client = ClientEvent::new(&event, version);
    c.bench_function("write to one client", |b| {
        b.iter_batched_ref(
            || Vec::with_capacity(2048),
            |out| client.write(out, Some(event.room_id()), Some(b"{\"age\":1}")),
            BatchSize::SmallInput,
        );
    });
}

/// Users whose membership two servers saw change differently: two events in conflict for each.
fn conflicting_members(users: usize) -> (Room, [StateMap; 2]) {
    let mut room = Room::new();
    let users: Vec<String> = (0..users).map(|user| format!("@user{user}:a.test")).collect();
    let before = room.state.clone();
    let mut side = |name: &str| {
        room.state = before.clone();
        for user in &users {
            let content = json!({ "membership": "join", "displayname": name });
            room.state(user, "m.room.member", user, content);
        }
        room.state.clone()
    };
    let sets = [side("left"), side("right")];
    (room, sets)
}

/// Two servers whose moderators kicked and whose admins changed power levels without hearing of
/// each other: all conflicts are power events, in long chains.
fn conflicting_moderation(rounds: usize) -> (Room, [StateMap; 2]) {
    let mut room = Room::new();
    let users: Vec<String> = (0..rounds).map(|user| format!("@user{user}:a.test")).collect();
    for user in &users {
        room.state(user, "m.room.member", user, json!({ "membership": "join" }));
    }
    let before = room.state.clone();
    let mut side = |level: usize| {
        room.state = before.clone();
        for (round, user) in users.iter().enumerate() {
            if round % 10 == 0 {
                let content = json!({ "users": { user: level + round } });
                room.state(ALICE, "m.room.power_levels", "", content);
            }
            room.state(ALICE, "m.room.member", user, json!({ "membership": "leave" }));
        }
        room.state.clone()
    };
    let sets = [side(1), side(2)];
    (room, sets)
}

fn resolution(c: &mut Criterion) {
    let mut group = c.benchmark_group("resolve");
    group.sample_size(20);
    for conflicts in [1_000, 10_000] {
        let cases = [
            ("members", conflicting_members(conflicts / 2)),
            ("moderation", conflicting_moderation(conflicts / 2)),
        ];
        for (what, (room, sets)) in cases {
            let (version, events) = (room.version, &room.events);
            group.bench_function(format!("{conflicts} conflicted events, {what}"), |b| {
                b.iter(|| resolve(version, black_box(&sets), |id| events.get(id).cloned()));
            });
        }
    }
    group.finish();
    // One topic in conflict, in a room of 100,000 members.
    let mut room = Room::new();
    let member = room.state(ALICE, "m.room.member", ALICE, json!({ "membership": "join" }));
    for user in 0..100_000 {
        let key = ("m.room.member".to_owned(), format!("@user{user}:a.test"));
        room.state.insert(key, member.event_id().clone());
    }
    let before = room.state.clone();
    let mut side = |topic: &str| {
        room.state = before.clone();
        room.state(ALICE, "m.room.topic", "", json!({ "topic": topic }));
        room.state.clone()
    };
    let sets = [side("left"), side("right")];
    let (version, events) = (room.version, &room.events);
    c.bench_function("resolve one conflict in a room of 100,000 members", |b| {
        b.iter(|| resolve(version, black_box(&sets), |id| events.get(id).cloned()));
    });
}

fn signatures(c: &mut Criterion) {
    let mut room = Room::new();
    let events: Vec<Pdu> = (0..1024).map(|_| message(&mut room)).collect();
    let events: Vec<&Pdu> = events.iter().collect();
    let (version, key) = (room.version, room.key.public_key());
    let mut group = c.benchmark_group("verify the signatures of 1,024 events");
    group.sample_size(20);
    group.bench_function("in batches", |b| {
        b.iter(|| verify_signatures_batch(&events, version, |_, _, _| Some(key)));
    });
    group.bench_function("one by one", |b| {
        b.iter(|| {
            let verify = |event: &&Pdu| verify_signatures(event, version, |_, _| Some(key)).is_ok();
            events.iter().all(verify)
        });
    });
    group.finish();
}

/// 3,000 entries, as large rooms have them, and a transaction of 50 events.
fn acl(c: &mut Criterion) {
    let mut deny: Vec<String> = (0..1400).map(|n| format!("evil{n}.example")).collect();
    deny.extend((0..1400).map(|n| format!("*.evil{n}.example")));
    deny.extend((0..200).map(|n| format!("*bad{n}*.example")));
    let content = json!({ "allow": ["*"], "deny": deny }).to_string();
    c.bench_function("read an access control list of 3,000 entries", |b| {
        b.iter(|| ServerAcl::parse(black_box(&content)));
    });
    let acl = ServerAcl::parse(&content);
    let server = server_name!("matrix.a-server-with-a-long-name.example.org:8448");
    c.bench_function("look 50 times into an access control list of 3,000 entries", |b| {
        b.iter(|| (0..50).all(|_| acl.allows(black_box(server))));
    });
}

fn wire(c: &mut Criterion) {
    let text = Bytes::from_static(br#"{"b":[1,2,3],"a":{"x":"y\n","n":-5},"c":null}"#);
    c.bench_function("canonicalise a small object", |b| {
        b.iter(|| {
            events::canonical::canonicalise(
                black_box(&text),
                RoomVersion::default_version().numbers(),
            )
        });
    });
    let pdu = r#"{"type":"m.room.message","sender":"@a:a.test","room_id":"!r:a.test","auth_events":
        ["$a:a.test","$b:a.test"],"content":{"body":"hello","msgtype":"m.text"},"depth":12,
        "hashes":{"sha256":"x"},"origin_server_ts":1700000000000,"prev_events":["$c:a.test"],
        "signatures":{"a.test":{"ed25519:1":"x"}}}"#;
    let body = format!(r#"{{"pdus":[{}]}}"#, vec![pdu; 50].join(","));
    c.bench_function("peek at an event", |b| b.iter(|| peek(black_box(pdu.as_bytes()))));
    let request = RequestToSign {
        method: "PUT",
        uri: "/_matrix/federation/v1/send/1",
        origin: server_name!("a.test"),
        destination: Some(server_name!("b.test")),
        content: Some(body.as_bytes()),
    };
    c.bench_function("canonicalise a transaction of 50 events", |b| {
        b.iter(|| black_box(&request).to_bytes());
    });
}

criterion_group!(benches, events, signatures, acl, resolution, wire);
criterion_main!(benches);
