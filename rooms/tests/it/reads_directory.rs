//! Aliases, the published directory, and spaces.

use rooms::{
    CreateRoom, Error, HierarchyQuery, InitialState, Preset, PublicRoomsPage, PublicRoomsQuery,
    RoomSummary,
};
use ruma::{OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};
use serde_json::{Value, json, value::to_raw_value};

use crate::world::{World, is_forbidden};

async fn listed(world: &World, query: PublicRoomsQuery<'_>) -> PublicRoomsPage {
    world.rooms.public_rooms(query).await.expect("reads")
}

fn ids(page: &PublicRoomsPage) -> Vec<OwnedRoomId> {
    page.chunk.iter().map(|room| room.room_id.clone()).collect()
}

#[tokio::test]
async fn of_many_who_want_an_alias_one_gets_it() {
    let world = World::new();
    let ada = world.user("ada");
    let mut rooms = Vec::new();
    for _ in 0..64 {
        rooms.push(world.room(&ada, &[]).await);
    }
    let alias = RoomAliasId::parse("#here:one.test").unwrap();
    let racing = rooms.iter().map(|room| world.rooms.create_alias(&ada, &alias, room));
    let outcomes = futures_util::future::join_all(racing).await;
    let winners: Vec<_> =
        outcomes.iter().zip(&rooms).filter(|(outcome, _)| outcome.is_ok()).collect();
    assert_eq!(winners.len(), 1);
    let lost = outcomes.iter().filter(|outcome| matches!(outcome, Err(Error::RoomInUse)));
    assert_eq!(lost.count(), 63);
    let winner = winners[0].1;
    assert_eq!(world.rooms.resolve_alias(&alias).await.unwrap().as_ref(), Some(winner));
    assert_eq!(world.rooms.aliases_of(&ada, winner).await.unwrap(), [alias]);
}

#[tokio::test]
async fn a_deleted_alias_leaves_the_canonical_aliases() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let [main, other] =
        ["#main:one.test", "#other:one.test"].map(|a| RoomAliasId::parse(a).unwrap());
    for alias in [&main, &other] {
        world.rooms.create_alias(&ada, alias, &room).await.unwrap();
    }
    let content = json!({ "alias": main, "alt_aliases": [other] });
    world.set(&ada, &room, "m.room.canonical_alias", "", content).await.unwrap();
    assert!(is_forbidden(world.rooms.delete_alias(&bob, &main).await));
    world.rooms.delete_alias(&ada, &main).await.unwrap();
    assert_eq!(world.rooms.resolve_alias(&main).await.unwrap(), None);
    let current = world.current(&room, "m.room.canonical_alias", "").await.unwrap();
    assert_eq!(current, json!({ "alt_aliases": [other] }));
    assert!(matches!(world.rooms.delete_alias(&ada, &main).await, Err(Error::NotFound(_))));
    assert_eq!(world.rooms.aliases_of(&bob, &room).await.unwrap(), [other]);
    let (eve, foreign) = (world.user("eve"), RoomAliasId::parse("#a:two.test").unwrap());
    assert!(is_forbidden(world.rooms.aliases_of(&eve, &room).await));
    assert!(is_forbidden(world.rooms.create_alias(&eve, &main, &room).await));
    let elsewhere = world.rooms.create_alias(&ada, &foreign, &room).await;
    assert!(matches!(elsewhere, Err(Error::InvalidParam(_))));
}

#[tokio::test]
async fn the_largest_rooms_come_first_page_by_page() {
    let world = World::new();
    let users: Vec<OwnedUserId> = (0..4).map(|n| world.user(&format!("user{n}"))).collect();
    let mut expected = Vec::new();
    for number in 0..23 {
        let others: Vec<_> = users[1..=number % 4].iter().collect();
        let room = world.room(&users[0], &others).await;
        world.rooms.set_published(&users[0], &room, true).await.unwrap();
        expected.push((std::cmp::Reverse(others.len()), room));
    }
    let hidden = world.room(&users[0], &[]).await;
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|(_, room)| room).collect();
    let mut pages = Vec::new();
    let mut since = None;
    loop {
        let query = PublicRoomsQuery { limit: 5, since: since.as_deref(), ..Default::default() };
        let page = listed(&world, query).await;
        assert_eq!(page.total, 23);
        since = page.next_batch.clone();
        pages.push(page);
        if since.is_none() {
            break;
        }
    }
    assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), expected);
    assert!(!expected.contains(&hidden));
    assert!(pages[0].prev_batch.is_none());
    // Back from the third page lies the second.
    let back = pages[2].prev_batch.as_deref();
    let page =
        listed(&world, PublicRoomsQuery { limit: 5, since: back, ..Default::default() }).await;
    assert_eq!(ids(&page), ids(&pages[1]));
    let junk = PublicRoomsQuery { limit: 5, since: Some("x"), ..Default::default() };
    assert!(matches!(world.rooms.public_rooms(junk).await, Err(Error::InvalidParam(_))));
}

#[tokio::test]
async fn a_directory_is_searched_and_is_never_stale() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let space = space(&world, &ada).await;
    assert!(is_forbidden(world.rooms.set_published(&bob, &room, true).await));
    for room in [&room, &space] {
        world.rooms.set_published(&ada, room, true).await.unwrap();
    }
    assert!(world.rooms.is_published(&room).await.unwrap());
    let find = |search: &'static str| {
        let world = &world;
        async move {
            let query = PublicRoomsQuery { search: Some(search), limit: 10, ..Default::default() };
            ids(&listed(world, query).await)
        }
    };
    world.set(&ada, &room, "m.room.name", "", json!({ "name": "Tasty Cheese" })).await.unwrap();
    assert_eq!(find("cheese").await, vec![room.clone()]);
    world.set(&ada, &room, "m.room.name", "", json!({ "name": "Bread" })).await.unwrap();
    world.set(&ada, &room, "m.room.topic", "", json!({ "topic": "no CHEESE" })).await.unwrap();
    assert_eq!(find("cheese").await, vec![room.clone()]);
    assert_eq!(find("BREAD").await, vec![room.clone()]);
    assert!(find("wine").await.is_empty());
    for (types, expected) in [(vec![None], &room), (vec![Some("m.space".to_owned())], &space)] {
        let query = PublicRoomsQuery { room_types: Some(&types), limit: 10, ..Default::default() };
        assert_eq!(ids(&listed(&world, query).await), vec![expected.clone()]);
    }
    world.rooms.set_published(&ada, &room, false).await.unwrap();
    assert!(find("bread").await.is_empty());
    let unknown = world.rooms.is_published(ruma::room_id!("!no:one.test")).await;
    assert!(matches!(unknown, Err(Error::NotFound(_))));
}

async fn space(world: &World, creator: &UserId) -> OwnedRoomId {
    let content = to_raw_value(&json!({ "type": "m.space" })).unwrap();
    let request = CreateRoom {
        preset: Some(Preset::PublicChat),
        creation_content: Some(&content),
        ..CreateRoom::new(creator)
    };
    world.rooms.create(request).await.expect("creates")
}

async fn add(world: &World, user: &UserId, space: &RoomId, child: &RoomId, extra: Value) {
    let mut content = json!({ "via": ["one.test"] });
    content.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    world.set(user, space, "m.space.child", child.as_str(), content).await.expect("adds");
}

const WHOLE: HierarchyQuery<'static> =
    HierarchyQuery { from: None, limit: 50, max_depth: 10, suggested_only: false };

fn names(rooms: &[RoomSummary]) -> Vec<&RoomId> {
    rooms.iter().map(|summary| &*summary.room.room_id).collect()
}

#[tokio::test]
async fn a_space_is_walked_depth_first_in_order() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let (top, sub) = (space(&world, &ada).await, space(&world, &ada).await);
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(world.room(&ada, &[]).await);
    }
    let private = world.rooms.create(CreateRoom::new(&ada)).await.unwrap();
    add(&world, &ada, &top, &rooms[0], json!({})).await;
    add(&world, &ada, &top, &rooms[1], json!({ "order": "b", "suggested": true })).await;
    add(&world, &ada, &top, &sub, json!({ "order": "a" })).await;
    add(&world, &ada, &top, &private, json!({ "order": "aa" })).await;
    add(&world, &ada, &top, &rooms[3], json!({ "via": [] })).await;
    add(&world, &ada, &sub, &rooms[2], json!({})).await;
    // A loop ends.
    add(&world, &ada, &sub, &top, json!({})).await;
    let whole = world.rooms.hierarchy(&bob, &top, WHOLE).await.unwrap();
    let expected: Vec<&RoomId> = vec![&top, &sub, &rooms[2], &rooms[1], &rooms[0]];
    assert_eq!((names(&whole.rooms), whole.next_batch), (expected.clone(), None));
    let own = world.rooms.hierarchy(&ada, &top, WHOLE).await.unwrap();
    assert_eq!(own.rooms.len(), 6, "its member sees the private room");
    let children: Vec<Value> = whole.rooms[0]
        .children_state
        .iter()
        .map(|json| serde_json::from_slice(json).unwrap())
        .collect();
    assert_eq!(children.len(), 4);
    assert_eq!(children[0]["state_key"], sub.as_str());
    assert!(children[0]["origin_server_ts"].is_u64());
    assert!(whole.rooms[3].children_state.is_empty());
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let query = HierarchyQuery { from: from.as_deref(), limit: 2, ..WHOLE };
        let page = world.rooms.hierarchy(&bob, &top, query).await.unwrap();
        found.extend(page.rooms.iter().map(|summary| summary.room.room_id.clone()));
        match page.next_batch {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    assert_eq!(found, expected);
    let shallow = HierarchyQuery { max_depth: 1, ..WHOLE };
    let page = world.rooms.hierarchy(&bob, &top, shallow).await.unwrap();
    assert_eq!(names(&page.rooms), [&*top, &*sub, &*rooms[1], &*rooms[0]]);
    let suggested = HierarchyQuery { suggested_only: true, ..WHOLE };
    let page = world.rooms.hierarchy(&bob, &top, suggested).await.unwrap();
    assert_eq!(names(&page.rooms), [&*top, &*rooms[1]]);
    let first = world.rooms.hierarchy(&bob, &top, HierarchyQuery { limit: 1, ..WHOLE }).await;
    let token = first.unwrap().next_batch;
    let changed = HierarchyQuery { from: token.as_deref(), max_depth: 1, ..WHOLE };
    let changed = world.rooms.hierarchy(&bob, &top, changed).await;
    assert!(matches!(changed, Err(Error::InvalidParam(_))));
    assert!(is_forbidden(world.rooms.hierarchy(&bob, &private, WHOLE).await));
}

#[tokio::test]
async fn a_summary_is_for_those_who_could_come_in() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let public = world.room(&ada, &[]).await;
    let seen = world.rooms.summary(None, &public).await.unwrap();
    assert_eq!((seen.room.join_rule.as_str(), seen.membership), ("public", None));
    let private = world.rooms.create(CreateRoom::new(&ada)).await.unwrap();
    let summary = async |viewer: Option<&UserId>, room: &RoomId| match world
        .rooms
        .summary(viewer, room)
        .await
    {
        Ok(summary) => Some(summary),
        Err(Error::NotFound(_)) => None,
        Err(error) => panic!("{error}"),
    };
    assert!(summary(None, &private).await.is_none());
    assert!(summary(Some(&bob), &private).await.is_none());
    assert!(summary(Some(&ada), &private).await.is_some());
    world.invite(&ada, &private, &bob).await.unwrap();
    assert!(summary(Some(&bob), &private).await.is_some());
    let condition = json!({ "type": "m.room_membership", "room_id": public });
    let rules = json!({ "join_rule": "restricted", "allow": [condition] });
    let restricted = InitialState {
        event_type: "m.room.join_rules".to_owned(),
        state_key: String::new(),
        content: to_raw_value(&rules).unwrap(),
    };
    let request = CreateRoom { initial_state: vec![restricted], ..CreateRoom::new(&ada) };
    let restricted = world.rooms.create(request).await.unwrap();
    assert!(summary(Some(&bob), &restricted).await.is_none());
    world.join(&bob, &public).await.unwrap();
    let seen = summary(Some(&bob), &restricted).await.expect("bob may join");
    assert_eq!(seen.allowed_room_ids, [public]);
    let unknown = world.rooms.summary(None, ruma::room_id!("!no:one.test")).await;
    assert!(matches!(unknown, Err(Error::NotFound(_))));
}
