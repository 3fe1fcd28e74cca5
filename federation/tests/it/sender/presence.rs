//! Presence: the latest state of each, gathered, to those who share a room, for as long as it lasts.

use std::{collections::BTreeMap, time::Duration};

use ruma::presence::PresenceState as P;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    wire::{Mood, Wire},
    world::{PEER, World, hasty, new_room, user},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Every state that a peer was told, with its time.
fn told(wire: &Wire, server: &str) -> Vec<(Instant, Value)> {
    let mut states = Vec::new();
    for one in wire.taken(server) {
        for content in one.edus_of("m.presence") {
            let push = content["push"].as_array().expect("a list of states");
            assert!((1..=50).contains(&push.len()), "{}", push.len());
            states.extend(push.iter().map(|state| (one.at, state.clone())));
        }
    }
    states
}

/// What a peer holds for true.
fn believed(wire: &Wire, server: &str) -> BTreeMap<String, String> {
    let states = told(wire, server).into_iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    states.map(|(_, state)| (text(&state["user_id"]), text(&state["presence"]))).collect()
}

async fn until_believed(wire: &Wire, server: &str, user: &str, state: &str) {
    let is_so = |wire: &Wire| believed(wire, server).get(user).is_some_and(|now| now == state);
    wire.until(&format!("{server} knows {user} to be {state}"), is_so).await;
}

#[tokio::test]
async fn states_go_to_those_who_share_a_room() {
    let world = World::with_peer(hasty()).await;
    // Known here, and in a room without ada.
    let bob = user("bob", "us.test");
    let other = new_room(&world.rooms, &bob).await;
    world.come_as(&user("olga", "other.test"), &other, "join").await;
    world.be(&world.ada, P::Online, Some("here")).await;
    until_believed(&world.wire, PEER, world.ada.as_str(), "online").await;
    world.be(&bob, P::Online, None).await;
    until_believed(&world.wire, "other.test", bob.as_str(), "online").await;
    let known = |server| believed(&world.wire, server).into_keys().collect::<Vec<_>>();
    assert_eq!(known(PEER), [world.ada.to_string()]);
    assert_eq!(known("other.test"), [bob.to_string()]);
    let (_, state) = &told(&world.wire, PEER)[0];
    assert_eq!(state["status_msg"], "here");
    assert_eq!(state["currently_active"], true);
    assert!(state["last_active_ago"].is_u64());
}

#[tokio::test]
async fn who_comes_is_told_who_is_there() {
    let world = World::with_peer(hasty()).await;
    let locals = world.locals(3).await;
    world.be(&world.ada, P::Online, None).await;
    world.be(&locals[0], P::Unavailable, None).await;
    world.come("new.test").await;
    until_believed(&world.wire, "new.test", world.ada.as_str(), "online").await;
    until_believed(&world.wire, "new.test", locals[0].as_str(), "unavailable").await;
    assert_eq!(believed(&world.wire, "new.test").len(), 2, "who is offline is not told of");

    // One of ours who comes is told of to those who are there.
    let bob = user("bob", "us.test");
    world.be(&bob, P::Online, None).await;
    world.join(&bob, &world.room).await;
    until_believed(&world.wire, PEER, bob.as_str(), "online").await;
}

#[tokio::test]
async fn a_thousand_who_flap_cost_a_few_notices() {
    const USERS: usize = 1000;
    let world = World::with_peer(hasty()).await;
    let locals = world.locals(USERS).await;
    world
        .wire
        .until("they are known", |wire| {
            wire.taken(PEER).iter().map(|one| one.pdus().len()).sum::<usize>() >= USERS
        })
        .await;
    world.wire.forget();
    for round in 0..20 {
        let state = if round % 2 == 0 { P::Online } else { P::Unavailable };
        for local in &locals {
            world.be(local, state.clone(), None).await;
        }
    }
    world.stop_the_clock().await;
    world.wire.pass(30 * SECOND).await;
    let states = believed(&world.wire, PEER);
    assert_eq!(states.len(), USERS);
    assert!(states.values().all(|state| state == "unavailable"));
    let taken = world.wire.taken(PEER);
    let edus: usize = taken.iter().map(|one| one.edus().len()).sum();
    let bytes: usize = taken.iter().map(|one| one.raw.len()).sum();
    println!("{} transactions, {edus} EDUs, {bytes} bytes", taken.len());
    // 20,000 changes. One notice of who came first, the rest gathered; twice that, if it took long.
    assert!(taken.len() <= 8 && edus <= 50 && bytes <= 400_000, "{edus} EDUs, {bytes} bytes");
}

#[tokio::test]
async fn states_wait_for_their_interval_unless_an_event_goes_anyway() {
    let world = World::with_peer(hasty()).await;
    world.be(&world.ada, P::Online, None).await;
    until_believed(&world.wire, PEER, world.ada.as_str(), "online").await;
    let first = told(&world.wire, PEER)[0].0;
    world.be(&world.ada, P::Unavailable, None).await;
    world.say("a").await;
    until_believed(&world.wire, PEER, world.ada.as_str(), "unavailable").await;
    let with_event = told(&world.wire, PEER)[1].0;
    assert!(with_event - first < 10 * SECOND);
    world.wire.until_texts(PEER, &["a".to_owned()]).await;
    world.be(&world.ada, P::Online, None).await;
    world.stop_the_clock().await;
    until_believed(&world.wire, PEER, world.ada.as_str(), "online").await;
    let later = told(&world.wire, PEER)[2].0;
    assert!(later - with_event >= 9 * SECOND, "{:?}", later - with_event);
}

#[tokio::test]
async fn who_stays_is_told_of_again_before_others_take_them_for_gone() {
    let world = World::with_peer(hasty()).await;
    world.be(&world.ada, P::Online, None).await;
    let bob = &world.locals(1).await[0];
    world.be(bob, P::Online, None).await;
    world.be(bob, P::Offline, None).await;
    until_believed(&world.wire, PEER, world.ada.as_str(), "online").await;
    world.stop_the_clock().await;
    // The device is kept alive by an open sync.
    let _sync = world.presence.syncing(&world.ada, "DEVICE".into(), &P::Online).await;
    until_believed(&world.wire, PEER, bob.as_str(), "offline").await;
    let begin = Instant::now();
    world.wire.pass(100 * MINUTE).await;
    let told = told(&world.wire, PEER);
    let later = told.iter().filter(|(at, _)| *at > begin + MINUTE);
    let (ada, others): (Vec<_>, Vec<_>) =
        later.partition(|(_, state)| state["user_id"] == world.ada.as_str());
    assert!(others.is_empty(), "who is gone is not told of again: {others:?}");
    let times: Vec<_> = std::iter::once(begin).chain(ada.iter().map(|(at, _)| *at)).collect();
    assert!(times.windows(2).all(|two| two[1] - two[0] < 30 * MINUTE), "{times:?}");
    assert!((3..=5).contains(&ada.len()), "{}", ada.len());
}

#[tokio::test]
async fn after_an_outage_the_peer_learns_what_became_of_everybody() {
    let config =
        federation::Config { retry_min: 100 * SECOND, retry_max: 1000 * SECOND, ..hasty() };
    let world = World::with_peer(config).await;
    world.be(&world.ada, P::Online, None).await;
    until_believed(&world.wire, PEER, world.ada.as_str(), "online").await;
    world.wire.set(PEER, Mood::Down);
    world.say("a").await;
    world.wire.until("it was tried", |wire| wire.tries(PEER).iter().any(|one| !one.taken)).await;
    world.be(&world.ada, P::Offline, None).await;
    world.stop_the_clock().await;
    world.wire.pass(20 * MINUTE).await;
    world.wire.set(PEER, Mood::Well);
    let begin = Instant::now();
    world.hear_from(PEER);
    until_believed(&world.wire, PEER, world.ada.as_str(), "offline").await;
    assert!(begin.elapsed() < 2 * MINUTE, "{:?}", begin.elapsed());
}
