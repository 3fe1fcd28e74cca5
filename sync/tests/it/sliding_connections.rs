//! What a `pos` stands for, whose it is, and how connections end.

use std::time::Duration;

use bytes::Bytes;
use ruma::{DeviceId, UserId, device_id};
use serde_json::{Value, json};
use storage::{Range, Store, Table};
use sync::SyncError;
use tokio::time::timeout;

use crate::{
    slide::{Slide, all, bodies, room, told, with},
    world::{START, World},
};

fn body() -> Value {
    all(9, 1, &json!([]))
}

fn named(name: &str) -> Value {
    let mut body = body();
    body["conn_id"] = name.into();
    body
}

async fn is_unknown(slide: &Slide<'_>, body: &Value) -> bool {
    matches!(slide.try_ask(body, Duration::ZERO).await, Err(SyncError::UnknownPos))
}

#[tokio::test]
async fn a_pos_of_somebody_else_or_of_nobody_is_unknown() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    world.shared_room(&[&ada, &bob]).await;
    let mut adas = Slide::new(&world, &ada);
    adas.ask(&body()).await;
    let mut bobs = Slide::new(&world, &bob);
    bobs.ask(&body()).await;
    let pos = adas.pos.clone();

    bobs.pos.clone_from(&pos);
    assert!(is_unknown(&bobs, &body()).await, "another user's");
    let tablet = Slide { device: device_id!("TABLET"), ..Slide { pos: pos.clone(), ..adas } };
    assert!(is_unknown(&tablet, &body()).await, "another device's");
    let phone = Slide { device: device_id!("PHONE"), ..tablet };
    assert!(is_unknown(&phone, &named("other")).await, "another connection's");
    assert!(!is_unknown(&phone, &body()).await);

    let pos = pos.expect("a pos");
    let (version, rest) = pos.split_once('.').expect("a version");
    let version: u64 = version.parse().expect("a number");
    let future = pos.replace("_", "_9");
    for forged in ["5".to_owned(), "nonsense".to_owned(), format!("{}.{rest}", version + 1), future]
    {
        let slide = Slide { pos: Some(forged.clone()), ..Slide::new(&world, &ada) };
        assert!(is_unknown(&slide, &body()).await, "{forged}");
    }
}

#[tokio::test]
async fn what_came_before_the_last_pos_that_was_used_is_forgotten() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    world.shared_room(&[&ada]).await;
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&body()).await;
    let first = slide.pos.clone();
    world.shared_room(&[&ada]).await;
    slide.ask(&body()).await;
    world.shared_room(&[&ada]).await;
    slide.ask(&body()).await;
    let old = Slide { pos: first, ..Slide::new(&world, &ada) };
    assert!(is_unknown(&old, &body()).await);
    assert!(!is_unknown(&slide, &body()).await);

    let before = slide.pos.clone();
    slide.pos = None;
    assert_eq!(told(&slide.ask(&body()).await).len(), 3, "a fresh connection knows nothing");
    let old = Slide { pos: before, ..Slide::new(&world, &ada) };
    assert!(is_unknown(&old, &body()).await, "which ends the one before");
}

#[tokio::test]
async fn a_connection_survives_a_restart() {
    let store = Store::open(&storage::Config::memory(), 7).expect("memory opens");
    let world = World::on(store.clone()).await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&body()).await;
    let pos = slide.pos.clone();
    world.tasks.shutdown().await;

    let again = World::on(store).await;
    again.say(&id, &ada, "after").await;
    let mut slide = Slide { pos, ..Slide::new(&again, &ada) };
    let answer = slide.ask(&body()).await;
    assert_eq!(bodies(room(&answer, &id)), ["after"]);
    assert!(room(&answer, &id).get("initial").is_none());
}

#[tokio::test]
async fn a_connection_without_rooms_is_never_forgotten() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    world.shared_room(&[&ada]).await;
    let body = with(json!({"conn_id": "encryption"}), "e2ee", &json!({"enabled": true}));
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&body).await;
    for index in 0..60 {
        Slide::new(&world, &ada).ask(&named(&format!("c{index}"))).await;
    }
    assert!(!is_unknown(&slide, &body).await);
}

/// As the store of `sync` has them.
struct Rows;

impl Table for Rows {
    const NAME: &'static str = "sliding_connections";
    type Partition = String;
    type Sort = (String, String);
    type Value = Bytes;
}

struct UsedDays;

impl Table for UsedDays {
    const NAME: &'static str = "sliding_connections_used";
    type Partition = u32;
    type Sort = (u64, String, String, String);
    type Value = ();
}

/// Device and name of each connection that is kept, of which there is a note of its last use.
async fn rows(world: &World, user: &UserId) -> Vec<(String, String)> {
    let rows = world.store.scan::<Rows>(&user, Range::all()).await.expect("read");
    let rows: Vec<_> = rows.into_iter().map(|row| row.sort).collect();
    let used = world.store.scan::<UsedDays>(0_u32, Range::all()).await.expect("read");
    let of_user = used.into_iter().filter(|row| row.sort.1 == user.as_str());
    let mut noted: Vec<_> = of_user.map(|row| (row.sort.2, row.sort.3)).collect();
    noted.sort();
    assert_eq!(noted, rows);
    rows
}

/// Waits for as many connections.
async fn until_kept(world: &World, user: &UserId, count: usize) {
    let kept = async {
        while world.store.scan::<Rows>(&user, Range::all()).await.expect("read").len() != count {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), kept).await.expect("the others go");
}

#[tokio::test]
async fn a_device_and_a_user_have_a_bounded_number_of_connections() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    world.shared_room(&[&ada]).await;
    let devices = ["A", "B", "C", "D", "E", "F"].map(<&DeviceId>::from);
    let mut first = Slide { device: devices[1], ..Slide::new(&world, &ada) };
    first.ask(&named("c0")).await;
    for device in devices {
        for index in 10..31 {
            world.clock.advance(1);
            let mut slide = Slide { device, ..Slide::new(&world, &ada) };
            slide.ask(&named(&format!("c{index}"))).await;
        }
    }
    let kept = rows(&world, &ada).await;
    let of = |device: &str| kept.iter().filter(|(other, _)| other == device).count();
    assert_eq!(devices.map(|device| of(device.as_str())), [0, 20, 20, 20, 20, 20]);
    assert!(!kept.contains(&("F".to_owned(), "c10".to_owned())), "the oldest goes");
    assert!(is_unknown(&first, &named("c0")).await, "at once");
    assert!(kept.contains(&("F".to_owned(), "c30".to_owned())));
}

const DAY: u64 = 24 * 60 * 60 * 1000;

#[tokio::test]
async fn a_connection_that_is_not_used_for_a_week_is_forgotten() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    world.shared_room(&[&ada]).await;
    let encryption = with(json!({"conn_id": "encryption"}), "e2ee", &json!({"enabled": true}));
    let mut stateless = Slide::new(&world, &ada);
    stateless.ask(&encryption).await;
    let (mut idle, mut busy) = (Slide::new(&world, &ada), Slide::new(&world, &ada));
    idle.ask(&named("idle")).await;
    busy.ask(&named("busy")).await;
    // Nothing to say, and used all the same.
    for _ in 0..4 {
        world.clock.advance(2 * DAY);
        assert!(!is_unknown(&busy, &named("busy")).await);
    }
    assert_eq!(rows(&world, &ada).await.len(), 2, "nobody has looked yet");
    assert!(is_unknown(&idle, &named("idle")).await);
    assert!(!is_unknown(&stateless, &encryption).await, "never");
    // A process begins with a sweep.
    let again = World::at(world.store.clone(), START + 14 * DAY).await;
    until_kept(&again, &ada, 1).await;
    assert_eq!(rows(&again, &ada).await, [("PHONE".to_owned(), "busy".to_owned())]);
    let busy = Slide { pos: busy.pos, ..Slide::new(&again, &ada) };
    assert!(!is_unknown(&busy, &named("busy")).await);
}

#[tokio::test]
async fn a_device_that_is_gone_takes_its_connections_along() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    world.shared_room(&[&ada]).await;
    let (mut phone, mut tablet) = (Slide::new(&world, &ada), Slide::elsewhere(&world, &ada));
    world.devices.ensure(&ada, Some(device_id!("TABLET")), None).await.expect("a device");
    phone.ask(&named("one")).await;
    tablet.ask(&named("one")).await;
    tablet.pos = None;
    tablet.ask(&named("two")).await;
    assert!(world.devices.delete(&ada, device_id!("TABLET")).await.expect("deleted"));
    until_kept(&world, &ada, 1).await;
    assert_eq!(rows(&world, &ada).await, [("PHONE".to_owned(), "one".to_owned())]);
    assert!(is_unknown(&tablet, &named("two")).await);
    assert!(!is_unknown(&phone, &named("one")).await);
}

#[tokio::test]
async fn a_room_that_leaves_a_list_by_its_tag_is_told_by_the_count() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    let tag = |tags: Value| json!({ "tags": tags });
    let mut body = body();
    body["lists"]["all"]["filters"] = json!({"tags": ["m.favourite"]});
    let mut slide = Slide::new(&world, &ada);
    let count = |answer: &Value| answer["lists"]["all"]["count"].clone();
    assert_eq!(count(&slide.ask(&body).await), 0);
    let favourite = tag(json!({"m.favourite": {}}));
    let set = world.account_data(&ada, Some(&id), "m.tag", &favourite);
    let (came, ()) = tokio::join!(slide.wait(&body), set);
    assert_eq!((count(&came), told(&came)), (json!(1), vec![id.as_str()]));
    let none = tag(json!({}));
    let unset = world.account_data(&ada, Some(&id), "m.tag", &none);
    let (went, ()) = tokio::join!(slide.wait(&body), unset);
    assert_eq!((count(&went), told(&went)), (json!(0), vec![]));
    // The same question has the same answer, and then there is nothing more to say.
    let before = Slide { pos: came["pos"].as_str().map(str::to_owned), ..Slide::new(&world, &ada) };
    assert_eq!(count(&before.try_ask(&body, Duration::from_secs(120)).await.expect("told")), 0);
    let quiet = slide.try_ask(&body, Duration::from_millis(50)).await.expect("an answer");
    assert_eq!(count(&quiet), 0);
}

#[tokio::test]
async fn a_second_request_ends_the_first() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&body()).await;
    let first = Slide { pos: slide.pos.clone(), ..Slide::new(&world, &ada) };
    let body = body();
    let waiting = first.try_ask(&body, Duration::from_secs(120));
    let second = async {
        // The first one is polled before this, so it waits already.
        let answer = slide.peek(&body).await;
        world.say(&id, &ada, "hello").await;
        answer
    };
    let (ended, _) = tokio::join!(waiting, second);
    let ended = ended.expect("an answer");
    assert_eq!((told(&ended).len(), ended["pos"].as_str()), (0, slide.pos.as_deref()));
    assert_eq!(bodies(room(&slide.ask(&body).await, &id)), ["hello"], "which lost nothing");
}

#[tokio::test]
async fn connections_do_not_disturb_each_other() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    let (mut one, mut other) = (Slide::new(&world, &ada), Slide::new(&world, &ada));
    one.ask(&named("one")).await;
    other.ask(&named("other")).await;
    world.say(&id, &ada, "hello").await;
    assert_eq!(bodies(room(&one.ask(&named("one")).await, &id)), ["hello"]);
    assert_eq!(bodies(room(&other.ask(&named("other")).await, &id)), ["hello"]);
}
