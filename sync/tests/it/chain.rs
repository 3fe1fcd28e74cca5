//! Property: whoever follows step by step ends where whoever comes new begins, and misses no event
//! that they may see.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::TestRunner};
use rooms::Profile;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde_json::{Value, json};
use sync::StateAfter;

use crate::world::{Ask, World, change, events, token_of};

#[derive(Clone, Copy, Debug)]
enum Step {
    Say {
        user: usize,
        room: usize,
    },
    Topic {
        user: usize,
        room: usize,
    },
    Rename {
        user: usize,
    },
    Join {
        user: usize,
        room: usize,
    },
    Leave {
        user: usize,
        room: usize,
    },
    Kick {
        user: usize,
        room: usize,
    },
    Invite {
        user: usize,
        room: usize,
    },
    /// What is only in memory is lost.
    Restart,
    /// The follower comes and asks.
    Sync,
}

const USERS: usize = 3;
const ROOMS: usize = 2;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pair = (0..USERS, 0..ROOMS);
    let step = prop_oneof![
        4 => pair.clone().prop_map(|(user, room)| Step::Say { user, room }),
        2 => pair.clone().prop_map(|(user, room)| Step::Topic { user, room }),
        1 => (0..USERS).prop_map(|user| Step::Rename { user }),
        2 => pair.clone().prop_map(|(user, room)| Step::Join { user, room }),
        1 => pair.clone().prop_map(|(user, room)| Step::Leave { user, room }),
        1 => pair.clone().prop_map(|(user, room)| Step::Kick { user, room }),
        1 => pair.prop_map(|(user, room)| Step::Invite { user, room }),
        1 => Just(Step::Restart),
        4 => Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a client makes of what it is told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Client {
    joined: BTreeMap<String, BTreeMap<(String, String), String>>,
    invited: BTreeSet<String>,
    /// Messages seen, by room. A list begins where the client was told that it knows nothing of
    /// what was just before.
    seen: BTreeMap<String, Vec<Vec<String>>>,
}

impl Client {
    fn apply(&mut self, answer: &Value, state_after: bool) {
        let section = |name: &str| answer["rooms"][name].as_object().cloned().unwrap_or_default();
        for (room, told) in section("join") {
            self.invited.remove(&room);
            let state = self.joined.entry(room.clone()).or_default();
            let key = if state_after { "state_after" } else { "state" };
            let mut list = events(&told, key).to_vec();
            if !state_after {
                list.extend_from_slice(events(&told, "timeline"));
            }
            for event in list.iter().filter(|event| event.get("state_key").is_some()) {
                let text = |key: &str| event[key].as_str().expect("text").to_owned();
                state.insert((text("type"), text("state_key")), text("event_id"));
            }
            let seen = self.seen.entry(room).or_default();
            let all = [events(&told, key), events(&told, "timeline")].concat();
            let is_new = all.iter().any(|event| event["type"] == "m.room.create");
            if is_new || told["timeline"]["limited"] == true || seen.is_empty() {
                seen.push(Vec::new());
            }
            let seen = seen.last_mut().expect("just pushed");
            for event in events(&told, "timeline") {
                seen.push(event["event_id"].as_str().expect("id").to_owned());
            }
        }
        for (room, _) in section("leave") {
            self.joined.remove(&room);
            self.invited.remove(&room);
        }
        for (room, _) in section("invite") {
            self.joined.remove(&room);
            self.invited.insert(room);
        }
    }
}

struct History {
    world: World,
    users: Vec<OwnedUserId>,
    rooms: Vec<OwnedRoomId>,
    said: BTreeMap<OwnedRoomId, Vec<OwnedEventId>>,
}

impl History {
    async fn new() -> Self {
        let world = World::new().await;
        let mut users = Vec::new();
        for name in ["ada", "ben", "cay"] {
            users.push(world.user(name).await);
        }
        let mut rooms = Vec::new();
        for _ in 0..ROOMS {
            rooms.push(world.shared_room(&[&users[0]]).await);
        }
        Self { world, users, rooms, said: BTreeMap::new() }
    }

    /// Steps that are not allowed at the moment change nothing.
    async fn step(&mut self, number: usize, step: Step) {
        if matches!(step, Step::Restart) {
            self.world.tasks.stop();
            self.world = World::on(self.world.store.clone()).await;
            return;
        }
        let (users, world) = (&self.users, &self.world);
        match step {
            Step::Say { user, room } => self.say(user, room).await,
            Step::Topic { user: 0, room } => {
                world.topic(&self.rooms[room], &users[0], &number.to_string()).await;
            }
            Step::Rename { user } => {
                let profile = Profile { displayname: Some(number.to_string()), avatar_url: None };
                let set = world.rooms.set_profile_in_rooms(&users[user], &profile).await;
                set.expect("a profile may change");
            }
            Step::Join { user, room } => world.join(&self.rooms[room], &users[user]).await,
            Step::Leave { user, room } if user != 0 => {
                let _not_in = world.rooms.leave(&self.rooms[room], &users[user], None).await;
            }
            Step::Kick { user, room } if user != 0 => {
                let change = change(&self.rooms[room], &users[0], &users[user]);
                let _not_in = world.rooms.kick(change).await;
            }
            Step::Invite { user, room } if user != 0 => {
                let change = change(&self.rooms[room], &users[0], &users[user]);
                let _is_in = world.rooms.invite(change, Profile::default(), false).await;
            }
            _ => (),
        }
    }

    async fn is_in(&self, user: &UserId, room: usize) -> bool {
        let membership = self.world.rooms.membership(user, &self.rooms[room]).await;
        membership.expect("readable") == Some(ruma::events::room::member::MembershipState::Join)
    }

    async fn say(&mut self, user: usize, room: usize) {
        if self.is_in(&self.users[user], room).await {
            let id = self.world.say(&self.rooms[room], &self.users[user], "text").await;
            self.said.entry(self.rooms[room].clone()).or_default().push(id);
        }
    }
}

async fn check(steps: &[Step], ask: &Ask) {
    let mut history = History::new().await;
    let follower = history.users[1].clone();
    let mut client = Client::default();
    let mut since: Option<String> = None;
    for (number, step) in steps.iter().chain([&Step::Sync]).enumerate() {
        if !matches!(step, Step::Sync) {
            history.step(number, *step).await;
            continue;
        }
        let answer = history.world.ask(&follower, since.as_deref(), ask).await;
        client.apply(&answer, ask.state_after.is_some());
        since = Some(token_of(&answer));
    }
    let mut fresh = Client::default();
    fresh.apply(&history.world.ask(&follower, None, ask).await, ask.state_after.is_some());
    assert_eq!(client.joined, fresh.joined, "{steps:?}");
    assert_eq!(client.invited, fresh.invited, "{steps:?}");
    for (room, said) in &history.said {
        let seen = client.seen.get(room.as_str()).map_or(&[][..], Vec::as_slice);
        assert_no_holes(seen, said);
    }
}

/// Each message once, in order, and without a hole that the client was not told of.
fn assert_no_holes(seen: &[Vec<String>], said: &[OwnedEventId]) {
    let place = |id: &String| said.iter().position(|event| event.as_str() == id);
    for run in seen {
        let places: Vec<_> = run.iter().filter_map(place).collect();
        for pair in places.windows(2) {
            assert_eq!(pair[1], pair[0] + 1, "{places:?}");
        }
    }
}

fn run(ask: &Ask) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            runtime.block_on(check(&steps, ask));
            Ok(())
        })
        .expect("the property holds");
}

#[test]
fn a_chain_of_syncs_equals_an_initial_one() {
    run(&Ask::filtered(&json!({"room": {"timeline": {"limit": 3}}}).to_string()));
}

#[test]
fn a_chain_of_syncs_equals_an_initial_one_with_state_after() {
    let filter = json!({"room": {"timeline": {"limit": 3}}}).to_string();
    run(&Ask { state_after: Some(StateAfter::Stable), ..Ask::filtered(&filter) });
}
