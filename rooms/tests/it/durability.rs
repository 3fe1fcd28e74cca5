//! Order among many writers, what a restart finds, and servers side by side.

use std::collections::BTreeSet;

use rooms::{Config, RoomEventFact, stream};
use storage::{EngineKind, Store};

use crate::world::{World, is_forbidden};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_make_one_chain() {
    let world = World::new();
    let ada = world.user("ada");
    let users: Vec<_> = (0..64).map(|number| world.user(&format!("user{number}"))).collect();
    let room = world.room(&ada, &users.iter().collect::<Vec<_>>()).await;
    let before = world.store.log().position();
    let sends = users.iter().map(|user| async {
        for number in 0..5 {
            world.send(user, &room, &format!("{number}")).await.expect("sends");
        }
    });
    futures_util::future::join_all(sends).await;

    let chain = world.chain(&room).await;
    let sent: Vec<_> = chain.iter().take(320).collect();
    assert!(sent.iter().all(|event| event.pdu.event_type() == "m.room.message"));
    for pair in sent.windows(2) {
        assert_eq!(pair[0].pdu.depth(), pair[1].pdu.depth() + 1);
        assert_eq!(pair[0].position, pair[1].position + 1);
    }
    let facts = world.store.facts(before, u64::MAX, 1000).await.unwrap();
    let announced = facts.iter().map(|fact| RoomEventFact::from_fact(&fact.fact).unwrap().event_id);
    let expected = sent.iter().rev().map(|event| event.event_id().clone());
    assert!(announced.eq(expected), "the log has the order of the chain");
    // Each user's own messages keep their order.
    for user in &users {
        let bodies: Vec<_> = sent
            .iter()
            .filter(|event| event.pdu.sender() == user)
            .map(|event| event.pdu.content_str().to_owned())
            .collect();
        assert!(bodies.is_sorted_by(|a, b| a > b));
    }
}

#[tokio::test]
async fn a_fact_is_never_ahead_of_its_room() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let mut follower = world.store.follow(world.store.log().position());
    for number in 0..50 {
        let send =
            world.set(&ada, &room, "org.example.counter", "", serde_json::json!({ "n": number }));
        let follow = async {
            let facts = follower.next().await.unwrap().unwrap();
            let fact = facts.iter().find(|fact| fact.fact.stream == stream::EVENT).unwrap();
            let id = RoomEventFact::from_fact(&fact.fact).unwrap().event_id;
            let view = world.rooms.room(&room).await.unwrap().unwrap();
            assert_eq!(view.position, fact.position);
            let event = world.rooms.state_get(view.state, "org.example.counter", "").await.unwrap();
            assert_eq!(event.unwrap().event_id(), &id);
        };
        let (sent, ()) = futures_util::future::join(send, follow).await;
        sent.unwrap();
    }
}

#[tokio::test]
async fn rooms_that_fell_out_of_memory_go_on() {
    let store = Store::open(&storage::Config::memory(), 1).unwrap();
    let config = Config {
        cached_rooms: 16,
        event_cache_bytes: 4096,
        state_cache_bytes: 4096,
        ..Config::default()
    };
    let world = World::on("one.test", store, config);
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let mut rooms = Vec::new();
    for _ in 0..60 {
        rooms.push(world.room(&ada, &[&bob]).await);
    }
    let all: BTreeSet<_> = rooms.iter().collect();
    assert_eq!(all.len(), 60);
    for round in 0..3 {
        for room in &rooms {
            world.send(&bob, room, &format!("{round}")).await.unwrap();
        }
    }
    for room in &rooms {
        let chain = world.chain(room).await;
        let sent = chain.iter().filter(|event| event.pdu.event_type() == "m.room.message");
        assert_eq!(sent.count(), 3);
        let view = world.rooms.room(room).await.unwrap().unwrap();
        assert_eq!(view.joined_members, 2);
        assert_eq!(*view.local_joined, BTreeSet::from([ada.clone(), bob.clone()]));
    }
}

#[tokio::test]
async fn a_restart_finds_everything() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    for number in 0..30 {
        world.send(&bob, &room, &format!("{number}")).await.unwrap();
    }
    let before = world.chain(&room).await;
    let later = world.reopened();
    let after = later.chain(&room).await;
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(a, b)| a.pdu.json() == b.pdu.json()
        && a.state_before == b.state_before
        && a.position == b.position));
    later.send(&bob, &room, "and on").await.unwrap();
    assert_eq!(later.chain(&room).await.len(), before.len() + 1);
    assert_eq!(later.rooms.rooms_of(&bob).await.unwrap().len(), 1);
}

#[tokio::test]
async fn three_servers_in_one_process_do_not_know_of_one_another() {
    let worlds = ["one.test", "two.test", "three.test"].map(World::named);
    let mut rooms = Vec::new();
    for world in &worlds {
        let ada = world.user("ada");
        rooms.push(world.room(&ada, &[]).await);
        world.send(&ada, rooms.last().unwrap(), "mine").await.unwrap();
    }
    for (world, other) in worlds.iter().zip(rooms.iter().cycle().skip(1)) {
        assert!(world.rooms.room(other).await.unwrap().is_none());
        assert!(is_forbidden(world.send(&world.user("ada"), other, "not mine").await));
    }
}

#[tokio::test]
async fn a_transaction_id_counts_after_the_store_was_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || storage::Config {
        ballast_bytes: 0,
        low_water_bytes: 0,
        ..storage::Config::at(EngineKind::Fjall, folder.path().to_owned())
    };
    let open = || {
        let store = Store::open(&config(), 1).expect("opens");
        World::on("one.test", store, Config::default())
    };
    let world = open();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let sends = (0..64).map(|number| {
        let (world, ada, room) = (&world, &ada, &room);
        async move { world.send_with(ada, room, "x", "PHONE", &format!("t{number}")).await }
    });
    let sent = futures_util::future::try_join_all(sends).await.unwrap();
    world.store.close();
    drop(world);

    let world = open();
    for (number, id) in sent.iter().enumerate() {
        let again = world.send_with(&ada, &room, "y", "PHONE", &format!("t{number}")).await;
        assert_eq!(again.as_ref().unwrap(), id);
    }
    assert_eq!(world.chain(&room).await.len(), 5 + 64);
    world.send(&ada, &room, "on").await.unwrap();
    assert_eq!(world.chain(&room).await.len(), 5 + 65);
    world.store.close();
}
