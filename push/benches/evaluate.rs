//! What it costs to put an event to the push rules of the 1,000 local members of a room: all with
//! the default rules, and all with some of their own.

use std::sync::Arc;

use accounts::{Accounts, NewUser};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use devices::Devices;
use presence::Presence;
use rooms::{CreateRoom, JoinRequest, NewEvent, Preset, Profile, Rooms, StoredEvent};
use ruma::{
    OwnedRoomId, OwnedUserId, UserId, owned_server_name,
    push::{Action, NewPatternedPushRule, NewPushRule, Ruleset},
};
use serde_json::value::RawValue;
use stdx::{ManualClock, Rng, Tasks};
use storage::Store;
use sync::{Sources, Sync};
use tokio::runtime::Runtime;

const MEMBERS: usize = 1000;

struct World {
    accounts: Accounts,
    sync: Sync,
    members: Vec<OwnedUserId>,
    room: OwnedRoomId,
    event: Arc<StoredEvent>,
}

async fn parts() -> (Accounts, Rooms, Sync) {
    let store = Store::open(&storage::Config::memory(), 7).expect("memory opens");
    let (clock, rng, tasks) = (ManualClock::new(1), Rng::from_seed(1), Tasks::new());
    let name = owned_server_name!("x.test");
    let key = events::SigningKey::from_seed(&[7; 32], "test").expect("a key");
    let rooms = Rooms::new(
        rooms::Config::default(),
        store.clone(),
        clock.clone(),
        rng.clone(),
        name.clone(),
        key,
        rooms::ports::Ports::isolated(),
    )
    .expect("rooms open");
    let accounts = accounts::Config::default();
    let accounts = Accounts::open(accounts, store.clone(), clock.clone(), rng.clone(), name).await;
    let accounts = accounts.expect("accounts open");
    let sources = Sources {
        store: store.clone(),
        rooms: rooms.clone(),
        accounts: accounts.clone(),
        devices: Devices::new(store.clone(), clock.clone(), rng, &tasks),
        presence: Presence::new(presence::Config::default(), clock.clone(), &tasks, store),
    };
    let sync = Sync::new(sync::Config::default(), sources, clock, tasks);
    (accounts, rooms, sync)
}

async fn create(rooms: &Rooms, creator: &UserId) -> OwnedRoomId {
    let request = CreateRoom {
        creator,
        creator_profile: Profile::default(),
        invitee_profiles: Vec::new(),
        published: false,
        room_alias_name: None,
        name: None,
        topic: None,
        invite: Vec::new(),
        room_version: None,
        creation_content: None,
        initial_state: Vec::new(),
        preset: Some(Preset::PublicChat),
        is_direct: false,
        power_level_content_override: None,
    };
    rooms.create(request).await.expect("created")
}

async fn world() -> World {
    let (accounts, rooms, sync) = parts().await;
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        let name = format!("user{number}");
        let new = NewUser { localpart: Some(&name), ..NewUser::default() };
        members.push(accounts.register(new).await.expect("registered").user_id);
    }
    let room = create(&rooms, &members[0]).await;
    for user in &members[1..] {
        let request = JoinRequest {
            room_id: &room,
            user,
            profile: Profile::default(),
            guest: false,
            reason: None,
            via: Vec::new(),
            extra: None,
        };
        rooms.join(request).await.expect("joined");
    }
    let body = "A message of some ordinary length, with nothing special in it, for everybody.";
    let content = serde_json::json!({ "msgtype": "m.text", "body": body }).to_string();
    let event = NewEvent {
        room_id: &room,
        sender: &members[0],
        event_type: "m.room.message",
        state_key: None,
        content: &RawValue::from_string(content).expect("JSON"),
        txn: None,
        timestamp: None,
    };
    let event = rooms.send(event).await.expect("sent");
    let event = rooms.event_by_id(&event).await.expect("readable").expect("an event");
    World { accounts, sync, members, room, event }
}

impl World {
    async fn evaluate(&self) -> usize {
        let rules = self.sync.push_rules();
        let mut rules = rules.in_room(&self.room).await.expect("readable");
        let mut notified = 0;
        for user in &self.members {
            let verdict = rules.quick_verdict(user, &self.event).await.expect("a verdict");
            notified += usize::from(verdict.flatten().is_some());
        }
        notified
    }

    /// Ten keywords each.
    async fn change_rules(&self) {
        for user in &self.members {
            let change = |rules: &mut Ruleset| {
                (0..10).try_for_each(|number| {
                    let (id, word) = (format!("word{number}"), format!("keyword{number}"));
                    let rule = NewPatternedPushRule::new(id, word, vec![Action::Notify]);
                    rules.insert(NewPushRule::Content(rule), None, None)
                })
            };
            self.accounts.change_push_rules(user, change).await.expect("changed");
        }
    }
}

fn evaluate(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let world = runtime.block_on(world());
    let mut group = criterion.benchmark_group("one event, 1,000 members");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.bench_function("default rules", |bencher| {
        bencher.iter(|| assert_eq!(runtime.block_on(world.evaluate()), MEMBERS - 1));
    });
    runtime.block_on(world.change_rules());
    group.bench_function("ten keywords each", |bencher| {
        bencher.iter(|| assert_eq!(runtime.block_on(world.evaluate()), MEMBERS - 1));
    });
    group.finish();
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
