//! Works of a server. What its writer thread does to make a change durable is not counted: valgrind
//! counts the thread that is measured.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use presence::Presence;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, device_id};
use serde_json::Value;
use stdx::{Clock as _, ManualClock, Tasks};
use storage::Store;

use crate::{measured::costs_measured, world::World};

/// As the names of the works say.
const ENTRIES: u64 = 10_000;
const CHANGED: u64 = 50;
/// More than a timeline shows, so that the difference is asked for.
const SAID: u64 = 30;

/// A room with a large state, on disk: under valgrind it would take minutes to be made.
struct LargeRoom {
    world: World,
    alice: OwnedUserId,
    room: OwnedRoomId,
}

/// Makes it in an empty directory.
pub(crate) fn prepare(directory: &Path) -> anyhow::Result<()> {
    let world = World::new(Some(&directory.join("store")))?;
    let alice = world.user("alice")?;
    let room = world.room(&alice)?;
    world.fill(&room, &alice, ENTRIES)?;
    Ok(fs::write(directory.join("room"), room.as_str())?)
}

impl LargeRoom {
    fn open(prepared: Option<&Path>) -> anyhow::Result<Self> {
        let directory = prepared.context("this work needs what `costs prepare` makes")?;
        let room = RoomId::parse(fs::read_to_string(directory.join("room"))?)?;
        let world = World::new(Some(&directory.join("store")))?;
        Ok(Self { world, alice: UserId::parse("@alice:x.test")?, room })
    }
}

/// One entry of a large state is replaced: from the request to the published view.
pub(super) fn state_change(times: u64, prepared: Option<&Path>) -> anyhow::Result<()> {
    let LargeRoom { world, alice, room } = LargeRoom::open(prepared)?;
    let change = |number: u64| world.move_berth(&room, &alice, number * 17, "moved");
    (0..5).try_for_each(change)?;
    let mut outcome = Ok(());
    costs_measured(&mut || outcome = (5..5 + times).try_for_each(change));
    outcome
}

/// A client comes back to a large room after more changes than its timeline shows.
pub(super) fn sync_difference(times: u64, prepared: Option<&Path>) -> anyhow::Result<()> {
    let LargeRoom { world, alice, room } = LargeRoom::open(prepared)?;
    let before: Value = serde_json::from_slice(&world.sync(&alice, None)?)?;
    let since = before["next_batch"].as_str().context("a token")?;
    for number in 0..CHANGED {
        world.move_berth(&room, &alice, number * 113, "left")?;
    }
    for number in 0..SAID {
        world.say(&room, &alice, number)?;
    }
    let answer: Value = serde_json::from_slice(&world.sync(&alice, Some(since))?)?;
    let state = &answer["rooms"]["join"][room.as_str()]["state"]["events"];
    let told = state.as_array().map_or(0, Vec::len);
    ensure!(told as u64 == CHANGED, "{told} entries of the state are told");
    costs_measured(&mut || {
        for _ in 0..times {
            std::hint::black_box(world.sync(&alice, Some(since)).is_ok());
        }
    });
    Ok(())
}

/// Users and their presence, without the task of the timers: time passes when it is told to.
pub(crate) struct Crowd {
    pub(crate) presence: Presence,
    pub(crate) users: Vec<OwnedUserId>,
    pub(crate) clock: std::sync::Arc<ManualClock>,
    _runtime: tokio::runtime::Runtime,
}

impl Crowd {
    /// All of them are online.
    pub(crate) fn new(count: usize) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let entered = runtime.enter();
        let clock = ManualClock::new(1_700_000_000_000);
        let store = Store::open(&storage::Config::memory(), 1)?;
        let config = presence::Config::default();
        let presence = Presence::new(config, clock.clone(), &Tasks::new(), store);
        drop(entered);
        let name = |number| UserId::parse(format!("@user{number}:x.test"));
        let users: Vec<_> = (0..count).map(name).collect::<Result<_, _>>()?;
        for user in &users {
            presence.heartbeat(user, device_id!("PHONE"), true);
        }
        Ok(Self { presence, users, clock, _runtime: runtime })
    }

    pub(crate) fn beat(&self, number: u64) {
        let user = &self.users[number as usize % self.users.len()];
        self.presence.heartbeat(user, device_id!("PHONE"), true);
    }
}

/// In the table of presence; the frame is another work.
pub(super) fn heartbeats(times: u64, _: Option<&Path>) -> anyhow::Result<()> {
    let crowd = Crowd::new(times as usize)?;
    (0..times).for_each(|number| crowd.beat(number));
    crowd.clock.advance(40_000);
    costs_measured(&mut || (0..times).for_each(|number| crowd.beat(number)));
    Ok(())
}

/// Everybody's timer fires at once.
pub(super) fn sweep(times: u64, _: Option<&Path>) -> anyhow::Result<()> {
    let crowd = Crowd::new(times as usize)?;
    let before = crowd.presence.sequence();
    crowd.clock.advance(3_600_000);
    let now = crowd.clock.now_ms();
    costs_measured(&mut || crowd.presence.tick(now));
    let changes = crowd.presence.sequence() - before;
    ensure!(changes >= times, "{changes} changes of {times} users");
    Ok(())
}
