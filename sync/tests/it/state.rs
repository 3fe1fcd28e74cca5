//! `state`, `state_after`, lazily loaded members, summaries.

use ruma::device_id;
use serde_json::json;
use sync::StateAfter;

use crate::world::{Ask, World, events, ids, joined, keys, token_of};

const LAZY: &str = r#"{"room":{"state":{"lazy_load_members":true},"timeline":{"limit":1}}}"#;

fn after(spelling: StateAfter) -> Ask {
    Ask { state_after: Some(spelling), ..Ask::default() }
}

#[tokio::test]
async fn a_state_event_stands_in_the_timeline_and_in_state_after() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    let topic = world.topic(&room, &ada, "news").await;

    let answer = world.next(&ben, &since).await;
    let told = joined(&answer, &room);
    assert_eq!(ids(told, "timeline"), [topic.as_str()]);
    assert_eq!(told["state"], json!({"events": []}));
    assert!(told.get("state_after").is_none());

    for (spelling, key) in [
        (StateAfter::Stable, "state_after"),
        (StateAfter::Unstable, "org.matrix.msc4222.state_after"),
    ] {
        let answer = world.ask(&ben, Some(&since), &after(spelling)).await;
        let told = joined(&answer, &room);
        assert_eq!(ids(told, "timeline"), [topic.as_str()]);
        assert_eq!(ids(told, key), [topic.as_str()]);
        assert!(told.get("state").is_none());
    }
}

#[tokio::test]
async fn state_after_is_there_even_if_it_is_empty() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.say(&room, &ada, "hello").await;
    let answer = world.ask(&ben, Some(&since), &after(StateAfter::Stable)).await;
    assert_eq!(joined(&answer, &room)["state_after"], json!({"events": []}));
}

#[tokio::test]
async fn state_that_the_filter_keeps_from_the_timeline_is_told_as_state() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.say(&room, &ada, "one").await;
    let topic = world.topic(&room, &ada, "hidden").await;
    world.say(&room, &ada, "two").await;
    let ask = Ask::filtered(r#"{"room":{"timeline":{"not_types":["m.room.topic"]}}}"#);
    let answer = world.ask(&ben, Some(&since), &ask).await;
    let told = joined(&answer, &room);
    assert_eq!(events(told, "timeline").len(), 2);
    assert_eq!(ids(told, "state"), [topic]);
}

#[tokio::test]
async fn full_state_lists_every_joined_room_with_all_its_state() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let first = world.shared_room(&[&ada, &ben]).await;
    let second = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.say(&first, &ada, "hello").await;
    let ask = Ask { full_state: true, ..Ask::waiting() };
    let answer = world.ask(&ben, Some(&since), &ask).await;
    for room in [&first, &second] {
        let told = joined(&answer, room);
        assert!(keys(told, "state").contains(&"m.room.create|".to_owned()));
        assert!(told["summary"]["m.joined_member_count"].is_u64());
    }
    assert_eq!(events(joined(&answer, &first), "timeline").len(), 1);
    assert!(events(joined(&answer, &second), "timeline").is_empty());
}

#[tokio::test]
async fn lazily_loaded_members_are_those_of_the_senders_and_ones_own() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let ben = world.user("ben").await;
    let cay = world.user("cay").await;
    let room = world.shared_room(&[&ada, &ben, &cay]).await;
    world.event(&room, &ada, "m.room.name", Some(""), &json!({"name": "Room"})).await;
    world.say(&room, &cay, "hello").await;
    let answer = world.ask(&ben, None, &Ask::filtered(LAZY)).await;
    let members: Vec<_> = keys(joined(&answer, &room), "state")
        .into_iter()
        .filter(|key| key.starts_with("m.room.member"))
        .collect();
    assert_eq!(members, [format!("m.room.member|{ben}"), format!("m.room.member|{cay}")]);
}

#[tokio::test]
async fn a_member_is_told_again_only_if_asked_or_if_the_answer_was_lost() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.event(&room, &ada, "m.room.name", Some(""), &json!({"name": "Room"})).await;
    world.say(&room, &ben, "mine").await;
    let first = token_of(&world.ask(&ben, None, &Ask::filtered(LAZY)).await);

    world.say(&room, &ada, "one").await;
    let member = [format!("m.room.member|{ada}")];
    let answer = world.ask(&ben, Some(&first), &Ask::filtered(LAZY)).await;
    assert_eq!(keys(joined(&answer, &room), "state"), member);
    // As if the answer had not arrived.
    let answer = world.ask(&ben, Some(&first), &Ask::filtered(LAZY)).await;
    assert_eq!(keys(joined(&answer, &room), "state"), member);
    let second = token_of(&answer);

    world.say(&room, &ada, "two").await;
    let answer = world.ask(&ben, Some(&second), &Ask::filtered(LAZY)).await;
    assert!(events(joined(&answer, &room), "state").is_empty());
    let redundant = LAZY.replace("true}", r#"true,"include_redundant_members":true}"#);
    let answer = world.ask(&ben, Some(&second), &Ask::filtered(&redundant)).await;
    assert_eq!(keys(joined(&answer, &room), "state"), member);
    // Another device was told nothing yet.
    let laptop = Ask { device: device_id!("LAPTOP"), ..Ask::filtered(LAZY) };
    let answer = world.ask(&ben, Some(&second), &laptop).await;
    assert_eq!(keys(joined(&answer, &room), "state"), member);
}

#[tokio::test]
async fn with_state_after_the_senders_member_is_told_even_from_the_timeline() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let filter = r#"{"room":{"state":{"lazy_load_members":true}}}"#;
    let since = token_of(&world.ask(&ben, None, &Ask::filtered(filter)).await);
    let cay = world.user("cay").await;
    world.join(&room, &cay).await;
    world.say(&room, &cay, "hello").await;
    let ask = Ask { state_after: Some(StateAfter::Stable), ..Ask::filtered(filter) };
    let answer = world.ask(&ben, Some(&since), &ask).await;
    let told = joined(&answer, &room);
    assert_eq!(keys(told, "state_after"), [format!("m.room.member|{cay}")]);
    let answer = world.ask(&ben, Some(&since), &Ask::filtered(filter)).await;
    assert!(events(joined(&answer, &room), "state").is_empty());
}

#[tokio::test]
async fn a_summary_names_the_others_when_the_room_has_no_name() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let answer = world.initial(&ben).await;
    let summary = &joined(&answer, &room)["summary"];
    assert_eq!(summary["m.heroes"], json!([ada]));
    assert_eq!(summary["m.joined_member_count"], 2);
    assert_eq!(summary["m.invited_member_count"], 0);

    let since = token_of(&answer);
    world.say(&room, &ada, "hello").await;
    let answer = world.next(&ben, &since).await;
    assert!(joined(&answer, &room).get("summary").is_none());

    let cay = world.user("cay").await;
    world.invite(&room, &ada, &cay).await;
    let answer = world.next(&ben, &token_of(&answer)).await;
    let summary = &joined(&answer, &room)["summary"];
    assert_eq!(summary["m.heroes"], json!([ada, cay]));
    assert_eq!(summary["m.invited_member_count"], 1);
}

#[tokio::test]
async fn a_room_that_loses_its_name_is_named_after_the_others_again() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    world.event(&room, &ada, "m.room.name", Some(""), &json!({"name": "Room"})).await;
    let answer = world.initial(&ben).await;
    assert!(joined(&answer, &room)["summary"].get("m.heroes").is_none());
    world.event(&room, &ada, "m.room.name", Some(""), &json!({})).await;
    let answer = world.next(&ben, &token_of(&answer)).await;
    assert_eq!(joined(&answer, &room)["summary"]["m.heroes"], json!([ada]));
}
