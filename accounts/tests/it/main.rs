//! Accounts on the memory engine: races, ends that take effect, rotation, and what users keep.

mod account_data;
mod emails;
mod identity_servers;
mod jwt_login;
mod passwords;
mod profiles;
mod registration;
mod restart;
mod sessions;
mod uia;

use std::sync::Arc;

use accounts::{Accounts, Config, NewUser, User};
use ruma::{OwnedUserId, owned_server_name};
use serde_json::value::RawValue;
use stdx::{ManualClock, Rng};
use storage::Store;

const START_MS: u64 = 1_700_000_000_000;

/// A server's accounts with a clock that stands still.
struct Server {
    accounts: Accounts,
    store: Store,
    clock: Arc<ManualClock>,
    config: Config,
}

impl Server {
    async fn new() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let store = Store::open(&storage::Config::memory(), 1).expect("memory opens");
        let clock = ManualClock::new(START_MS);
        let accounts = open(&config, &store, &clock, 1).await;
        Self { accounts, store, clock, config }
    }

    /// As after a restart: everything in memory is gone.
    async fn reopen(&mut self) {
        // A process that ends in order waits for what is submitted.
        self.store.barrier().wait().await.expect("the store works");
        self.accounts = open(&self.config, &self.store, &self.clock, 2).await;
    }

    async fn user(&self, localpart: &str) -> User {
        let user = NewUser { localpart: Some(localpart), ..NewUser::default() };
        self.accounts.register(user).await.expect("the name is free")
    }

    async fn user_with_password(&self, localpart: &str, password: &str) -> User {
        let user =
            NewUser { localpart: Some(localpart), password: Some(password), ..NewUser::default() };
        self.accounts.register(user).await.expect("the name is free")
    }
}

async fn open(config: &Config, store: &Store, clock: &Arc<ManualClock>, seed: u64) -> Accounts {
    let server_name = owned_server_name!("example.org");
    let rng = Rng::from_seed(seed);
    Accounts::open(config.clone(), store.clone(), clock.clone(), rng, server_name)
        .await
        .expect("accounts open")
}

fn user_id(localpart: &str) -> OwnedUserId {
    format!("@{localpart}:example.org").try_into().expect("a user id")
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

/// Runs the same thing 64 times at once and returns the outcomes.
async fn at_once<T, F>(run: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut set = tokio::task::JoinSet::new();
    for index in 0..64 {
        set.spawn(run(index));
    }
    set.join_all().await
}
