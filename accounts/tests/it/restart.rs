//! What was answered is there after a restart, on the engines that keep data.

use accounts::{Accounts, Config, NewSession, NewUser};
use ruma::{device_id, owned_server_name, room_id};
use stdx::{ManualClock, Rng};
use storage::{EngineKind, Store};

use crate::{START_MS, raw, user_id};

async fn open(engine: EngineKind, path: &std::path::Path) -> (Store, Accounts) {
    let config = storage::Config {
        ballast_bytes: 0,
        low_water_bytes: 0,
        ..storage::Config::at(engine, path.to_owned())
    };
    let store = Store::open(&config, 1).expect("the store opens");
    let accounts = Accounts::open(
        Config::default(),
        store.clone(),
        ManualClock::new(START_MS),
        Rng::from_system(),
        owned_server_name!("example.org"),
    );
    let accounts = accounts.await.expect("accounts open");
    (store, accounts)
}

async fn check(engine: EngineKind) {
    let directory = tempfile::tempdir().expect("a directory");
    let ada = user_id("ada");
    let room = room_id!("!room:example.org");
    let (store, accounts) = open(engine, directory.path()).await;
    let user =
        NewUser { localpart: Some("ada"), password: Some("correct horse"), ..NewUser::default() };
    let user = accounts.register(user).await.expect("registered");
    let session = |device_id| NewSession { user: &user, device_id, refresh: true };
    let kept = accounts.create_session(session(device_id!("KEPT"))).await.expect("logged in");
    let ended = accounts.create_session(session(device_id!("ENDED"))).await.expect("logged in");
    accounts.end_session(ended.session_id).await.expect("ended");
    accounts.set_profile_field(&ada, "displayname", &raw("\"Ada\"")).await.expect("set");
    let tag = accounts.set_tag(&ada, room, "m.favourite", &raw("{}")).await;
    tag.expect("set");
    drop(accounts);
    store.close();
    drop(store);

    let (store, accounts) = open(engine, directory.path()).await;
    assert!(accounts.authenticate(&kept.access_token).is_ok());
    assert!(accounts.authenticate(&ended.access_token).is_err());
    let refresh_token = kept.refresh_token.expect("asked");
    accounts.refresh(&refresh_token).await.expect("refreshed");
    accounts.check_password(&ada, "correct horse").await.expect("the password");
    let profile = accounts.profile(&ada).await.expect("read");
    assert_eq!(profile.displayname.as_deref(), Some("Ada"));
    assert_eq!(accounts.tags(&ada, room).await.expect("read").len(), 1);
    let changes = accounts.account_data_changes(&ada, 0, u64::MAX).await.expect("read");
    assert_eq!(changes.len(), 1);
    drop(accounts);
    store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fjall() {
    check(EngineKind::Fjall).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sled() {
    check(EngineKind::Sled).await;
}
