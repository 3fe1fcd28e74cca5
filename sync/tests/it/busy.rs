//! Many writers at once on several threads: whoever listens misses nothing and gets nothing twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ruma::{OwnedRoomId, OwnedUserId, device_id};
use serde_json::Value;
use tokio::time::timeout;

use crate::world::{Ask, World, bodies, joined, token_of};

const WRITERS: usize = 8;
const EACH: usize = 40;
const LIMIT: &str = r#"{"room":{"timeline":{"limit":500}}}"#;

/// What a listener was told, by room.
type Told = BTreeMap<OwnedRoomId, Vec<String>>;

fn take(told: &mut Told, rooms: &[OwnedRoomId], answer: &Value) {
    for room in rooms {
        let bodies = bodies(joined(answer, room)).into_iter().map(str::to_owned);
        told.entry(room.clone()).or_default().extend(bodies);
    }
}

fn is_complete(told: &Told) -> bool {
    told.values().map(Vec::len).sum::<usize>() >= WRITERS * EACH
}

async fn write(world: Arc<World>, rooms: Vec<OwnedRoomId>, user: OwnedUserId, writer: usize) {
    for number in 0..EACH {
        let room = &rooms[(writer + number) % rooms.len()];
        world.say(room, &user, &format!("{writer} {number}")).await;
    }
}

async fn poll(world: &World, user: &OwnedUserId, rooms: &[OwnedRoomId], since: String) -> Told {
    let (mut told, mut since) = (Told::new(), since);
    let ask = Ask { timeout: Duration::from_secs(20), ..Ask::filtered(LIMIT) };
    while !is_complete(&told) {
        let answer = world.ask(user, Some(&since), &ask).await;
        take(&mut told, rooms, &answer);
        since = token_of(&answer);
    }
    told
}

async fn listen(world: &World, user: &OwnedUserId, rooms: &[OwnedRoomId], since: &str) -> Told {
    let mut params = world.params(Some(since));
    params.filter = Arc::new(sync::Filter::parse(LIMIT).expect("valid"));
    let connection = world.sync.connection(user, device_id!("PHONE"), params).await;
    let (mut connection, mut told) = (connection.expect("it opens"), Told::new());
    while !is_complete(&told) {
        let batch = connection.next().await.expect("a batch");
        take(&mut told, rooms, &serde_json::from_slice(&batch.body).expect("JSON"));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_missed_and_nothing_comes_twice() {
    let world = Arc::new(World::new().await);
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let cay = world.user("cay").await;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(world.shared_room(&[&ada, &ben, &cay]).await);
    }
    let (for_ben, for_cay) = (world.token(&ben).await, world.token(&cay).await);
    for writer in 0..WRITERS {
        let task = write(Arc::clone(&world), rooms.clone(), ada.clone(), writer);
        world.tasks.spawn("writer", task);
    }
    let both = async {
        tokio::join!(poll(&world, &ben, &rooms, for_ben), listen(&world, &cay, &rooms, &for_cay))
    };
    let (of_ben, of_cay) = timeout(Duration::from_secs(60), both).await.expect("all arrives");
    assert_eq!(of_ben, of_cay);
    let mut all: Vec<_> = of_ben.values().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), WRITERS * EACH);
}

/// Each message is answered with another: whoever was just answered finds what they wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_is_there_at_once() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let room = world.shared_room(&[&ada]).await;
    let mut since = world.token(&ada).await;
    for number in 0..200 {
        let body = number.to_string();
        world.say(&room, &ada, &body).await;
        let answer = world.next(&ada, &since).await;
        assert_eq!(bodies(joined(&answer, &room)), [body]);
        since = token_of(&answer);
    }
}
