//! Presence with a clock that the test moves: the rules, what is told, and what is written.

mod changes;
mod rules;

use std::sync::Arc;

use presence::{Config, Presence, UserPresence};
use ruma::{DeviceId, UserId, device_id, presence::PresenceState, user_id};
use stdx::{ManualClock, Tasks};
use storage::Store;

const START_MS: u64 = 1_700_000_000_000;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;

const PHONE: &str = "PHONE";
const LAPTOP: &str = "LAPTOP";

struct Server {
    presence: Presence,
    store: Store,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    config: Config,
}

impl Server {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        let (clock, tasks) = (ManualClock::new(START_MS), Tasks::new());
        let presence = Presence::new(config.clone(), clock.clone(), &tasks, store.clone());
        Self { presence, store, clock, tasks, config }
    }

    /// As after a restart: everything in memory is gone.
    async fn reopen(&mut self) {
        self.store.barrier().wait().await.expect("written");
        let (clock, store) = (self.clock.clone(), self.store.clone());
        self.presence = Presence::new(self.config.clone(), clock, &self.tasks, store);
    }

    /// Lets time pass second by second, as the timers' task does.
    fn pass(&self, millis: u64) {
        for _second in 0..millis / SECOND {
            self.clock.advance(SECOND);
            self.presence.tick(self.now());
        }
        self.clock.advance(millis % SECOND);
        self.presence.tick(self.now());
    }

    fn now(&self) -> u64 {
        use stdx::Clock;
        self.clock.now_ms()
    }

    async fn get(&self) -> UserPresence {
        self.presence.get(ada()).await.expect("read")
    }

    /// State and whether currently active.
    async fn state(&self) -> (PresenceState, bool) {
        let presence = self.get().await;
        (presence.presence, presence.currently_active)
    }

    async fn sync(&self, device: &str, set: PresenceState) -> presence::SyncGuard {
        self.presence.syncing(ada(), <&DeviceId>::from(device), &set).await
    }

    fn beat(&self, device: &str, active: bool) {
        self.presence.heartbeat(ada(), <&DeviceId>::from(device), active);
    }

    async fn set(&self, set: PresenceState, status: Option<&str>) {
        self.presence.set(ada(), device_id!("PHONE"), &set, status).await.expect("set");
    }

    /// What has been told since `sequence`.
    fn told(&self, sequence: u64) -> u64 {
        self.presence.sequence() - sequence
    }
}

fn ada() -> &'static UserId {
    user_id!("@ada:example.org")
}
