//! Relations of events: paging, bundles, threads.

use rooms::{Error, NewEvent, RelationsQuery};
use ruma::{OwnedEventId, RoomId, UserId, api::Direction};
use serde_json::{Value, json, value::to_raw_value};

use crate::world::{START, World, new_event};

const ALL: RelationsQuery<'static> = RelationsQuery {
    rel_type: None,
    event_type: None,
    from: None,
    to: None,
    dir: Direction::Backward,
    limit: 100,
    recurse: false,
};

async fn relate(
    world: &World,
    user: &UserId,
    room: &RoomId,
    rel_type: &str,
    parent: &OwnedEventId,
    at: u64,
) -> OwnedEventId {
    let content = json!({
        "body": "* new",
        "m.new_content": { "body": "new" },
        "m.relates_to": { "rel_type": rel_type, "event_id": parent, "key": at.to_string() },
    });
    let content = to_raw_value(&content).unwrap();
    let kind = if rel_type == "m.annotation" { "m.reaction" } else { "m.room.message" };
    let event = new_event(user, room, kind, None, &content);
    world.rooms.send(NewEvent { timestamp: Some(START + at), ..event }).await.expect("sends")
}

async fn bundle(world: &World, viewer: &UserId, room: &RoomId, event: &OwnedEventId) -> Value {
    let event = world.rooms.event_by_id(event).await.unwrap().expect("is stored");
    let bundles =
        world.rooms.aggregations(viewer, room, std::slice::from_ref(&event)).await.unwrap();
    match bundles.get(event.event_id()) {
        Some(json) => serde_json::from_slice(json).expect("JSON"),
        None => Value::Null,
    }
}

async fn related(
    world: &World,
    viewer: &UserId,
    room: &RoomId,
    event: &OwnedEventId,
    query: RelationsQuery<'_>,
) -> Vec<OwnedEventId> {
    let page = world.rooms.relations(viewer, room, event, query).await.expect("reads");
    page.chunk.iter().map(|event| event.event_id().clone()).collect()
}

#[tokio::test]
async fn pages_of_relations_are_all_of_them_once() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[]).await;
    let parent = world.send(&ada, &room, "parent").await.unwrap();
    let mut children = Vec::new();
    for number in 0..250 {
        let rel_type = if number % 2 == 0 { "m.annotation" } else { "m.reference" };
        children.push(relate(&world, &ada, &room, rel_type, &parent, number).await);
    }
    let newest_first: Vec<_> = children.iter().rev().cloned().collect();
    for (dir, expected) in [(Direction::Backward, &newest_first), (Direction::Forward, &children)] {
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let query = RelationsQuery { from: from.as_deref(), dir, limit: 60, ..ALL };
            let page = world.rooms.relations(&ada, &room, &parent, query).await.unwrap();
            assert!(page.chunk.len() <= 60);
            assert_eq!(page.prev_batch, from);
            found.extend(page.chunk.iter().map(|event| event.event_id().clone()));
            match page.next_batch {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        assert_eq!(&found, expected);
    }
    let references = RelationsQuery { rel_type: Some("m.reference"), limit: 1000, ..ALL };
    assert_eq!(related(&world, &ada, &room, &parent, references).await.len(), 125);
    let reactions = RelationsQuery { event_type: Some("m.reaction"), limit: 1000, ..ALL };
    assert_eq!(related(&world, &ada, &room, &parent, reactions).await.len(), 125);
    let stranger = world.rooms.relations(&bob, &room, &parent, ALL).await;
    assert!(matches!(stranger, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn recursion_finds_children_of_children() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let root = world.send(&ada, &room, "root").await.unwrap();
    let mut chain = vec![root.clone()];
    for number in 0..5 {
        let parent = chain.last().unwrap().clone();
        chain.push(relate(&world, &ada, &room, "m.reference", &parent, number).await);
    }
    let forward = RelationsQuery { dir: Direction::Forward, ..ALL };
    assert_eq!(related(&world, &ada, &room, &root, forward).await, chain[1..=1]);
    let deep = RelationsQuery { recurse: true, ..forward };
    assert_eq!(related(&world, &ada, &room, &root, deep).await, chain[1..=3]);
    let page = world.rooms.relations(&ada, &room, &root, deep).await.unwrap();
    assert_eq!((page.recursion_depth, page.next_batch), (Some(3), None));
    let first = RelationsQuery { limit: 1, ..deep };
    let page = world.rooms.relations(&ada, &room, &root, first).await.unwrap();
    let rest = RelationsQuery { from: page.next_batch.as_deref(), ..deep };
    assert_eq!(related(&world, &ada, &room, &root, rest).await, chain[2..=3]);
}

#[tokio::test]
async fn the_newest_valid_edit_is_bundled() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let original = world.send(&ada, &room, "old").await.unwrap();
    assert_eq!(bundle(&world, &bob, &room, &original).await, Value::Null);
    let newest = relate(&world, &ada, &room, "m.replace", &original, 9000).await;
    let older = relate(&world, &ada, &room, "m.replace", &original, 5000).await;
    relate(&world, &bob, &room, "m.replace", &original, 9999).await;
    // Without `m.new_content` it replaces nothing.
    let relation = json!({ "rel_type": "m.replace", "event_id": original });
    let empty = to_raw_value(&json!({ "body": "x", "m.relates_to": relation })).unwrap();
    let event = new_event(&ada, &room, "m.room.message", None, &empty);
    world.rooms.send(NewEvent { timestamp: Some(START + 99_999), ..event }).await.unwrap();
    let replaced = |bundle: &Value| bundle["m.replace"]["event_id"].clone();
    let bundled = bundle(&world, &bob, &room, &original).await;
    assert_eq!(replaced(&bundled), newest.as_str());
    assert_eq!(bundled["m.replace"]["content"]["m.new_content"]["body"], "new");
    assert_eq!(bundled["m.replace"]["sender"], ada.as_str());
    // "it removes that edit revision"
    world.redact(&ada, &room, &newest).await.unwrap();
    assert_eq!(replaced(&bundle(&world, &bob, &room, &original).await), older.as_str());
    // The edit of an edit is none.
    let nested = relate(&world, &ada, &room, "m.replace", &older, 9500).await;
    assert_eq!(bundle(&world, &bob, &room, &older).await, Value::Null);
    assert_ne!(replaced(&bundle(&world, &bob, &room, &original).await), nested.as_str());
    world.redact(&ada, &room, &original).await.unwrap();
    assert_eq!(bundle(&world, &bob, &room, &original).await, Value::Null);
    // The same from the disk.
    let reopened = world.reopened();
    assert_eq!(bundle(&reopened, &bob, &room, &original).await, Value::Null);
}

#[tokio::test]
async fn references_and_threads_are_summarised() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob, &eve]).await;
    let root = world.send(&ada, &room, "root").await.unwrap();
    let reference = relate(&world, &eve, &room, "m.reference", &root, 1).await;
    relate(&world, &bob, &room, "m.thread", &root, 2).await;
    let last = relate(&world, &bob, &room, "m.thread", &root, 3).await;
    let edit = relate(&world, &bob, &room, "m.replace", &last, 4).await;
    let bundled = bundle(&world, &eve, &room, &root).await;
    assert_eq!(bundled["m.reference"]["chunk"], json!([{ "event_id": reference }]));
    let thread = &bundled["m.thread"];
    assert_eq!(
        (&thread["count"], &thread["current_user_participated"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(thread["latest_event"]["event_id"], last.as_str());
    let below = &thread["latest_event"]["unsigned"]["m.relations"];
    assert_eq!(below["m.replace"]["event_id"], edit.as_str());
    for participant in [&ada, &bob] {
        let bundled = bundle(&world, participant, &room, &root).await;
        assert_eq!(bundled["m.thread"]["current_user_participated"], true);
    }
    world.redact(&bob, &room, &last).await.unwrap();
    let bundled = bundle(&world, &eve, &room, &root).await;
    assert_eq!(bundled["m.thread"]["count"], 1);
    assert_ne!(bundled["m.thread"]["latest_event"]["event_id"], last.as_str());
}

#[tokio::test]
async fn who_left_is_bundled_nothing_newer() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let original = world.send(&ada, &room, "old").await.unwrap();
    let seen = relate(&world, &ada, &room, "m.replace", &original, 10).await;
    world.rooms.leave(&room, &bob, None).await.unwrap();
    let hidden = relate(&world, &ada, &room, "m.replace", &original, 20).await;
    let bundled = bundle(&world, &bob, &room, &original).await;
    assert_eq!(bundled["m.replace"]["event_id"], seen.as_str());
    let bundled = bundle(&world, &ada, &room, &original).await;
    assert_eq!(bundled["m.replace"]["event_id"], hidden.as_str());
}

#[tokio::test]
async fn threads_come_by_their_newest_reply() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let mut roots = Vec::new();
    for number in 0..5 {
        roots.push(world.send(&ada, &room, &number.to_string()).await.unwrap());
    }
    for number in [0, 1, 2, 3, 4, 1, 1, 3] {
        let sender = if number == 2 { &bob } else { &ada };
        relate(&world, sender, &room, "m.thread", &roots[number], 1).await;
    }
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let (page, next) =
            world.rooms.threads(&bob, &room, false, from.as_deref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        found.extend(page.iter().map(|root| root.event_id().clone()));
        match next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let expected: Vec<_> = [3, 1, 4, 2, 0].map(|number: usize| roots[number].clone()).into();
    assert_eq!(found, expected);
    let (own, _) = world.rooms.threads(&bob, &room, true, None, 10).await.unwrap();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].event_id(), &roots[2]);
}

#[tokio::test]
async fn what_clients_should_not_relate_is_refused() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let root = world.send(&ada, &room, "root").await.unwrap();
    let reply = relate(&world, &ada, &room, "m.thread", &root, 1).await;
    let send = |user: &UserId, rel_type: &str, parent: &OwnedEventId, key: &str| {
        let relation = json!({ "rel_type": rel_type, "event_id": parent, "key": key });
        let content = to_raw_value(&json!({ "m.relates_to": relation })).unwrap();
        let (world, room, user) = (&world, &room, user.to_owned());
        async move { world.rooms.send(new_event(&user, room, "m.reaction", None, &content)).await }
    };
    let nested = send(&ada, "m.thread", &reply, "").await;
    assert!(matches!(nested, Err(Error::BadRelation(_))));
    let first = send(&ada, "m.annotation", &root, "+1").await.unwrap();
    let count = world.chain(&room).await.len();
    let again = send(&ada, "m.annotation", &root, "+1").await;
    assert!(matches!(again, Err(Error::DuplicateAnnotation)));
    assert_eq!(world.chain(&room).await.len(), count, "nothing is left behind");
    for (user, parent, key) in [(&bob, &root, "+1"), (&ada, &root, "-1"), (&ada, &reply, "+1")] {
        send(user, "m.annotation", parent, key).await.unwrap();
    }
    world.redact(&ada, &room, &first).await.unwrap();
    send(&ada, "m.annotation", &root, "+1").await.unwrap();
}
