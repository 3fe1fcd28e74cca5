//! Pages of a room's history: whole, once each, and only what the viewer may see.

use std::sync::Arc;

use rooms::{Error, MessagesQuery, NewEvent, Page, StoredEvent};
use ruma::{
    OwnedEventId, RoomId, UserId,
    api::{
        Direction,
        client::filter::{LazyLoadOptions, RoomEventFilter, UrlFilter},
    },
};
use serde_json::json;

use crate::world::{START, World, change, is_forbidden, message, new_event};

fn ids(events: &[Arc<StoredEvent>]) -> Vec<OwnedEventId> {
    events.iter().map(|event| event.event_id().clone()).collect()
}

async fn page(
    world: &World,
    viewer: &UserId,
    room: &RoomId,
    from: Option<&str>,
    dir: Direction,
    limit: usize,
    filter: &RoomEventFilter,
) -> Result<Page, Error> {
    let query = MessagesQuery { from, to: None, dir, limit, filter };
    world.rooms.messages(viewer, room, query).await
}

/// Pages until there is no next one.
async fn pages(
    world: &World,
    viewer: &UserId,
    room: &RoomId,
    dir: Direction,
    limit: usize,
    filter: &RoomEventFilter,
) -> Vec<Arc<StoredEvent>> {
    let (mut events, mut from) = (Vec::new(), None);
    for _ in 0..1000 {
        let page = page(world, viewer, room, from.as_deref(), dir, limit, filter).await;
        let page = page.expect("reads");
        assert!(page.chunk.len() <= limit);
        events.extend(page.chunk);
        match page.end {
            Some(end) => from = Some(end),
            None => return events,
        }
    }
    panic!("the pages do not end");
}

#[tokio::test]
async fn pages_in_both_directions_are_the_history_once() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    for number in 0..300 {
        let sender = if number % 3 == 0 { &bob } else { &ada };
        world.send(sender, &room, &number.to_string()).await.unwrap();
        if number % 25 == 0 {
            world.set(&ada, &room, "m.room.name", "", json!({ "name": number })).await.ok();
        }
    }
    let newest_first = ids(&world.chain(&room).await);
    let oldest_first: Vec<_> = newest_first.iter().rev().cloned().collect();
    let all = RoomEventFilter::default();
    for limit in [1, 7, 40, 299, 1000] {
        let back = pages(&world, &bob, &room, Direction::Backward, limit, &all).await;
        assert_eq!(ids(&back), newest_first, "backward by {limit}");
        let forward = pages(&world, &bob, &room, Direction::Forward, limit, &all).await;
        assert_eq!(ids(&forward), oldest_first, "forward by {limit}");
    }
}

#[tokio::test]
async fn the_last_page_says_so() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let count = world.chain(&room).await.len();
    let all = RoomEventFilter::default();
    let back = Direction::Backward;
    let exact = page(&world, &ada, &room, None, back, count, &all).await.unwrap();
    assert_eq!(exact.chunk.len(), count);
    let rest = page(&world, &ada, &room, exact.end.as_deref(), back, count, &all).await.unwrap();
    assert_eq!((rest.chunk.len(), rest.end), (0, None), "nobody is sent back to the newest event");
    let short = page(&world, &ada, &room, None, back, count - 1, &all).await.unwrap();
    assert!(short.end.is_some());
    let token = short.end.as_deref();
    let last = page(&world, &ada, &room, token, back, count, &all).await.unwrap();
    assert_eq!(last.chunk.len(), 1);
    let rest = page(&world, &ada, &room, last.end.as_deref(), back, count, &all).await.unwrap();
    assert_eq!((rest.chunk.len(), rest.end), (0, None));
}

#[tokio::test]
async fn a_sync_token_stands_for_its_moment() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    let before = world.send(&ada, &room, "before").await.unwrap();
    let token = format!("m1_1_{}_ab_0.0", world.store.log().position());
    let after = world.send(&ada, &room, "after").await.unwrap();
    let all = RoomEventFilter::default();
    let back = page(&world, &ada, &room, Some(&token), Direction::Backward, 1, &all).await.unwrap();
    assert_eq!(ids(&back.chunk), std::slice::from_ref(&before));
    assert_eq!(back.start, token);
    let on = page(&world, &ada, &room, Some(&token), Direction::Forward, 5, &all).await.unwrap();
    assert_eq!(ids(&on.chunk), vec![after.clone()]);
    // Whoever follows the room forward may ask again.
    let end = on.end.as_deref();
    let rest = page(&world, &ada, &room, end, Direction::Forward, 5, &all).await.unwrap();
    assert_eq!((rest.chunk.len(), rest.end), (0, None));
    // A token from a timeline's first event leads to what came before it.
    let first = world.rooms.event_by_id(&after).await.unwrap().unwrap();
    let token = world.rooms.token_before(&first);
    let back = page(&world, &ada, &room, Some(&token), Direction::Backward, 1, &all).await.unwrap();
    assert_eq!(ids(&back.chunk), [before]);
    for junk in ["", "s1", "t1", "t1_x", "m1_1"] {
        let outcome = page(&world, &ada, &room, Some(junk), Direction::Forward, 5, &all).await;
        assert!(matches!(outcome, Err(Error::InvalidParam(_))), "{junk}");
    }
}

#[tokio::test]
async fn a_page_stops_at_the_other_token() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    world.send(&ada, &room, "0").await.unwrap();
    let low = world.send(&ada, &room, "1").await.unwrap();
    let middle = world.send(&ada, &room, "2").await.unwrap();
    let low = world.rooms.token_before(&world.rooms.event_by_id(&low).await.unwrap().unwrap());
    let all = RoomEventFilter::default();
    let query = MessagesQuery {
        from: None,
        to: Some(&low),
        dir: Direction::Backward,
        limit: 10,
        filter: &all,
    };
    let page = world.rooms.messages(&ada, &room, query).await.unwrap();
    assert_eq!(page.chunk.len(), 2);
    assert_eq!(page.chunk[0].event_id(), &middle);
    // From there nothing is left to ask for.
    let query = MessagesQuery { from: page.end.as_deref(), ..query };
    let rest = world.rooms.messages(&ada, &room, query).await.unwrap();
    assert_eq!((rest.chunk.len(), rest.end), (0, None));
}

#[tokio::test]
async fn filters_go_on_until_the_page_is_full() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let rare = world.send(&bob, &room, "rare").await.unwrap();
    for number in 0..500 {
        world.send(&ada, &room, &number.to_string()).await.unwrap();
    }
    let url = serde_json::value::to_raw_value(&json!({ "body": "a", "url": "mxc://a/b" })).unwrap();
    let with_url =
        world.rooms.send(new_event(&ada, &room, "m.room.message", None, &url)).await.unwrap();
    let first = |filter: RoomEventFilter| {
        let (world, ada, room) = (&world, &ada, &room);
        async move {
            let page = page(world, ada, room, None, Direction::Backward, 2, &filter).await.unwrap();
            ids(&page.chunk)
        }
    };
    let mut filter = RoomEventFilter {
        senders: Some(vec![bob.clone()]),
        types: Some(vec!["m.room.mess*".to_owned()]),
        ..RoomEventFilter::default()
    };
    assert_eq!(first(filter.clone()).await, [rare]);
    filter.not_types = vec!["*".to_owned()];
    assert!(first(filter).await.is_empty());
    let filter = RoomEventFilter {
        url_filter: Some(UrlFilter::EventsWithUrl),
        ..RoomEventFilter::default()
    };
    assert_eq!(first(filter).await, [with_url]);
    let filter = RoomEventFilter { not_rooms: vec![room.clone()], ..RoomEventFilter::default() };
    assert!(first(filter).await.is_empty());
    let filter = RoomEventFilter { not_senders: vec![ada.clone()], ..RoomEventFilter::default() };
    assert_eq!(first(filter).await.len(), 2);
}

#[tokio::test]
async fn lazily_loaded_members_are_those_of_the_senders() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob, &eve]).await;
    world.send(&ada, &room, "1").await.unwrap();
    world.send(&bob, &room, "2").await.unwrap();
    let lazy = RoomEventFilter {
        lazy_load_options: LazyLoadOptions::Enabled { include_redundant_members: false },
        ..RoomEventFilter::default()
    };
    let page = page(&world, &eve, &room, None, Direction::Backward, 2, &lazy).await.unwrap();
    let members: Vec<_> = page.state.iter().filter_map(|event| event.pdu.state_key()).collect();
    assert_eq!(members, [ada.as_str(), bob.as_str()]);
}

#[tokio::test]
async fn who_left_reads_up_to_the_leave_and_strangers_nothing() {
    let world = World::new();
    let (ada, bob, eve) = (world.user("ada"), world.user("bob"), world.user("eve"));
    let room = world.room(&ada, &[&bob]).await;
    let seen = world.send(&ada, &room, "seen").await.unwrap();
    world.rooms.kick(change(&ada, &room, &bob)).await.unwrap();
    let hidden = world.send(&ada, &room, "hidden").await.unwrap();
    let all = RoomEventFilter::default();
    let back = pages(&world, &bob, &room, Direction::Backward, 3, &all).await;
    assert_eq!(back[1].event_id(), &seen);
    assert_eq!(back[0].pdu.state_key(), Some(bob.as_str()));
    let mut forward = pages(&world, &bob, &room, Direction::Forward, 3, &all).await;
    forward.reverse();
    assert_eq!(ids(&forward), ids(&back));
    assert!(world.rooms.event(&bob, &room, &seen).await.is_ok());
    assert!(matches!(world.rooms.event(&bob, &room, &hidden).await, Err(Error::NotFound(_))));
    assert!(is_forbidden(page(&world, &eve, &room, None, Direction::Backward, 3, &all).await));
    assert!(matches!(world.rooms.event(&eve, &room, &seen).await, Err(Error::NotFound(_))));
    let visible = json!({ "history_visibility": "world_readable" });
    world.set(&ada, &room, "m.room.history_visibility", "", visible).await.unwrap();
    let open = world.send(&ada, &room, "open").await.unwrap();
    let newest = page(&world, &eve, &room, None, Direction::Backward, 3, &all).await.unwrap();
    assert_eq!(newest.chunk[0].event_id(), &open);
    // The change of the visibility is visible itself, what came before it is not.
    assert_eq!(newest.chunk.len(), 2);
    let unknown = ruma::event_id!("$unknown");
    assert!(matches!(world.rooms.event(&ada, &room, unknown).await, Err(Error::NotFound(_))));
    let other = world.room(&ada, &[]).await;
    assert!(matches!(world.rooms.event(&ada, &other, &seen).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn the_context_of_an_event() {
    let world = World::new();
    let (ada, bob) = (world.user("ada"), world.user("bob"));
    let room = world.room(&ada, &[&bob]).await;
    let mut sent = Vec::new();
    for number in 0..10 {
        sent.push(world.send(&ada, &room, &number.to_string()).await.unwrap());
    }
    world.set(&ada, &room, "m.room.name", "", json!({ "name": "late" })).await.unwrap();
    let all = RoomEventFilter::default();
    let context = world.rooms.context(&bob, &room, &sent[5], 5, &all).await.unwrap();
    assert_eq!(context.event.event_id(), &sent[5]);
    assert_eq!(ids(&context.before), [sent[4].clone(), sent[3].clone()]);
    assert_eq!(ids(&context.after), [sent[6].clone(), sent[7].clone(), sent[8].clone()]);
    let has_name = |state: &[Arc<StoredEvent>]| {
        state.iter().any(|event| event.pdu.event_type() == "m.room.name")
    };
    assert!(!has_name(&context.state));
    // The tokens go on where the context ends.
    let back = page(&world, &bob, &room, Some(&context.start), Direction::Backward, 1, &all).await;
    assert_eq!(ids(&back.unwrap().chunk), [sent[2].clone()]);
    let on = page(&world, &bob, &room, Some(&context.end), Direction::Forward, 1, &all).await;
    assert_eq!(ids(&on.unwrap().chunk), [sent[9].clone()]);
    let eve = world.user("eve");
    let hidden = world.rooms.context(&eve, &room, &sent[5], 5, &all).await;
    assert!(is_forbidden(hidden), "whether the event exists is not what eve is told");
    let wide = world.rooms.context(&bob, &room, &sent[5], 100, &all).await.unwrap();
    assert!(has_name(&wide.state));
    assert_eq!(wide.before.len() + wide.after.len() + 1, world.chain(&room).await.len());
    let alone = world.rooms.context(&bob, &room, &sent[5], 0, &all).await.unwrap();
    assert_eq!((alone.before.len(), alone.after.len()), (0, 0));
    let lazy = RoomEventFilter {
        lazy_load_options: LazyLoadOptions::Enabled { include_redundant_members: false },
        ..RoomEventFilter::default()
    };
    let context = world.rooms.context(&bob, &room, &sent[5], 4, &lazy).await.unwrap();
    let members: Vec<_> = context
        .state
        .iter()
        .filter(|event| event.pdu.event_type() == "m.room.member")
        .filter_map(|event| event.pdu.state_key())
        .collect();
    assert_eq!(members, [ada.as_str()]);
}

#[tokio::test]
async fn the_event_closest_to_a_time() {
    let world = World::new();
    let (ada, eve) = (world.user("ada"), world.user("eve"));
    let room = world.room(&ada, &[]).await;
    let mut sent = Vec::new();
    // Sent out of the order of their times.
    for offset in [5000, 1000, 9000, 3000] {
        let content = message("at a time");
        let event = new_event(&ada, &room, "m.room.message", None, &content);
        let timestamp = Some(START + offset);
        sent.push(world.rooms.send(NewEvent { timestamp, ..event }).await.unwrap());
    }
    let closest = |offset, dir| {
        let (world, ada, room) = (&world, &ada, &room);
        async move { world.rooms.timestamp_to_event(ada, room, START + offset, dir).await }
    };
    for (offset, dir, expected, time) in [
        (3000, Direction::Forward, 3, 3000),
        (3001, Direction::Forward, 0, 5000),
        (3001, Direction::Backward, 3, 3000),
        (8999, Direction::Backward, 0, 5000),
        (99_999, Direction::Backward, 2, 9000),
        (999, Direction::Forward, 1, 1000),
    ] {
        let (id, ts) = closest(offset, dir).await.unwrap();
        assert_eq!((&id, ts), (&sent[expected], START + time), "{offset} {dir:?}");
    }
    assert!(matches!(closest(9001, Direction::Forward).await, Err(Error::NotFound(_))));
    let stranger = world.rooms.timestamp_to_event(&eve, &room, START, Direction::Forward).await;
    assert!(is_forbidden(stranger));
}

#[tokio::test]
async fn the_timeline_is_cut_out_of_the_log() {
    let world = World::new();
    let ada = world.user("ada");
    let room = world.room(&ada, &[]).await;
    for number in 0..61 {
        world.send(&ada, &room, &number.to_string()).await.unwrap();
    }
    let mut chain = world.chain(&room).await;
    chain.reverse();
    // Where what is kept in memory begins must not matter.
    for world in [&world, &world.reopened()] {
        for (low, high, limit) in
            [(0, 65, 100), (10, 20, 3), (50, 64, 100), (0, 65, 5), (64, 65, 9)]
        {
            let (after, up_to) = (chain[low].position, chain[high].position);
            let expected: Vec<_> = ids(&chain[low + 1..=high]);
            let oldest = world.rooms.timeline(&room, after, up_to, limit, false).await.unwrap();
            assert_eq!(ids(&oldest), expected[..limit.min(expected.len())]);
            let newest = world.rooms.timeline(&room, after, up_to, limit, true).await.unwrap();
            let reversed: Vec<_> = expected.iter().rev().take(limit).cloned().collect();
            assert_eq!(ids(&newest), reversed);
        }
        let nothing = world.rooms.timeline(&room, u64::MAX, u64::MAX, 10, true).await.unwrap();
        assert!(nothing.is_empty());
    }
}
