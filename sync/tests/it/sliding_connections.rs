//! What a `pos` stands for, whose it is, and how connections end.

use std::time::Duration;

use ruma::device_id;
use serde_json::{Value, json};
use storage::Store;
use sync::SyncError;

use crate::{
    slide::{Slide, all, bodies, room, told, with},
    world::World,
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

#[tokio::test]
async fn a_user_has_a_bounded_number_of_connections() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    world.shared_room(&[&ada]).await;
    let mut first = Slide::new(&world, &ada);
    first.ask(&named("first")).await;
    for index in 0..50 {
        world.clock.advance(1);
        Slide::new(&world, &ada).ask(&named(&format!("c{index}"))).await;
    }
    // What is in memory is not asked for after a restart.
    let again = World::on(world.store.clone()).await;
    let first = Slide { pos: first.pos, ..Slide::new(&again, &ada) };
    assert!(is_unknown(&first, &named("first")).await);
    let last = Slide { pos: None, ..Slide::new(&again, &ada) };
    assert!(!is_unknown(&last, &named("c49")).await);
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
