//! Gateways that are gone, slow, or want no more; and a process that ends in between.

use std::time::Duration;

use push::Config;
use ruma::push::{Action, NewPatternedPushRule, NewPushRule, Ruleset, SoundTweakValue, Tweak};

use crate::{
    gateway::{Mood, event_ids},
    world::{World, config, pusher_at},
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

#[tokio::test]
async fn a_gateway_that_was_gone_gets_everything_once_and_in_order() {
    for mood in [Mood::Fails, Mood::Absent] {
        let world = World::new().await;
        let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
        let room = world.shared_room(&[&ada, &ben]).await;
        world.gateway.becomes("push.example", mood);
        let mut said = Vec::new();
        for text in ["one", "two", "three"] {
            said.push(world.say(&room, &ada, text).await);
        }
        world.gateway.is_tried(3).await;
        assert!(world.gateway.taken().is_empty(), "{mood:?}");
        world.gateway.becomes("push.example", Mood::Takes);
        said.push(world.say(&room, &ada, "four").await);
        let taken = world.gateway.takes(4).await;
        assert_eq!(event_ids(&taken), said, "{mood:?}");
    }
}

#[tokio::test]
async fn a_restart_loses_none_and_repeats_none() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.say(&room, &ada, "told").await;
    world.gateway.takes(1).await;
    world.gateway.becomes("push.example", Mood::Fails);
    let mut said = vec![world.say(&room, &ada, "one").await, world.say(&room, &ada, "two").await];
    world.gateway.is_tried(1).await;
    let world = world.restart().await;
    said.push(world.say(&room, &ada, "three").await);
    world.gateway.becomes("push.example", Mood::Takes);
    let taken = world.gateway.takes(3).await;
    assert_eq!(event_ids(&taken), said);
    let world = world.restart().await;
    let last = world.say(&room, &ada, "four").await;
    assert_eq!(event_ids(&world.gateway.takes(1).await), [last.as_str()]);
}

#[tokio::test]
async fn a_rejected_key_ends_the_pusher_and_no_other() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    world.set(&ben, pusher_at("other.example", "other")).await;
    let room = world.shared_room(&[&ada, &ben]).await;
    world.gateway.becomes("push.example", Mood::Rejects);
    world.say(&room, &ada, "one").await;
    world.gateway.takes(1).await;
    while world.pushers(&ben).await > 1 {
        tokio::task::yield_now().await;
    }
    world.gateway.becomes("push.example", Mood::Takes);
    world.say(&room, &ada, "two").await;
    world.say(&room, &ada, "three").await;
    let taken = world.gateway.takes(2).await;
    assert!(taken.iter().all(|one| one["devices"][0]["pushkey"] == "other"), "{taken:?}");
    let world = world.restart().await;
    assert_eq!(world.pushers(&ben).await, 1);
}

#[tokio::test]
async fn a_gateway_that_hangs_keeps_nobody_else() {
    let world = World::with(Config { in_flight: 1, ..config() }).await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let cid = world.user("cid").await;
    world.set(&cid, pusher_at("other.example", "cid")).await;
    world.gateway.becomes("push.example", Mood::Hangs);
    let room = world.shared_room(&[&ada, &ben, &cid]).await;
    for text in ["one", "two", "three"] {
        world.say(&room, &ada, text).await;
    }
    let taken = world.gateway.takes(3).await;
    assert!(taken.iter().all(|one| one["devices"][0]["pushkey"] == "cid"), "{taken:?}");
}

#[tokio::test]
async fn what_fails_for_a_day_is_given_up_where_the_operator_sees_it() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.gateway.becomes("push.example", Mood::Fails);
    let lost = world.say(&room, &ada, "lost").await;
    world.gateway.is_tried(2).await;
    assert!(world.push.dead_letters(10).await.expect("readable").is_empty());
    world.clock.advance(DAY_MS);
    let kept = world.say(&room, &ada, "kept").await;
    let dead = loop {
        let dead = world.push.dead_letters(10).await.expect("readable");
        if !dead.is_empty() {
            break dead;
        }
        tokio::task::yield_now().await;
    };
    let [(_, letter)] = dead.as_slice() else { panic!("{dead:?}") };
    assert_eq!(letter.event_id.as_ref(), Some(&lost));
    assert_eq!(letter.user_id, ben.user_id);
    assert_eq!((&*letter.gateway, &*letter.reason), ("push.example", "status 502"));
    world.gateway.becomes("push.example", Mood::Takes);
    assert_eq!(event_ids(&world.gateway.takes(1).await), [kept.as_str()]);
}

#[tokio::test]
async fn rules_that_take_long_keep_nobody_else_and_count_all_the_same() {
    let world = World::new().await;
    let (ada, ben, eve) =
        (world.user("ada").await, world.pushed("ben").await, world.pushed("eve").await);
    let change = |rules: &mut Ruleset| {
        for number in 0..100 {
            let (id, pattern) = (format!("slow{number}"), format!("{}z", "*a?".repeat(20)));
            let rule = NewPatternedPushRule::new(id, pattern, Vec::new());
            rules.insert(NewPushRule::Content(rule), None, None)?;
        }
        let rule = NewPatternedPushRule::new("found".to_owned(), "needle".to_owned(), loud());
        rules.insert(NewPushRule::Content(rule), None, None)
    };
    world.accounts.change_push_rules(&eve.user_id, change).await.expect("good rules");
    let room = world.shared_room(&[&ada, &ben, &eve]).await;
    let event = world.say(&room, &ada, &format!("{}needle", "ab ".repeat(10_000))).await;
    let taken = world.gateway.takes(2).await;
    let of = |key: &str| {
        let taken = taken.iter().find(|one| one["devices"][0]["pushkey"] == key);
        let taken = taken.expect("a notification");
        (taken["event_id"].as_str(), taken["devices"][0]["tweaks"]["sound"].as_str())
    };
    assert_eq!(of("ben"), (Some(event.as_str()), None));
    assert_eq!(of("eve"), (Some(event.as_str()), Some("default")));
}

fn loud() -> Vec<Action> {
    vec![Action::Notify, Action::SetTweak(Tweak::Sound(SoundTweakValue::Default))]
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let world = World::with(Config { waiting_max: 3, ..config() }).await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.gateway.becomes("push.example", Mood::Fails);
    let mut said = Vec::new();
    for text in ["one", "two", "three", "four", "five"] {
        said.push(world.say(&room, &ada, text).await);
    }
    while world.push.dead_letters(10).await.expect("readable").len() < 2 {
        tokio::task::yield_now().await;
    }
    world.gateway.becomes("push.example", Mood::Takes);
    assert_eq!(event_ids(&world.gateway.takes(3).await), said[2..]);
}

#[tokio::test]
async fn the_pauses_grow_until_the_gateway_is_back_for_somebody() {
    // Long enough that only the other pusher's success can end it within the test's patience.
    let hour = Duration::from_secs(60 * 60);
    let world = World::with(Config { retry_min: hour, retry_max: hour, ..config() }).await;
    let (ada, ben) = (world.user("ada").await, world.pushed("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.gateway.becomes("push.example", Mood::Absent);
    let first = world.say(&room, &ada, "one").await;
    world.gateway.has_been_tried(1).await;
    world.gateway.becomes("push.example", Mood::Takes);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    let cid = world.pushed("cid").await;
    world.join(&room, &cid.user_id).await;
    let second = world.say(&room, &ada, "two").await;
    let taken = world.gateway.takes(3).await;
    let of = |key: &str| {
        let of_key = taken.iter().filter(|one| one["devices"][0]["pushkey"] == key);
        of_key.map(|one| one["event_id"].as_str().expect("an id")).collect::<Vec<_>>()
    };
    assert_eq!(of("ben"), [first.as_str(), second.as_str()]);
    assert_eq!(of("cid"), [second.as_str()]);
}
