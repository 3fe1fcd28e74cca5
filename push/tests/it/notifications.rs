//! The list of what a user was notified about.

use push::{NotificationsPage, NotificationsQuery};
use ruma::UserId;
use serde_json::json;
use storage::Position;

use crate::world::World;

async fn page(
    world: &World,
    user: &UserId,
    before: Option<Position>,
    limit: usize,
) -> NotificationsPage {
    let query = NotificationsQuery { user, before, limit, only_highlights: false };
    world.push.notifications(query).await.expect("readable")
}

fn ids(page: &NotificationsPage) -> Vec<&str> {
    page.notifications.iter().map(|one| one.event.event_id().as_str()).collect()
}

#[tokio::test]
async fn rooms_are_listed_together_newest_first_and_in_pages() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let (one, two) =
        (world.shared_room(&[&ada, &ben]).await, world.shared_room(&[&ada, &ben]).await);
    let mut said = Vec::new();
    // More than is read of a room at a time.
    for turn in 0..120 {
        let room = if turn % 3 == 0 { &one } else { &two };
        said.push(world.say(room, &ada, "hello").await);
        if turn % 10 == 0 {
            world.say(room, &ben, "not of oneself").await;
        }
    }
    let third = world.room(&ada.user_id, None).await;
    world.say(&third, &ada, "ben is not here").await;
    world.invite(&third, &ada.user_id, &ben.user_id).await;
    let all = page(&world, &ben.user_id, None, 500).await;
    assert_eq!(all.before, None);
    let invite = &all.notifications[0];
    assert_eq!(invite.event.pdu.state_key(), Some(ben.user_id.as_str()));
    said.reverse();
    assert_eq!(ids(&all)[1..], said);

    let (mut before, mut paged) = (None, Vec::new());
    loop {
        let next = page(&world, &ben.user_id, before, 7).await;
        assert!(next.notifications.len() <= 7);
        paged.extend(ids(&next).into_iter().map(str::to_owned));
        before = next.before;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(paged, ids(&all));
}

#[tokio::test]
async fn it_says_what_was_read_and_ends_where_the_user_came() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.room(&ada.user_id, None).await;
    world.say(&room, &ada, "before ben came").await;
    world.join(&room, &ben.user_id).await;
    let read = world.say(&room, &ada, "one").await;
    world.read(&room, &ben, &read).await;
    let mention = json!({ "body": "ben", "m.mentions": { "user_ids": [ben.user_id] } });
    let mention = world.event(&room, &ada.user_id, "m.room.message", &mention).await;
    let all = page(&world, &ben.user_id, None, 10).await;
    let found: Vec<_> =
        all.notifications.iter().map(|one| (one.event.event_id(), one.read)).collect();
    assert_eq!(found, [(&mention, false), (&read, true)]);
    let query =
        NotificationsQuery { user: &ben.user_id, before: None, limit: 10, only_highlights: true };
    let highlights = world.push.notifications(query).await.expect("readable");
    assert_eq!(ids(&highlights), [mention.as_str()]);
    assert!(page(&world, &ada.user_id, None, 10).await.notifications.is_empty());
}
