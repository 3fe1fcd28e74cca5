//! What stands in the timeline, and what is said about it.

use ruma::{device_id, room_id};
use serde_json::json;

use crate::world::{Ask, World, bodies, events, ids, is_empty, joined, keys, of_type, token_of};

#[tokio::test]
async fn a_message_is_told_once() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    assert!(is_empty(&world.next(&ben, &since).await));

    let event_id = world.say(&room, &ada, "hello").await;
    let answer = world.next(&ben, &since).await;
    let told = joined(&answer, &room);
    assert_eq!(ids(told, "timeline"), [event_id.as_str()]);
    let event = &events(told, "timeline")[0];
    assert_eq!(event["sender"], ada.as_str());
    assert_eq!(event["content"]["body"], "hello");
    assert!(event["unsigned"]["age"].is_u64(), "{event}");
    assert_eq!(event["unsigned"]["membership"], "join");
    assert!(event.get("room_id").is_none());
    assert_eq!(told["timeline"]["limited"], false);
    assert!(told["timeline"]["prev_batch"].is_string());
    assert!(events(told, "state").is_empty());
    assert!(is_empty(&world.next(&ben, &token_of(&answer)).await));
    // The answer to a request that is repeated because it was lost is the same.
    assert_eq!(ids(joined(&world.next(&ben, &since).await, &room), "timeline"), [event_id]);
}

#[tokio::test]
async fn a_transaction_id_is_told_to_the_device_that_chose_it() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let room = world.shared_room(&[&ada]).await;
    let since = world.token(&ada).await;
    world.say_with_txn(&room, &ada, device_id!("PHONE"), "txn7".into()).await;

    let phone = world.next(&ada, &since).await;
    let event = &events(joined(&phone, &room), "timeline")[0];
    assert_eq!(event["unsigned"]["transaction_id"], "txn7");
    let laptop = Ask { device: device_id!("LAPTOP"), ..Ask::default() };
    let laptop = world.ask(&ada, Some(&since), &laptop).await;
    let event = &events(joined(&laptop, &room), "timeline")[0];
    assert!(event["unsigned"].get("transaction_id").is_none(), "{event}");
}

#[tokio::test]
async fn an_initial_sync_has_the_newest_events_and_the_state_before_them() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    for number in 0..12 {
        world.say(&room, &ada, &number.to_string()).await;
    }
    let answer = world.initial(&ben).await;
    let told = joined(&answer, &room);
    assert_eq!(bodies(told), ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]);
    assert_eq!(told["timeline"]["limited"], true);
    let state = keys(told, "state");
    for expected in [
        "m.room.create|".to_owned(),
        "m.room.power_levels|".to_owned(),
        format!("m.room.member|{ada}"),
        format!("m.room.member|{ben}"),
    ] {
        assert!(state.contains(&expected), "{expected} in {state:?}");
    }
}

#[tokio::test]
async fn a_new_room_that_fits_repeats_nothing_in_the_state() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let since = world.token(&ada).await;
    let room = world.shared_room(&[&ada]).await;
    let ask = Ask::filtered(r#"{"room":{"timeline":{"limit":50}}}"#);
    let answer = world.ask(&ada, Some(&since), &ask).await;
    let told = joined(&answer, &room);
    assert_eq!(events(told, "timeline")[0]["type"], "m.room.create");
    assert!(events(told, "state").is_empty(), "{}", told["state"]);
}

#[tokio::test]
async fn a_gap_is_limited_and_its_state_is_told() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    let topic = world.topic(&room, &ada, "in the gap").await;
    let cay = world.user("cay").await;
    world.join(&room, &cay).await;
    for number in 0..15 {
        world.say(&room, &ada, &number.to_string()).await;
    }
    let lazy = Ask::filtered(r#"{"room":{"state":{"lazy_load_members":true}}}"#);
    for ask in [Ask::default(), lazy] {
        let answer = world.ask(&ben, Some(&since), &ask).await;
        let told = joined(&answer, &room);
        assert_eq!(told["timeline"]["limited"], true);
        assert_eq!(bodies(told).len(), 10);
        // A membership in the gap is told even if members are loaded lazily.
        let state = keys(told, "state");
        assert!(state.contains(&"m.room.topic|".to_owned()), "{state:?}");
        assert!(state.contains(&format!("m.room.member|{cay}")), "{state:?}");
        assert!(ids(told, "state").contains(&topic.to_string()));
        assert_eq!(told["summary"]["m.joined_member_count"], 3);
    }
    // From where the timeline begins, the history goes on backwards without a hole.
    let answer = world.next(&ben, &since).await;
    let token = joined(&answer, &room)["timeline"]["prev_batch"].as_str().expect("a token");
    let query = rooms::MessagesQuery {
        from: Some(token),
        to: None,
        dir: ruma::api::Direction::Backward,
        limit: 1,
        filter: &Default::default(),
    };
    let page = world.rooms.messages(&ben, &room, query).await.expect("messages");
    assert!(page.chunk[0].pdu.content_str().contains("\"4\""), "{:?}", page.chunk[0]);
}

#[tokio::test]
async fn a_redacted_event_and_its_redaction() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    let target = world.say(&room, &ada, "secret").await;
    let redaction = rooms::Redaction {
        room_id: &room,
        sender: &ada,
        target: &target,
        reason: Some("mistake"),
        txn: None,
    };
    world.rooms.redact(redaction).await.expect("ada may redact");
    let answer = world.next(&ben, &since).await;
    assert!(!answer.to_string().contains("secret"), "{answer}");
    let told = events(joined(&answer, &room), "timeline");
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["unsigned"]["redacted_because"]["type"], "m.room.redaction");
    assert!(of_type(told, "m.room.redaction").is_some());
}

#[tokio::test]
async fn messages_of_ignored_users_are_left_out_but_their_state_is_not() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let list = json!({"ignored_users": {ada.as_str(): {}}}).to_string();
    let list = serde_json::value::RawValue::from_string(list).expect("JSON");
    let set = world.accounts.set_account_data(&ben, None, "m.ignored_user_list", &list).await;
    set.expect("account data is set");
    let since = world.token(&ben).await;
    world.say(&room, &ada, "noise").await;
    world.topic(&room, &ada, "news").await;
    let private = world.room(&ada, rooms::Preset::PrivateChat).await;
    world.invite(&private, &ada, &ben).await;
    let answer = world.next(&ben, &since).await;
    assert_eq!(keys(joined(&answer, &room), "timeline"), ["m.room.topic|"]);
    assert!(answer["rooms"].get("invite").is_none(), "{answer}");
}

#[tokio::test]
async fn a_history_that_the_user_may_not_see_is_not_told() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada]).await;
    let visibility = json!({"history_visibility": "joined"});
    world.event(&room, &ada, "m.room.history_visibility", Some(""), &visibility).await;
    world.say(&room, &ada, "before").await;
    let since = world.token(&ben).await;
    world.join(&room, &ben).await;
    world.say(&room, &ada, "after").await;
    for answer in [world.next(&ben, &since).await, world.initial(&ben).await] {
        assert_eq!(bodies(joined(&answer, &room)), ["after"]);
    }
}

/// Clients look for changes of the state in the timeline, those that happened unseen as well.
#[tokio::test]
async fn current_state_is_in_the_timeline_of_a_history_that_the_user_may_not_see() {
    let world = World::new().await;
    let (ada, ben, cy) = (world.user("ada").await, world.user("ben").await, world.user("cy").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let visibility = json!({"history_visibility": "joined"});
    world.event(&room, &ada, "m.room.history_visibility", Some(""), &visibility).await;
    let since = world.token(&ben).await;
    world.rooms.leave(&room, &ben, None).await.expect("ben may leave");
    world.topic(&room, &ada, "replaced").await;
    world.say(&room, &ada, "unseen").await;
    world.join(&room, &cy).await;
    world.topic(&room, &ada, "now").await;
    world.join(&room, &ben).await;
    let answer = world.next(&ben, &since).await;
    let timeline = events(joined(&answer, &room), "timeline");
    let cys = timeline.iter().filter(|event| event["state_key"] == cy.as_str()).count();
    assert_eq!(cys, 1, "{timeline:?}");
    assert_eq!(bodies(joined(&answer, &room)), [""; 0]);
    let topics: Vec<_> = timeline.iter().filter(|event| event["type"] == "m.room.topic").collect();
    assert_eq!(topics.len(), 1, "what was replaced stays hidden: {topics:?}");
    assert_eq!(topics[0]["content"]["topic"], "now");
}

#[tokio::test]
async fn relations_are_bundled_where_the_client_may_not_have_them() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let root = world.say(&room, &ada, "root").await;
    let edit = json!({
        "msgtype": "m.text", "body": "* better",
        "m.new_content": {"msgtype": "m.text", "body": "better"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": root},
    });
    let edit = world.event(&room, &ada, "m.room.message", None, &edit).await;
    let answer = world.initial(&ben).await;
    let told = events(joined(&answer, &room), "timeline");
    let root = told.iter().find(|event| event["event_id"] == root.as_str()).expect("the root");
    assert_eq!(root["unsigned"]["m.relations"]["m.replace"]["event_id"], edit.as_str());
}

#[tokio::test]
async fn a_room_without_news_is_not_mentioned() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let quiet = world.shared_room(&[&ada, &ben]).await;
    let busy = world.shared_room(&[&ada, &ben]).await;
    let since = world.token(&ben).await;
    world.say(&busy, &ada, "hello").await;
    let answer = world.next(&ben, &since).await;
    assert!(joined(&answer, &quiet).is_null());
    assert!(joined(&answer, room_id!("!other:x.test")).is_null());
    assert!(joined(&answer, &busy).is_object());
}
