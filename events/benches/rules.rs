//! What the rules cost: reading, building and authorising an event, and resolving a large fork.

use std::{collections::HashMap, hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use events::{
    ClientEvent, EventTemplate, Pdu, RoomVersion, SigningKey, StateMap, auth_events_for,
    check_auth, resolve, sign_and_build, verify_content_hash, verify_signatures,
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

/// 500 users whose membership two servers saw change differently, and so 1,000 events in conflict.
fn resolution(c: &mut Criterion) {
    let mut room = Room::new();
    let users: Vec<String> = (0..500).map(|user| format!("@user{user}:a.test")).collect();
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
    let (version, events) = (room.version, &room.events);
    c.bench_function("resolve 1,000 conflicted events", |b| {
        b.iter(|| resolve(version, black_box(&sets), |id| events.get(id).cloned()));
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
}

criterion_group!(benches, events, resolution, wire);
criterion_main!(benches);
