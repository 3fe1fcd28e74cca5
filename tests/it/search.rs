//! What is found of what was said, and by whom. The index follows the log, so what it shows is waited
//! for.

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    server::{Answer, PATIENCE, Server},
    user::{User, event_id, segment},
};

async fn ask(user: &User<'_>, next: Option<&Value>, criteria: Value) -> Answer {
    let next = next.map_or(String::new(), |next| {
        format!("?next_batch={}", segment(next.as_str().expect("a token")))
    });
    let body = json!({ "search_categories": { "room_events": criteria } });
    user.post(&format!("/v3/search{next}"), body).await
}

async fn search(user: &User<'_>, criteria: Value) -> Value {
    ask(user, None, criteria).await.ok()["search_categories"]["room_events"].take()
}

fn ids(found: &Value) -> Vec<String> {
    let results = found["results"].as_array().into_iter().flatten();
    results.filter_map(|it| it["result"]["event_id"].as_str().map(str::to_owned)).collect()
}

/// Asks until the answer is as expected, newest first.
async fn finds(user: &User<'_>, term: &str, expected: &[&str]) {
    let begun = Instant::now();
    loop {
        let found = search(user, json!({ "search_term": term, "order_by": "recent" })).await;
        let found = ids(&found);
        if found == expected {
            return;
        }
        let waited = begun.elapsed();
        assert!(waited < PATIENCE, "{} finds {found:?} by {term:?}, not {expected:?}", user.id);
        tokio::task::yield_now().await;
    }
}

async fn say_later(user: &User<'_>, room: &str, txn: &str, text: &str) -> String {
    user.server.clock.advance(1000);
    user.say(room, txn, text).await
}

#[tokio::test]
async fn messages_names_and_topics_are_found_by_all_their_words() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({ "name": "Cake club", "topic": "All about pies" })).await;
    let one = say_later(&ada, &room, "1", "Who brings the CAKE, and when?").await;
    let two = say_later(&ada, &room, "2", "I bring it (the cake)").await;
    finds(&ada, "the cake", &[&two, &one]).await;
    finds(&ada, "bring cake", &[&two]).await;
    finds(&ada, "brin", &[]).await;
    let by_key = async |key: &str, term: &str| {
        let criteria = json!({ "search_term": term, "keys": [key] });
        ids(&search(&ada, criteria).await).len()
    };
    assert_eq!(by_key("content.name", "cake").await, 1);
    assert_eq!(by_key("content.topic", "pies").await, 1);
    assert_eq!(by_key("content.topic", "cake").await, 0);
    assert_eq!(by_key("content.body", "cake").await, 2);
    let unknown = json!({ "search_term": "x", "keys": ["content.secret"] });
    ask(&ada, None, unknown).await.refused("a key", 400, "M_INVALID_PARAM");
    let unknown = json!({ "search_term": "x", "order_by": "luck" });
    ask(&ada, None, unknown).await.refused("an order", 400, "M_INVALID_PARAM");
    let off = Server::with("[search]\nenabled = false\n").await;
    let refused = ask(&off.user("eve").await, None, json!({ "search_term": "x" })).await;
    refused.refused("switched off", 404, "M_UNRECOGNIZED");
    let none = ada.post("/v3/search", json!({ "search_categories": {} })).await.ok();
    assert_eq!(none, json!({ "search_categories": {} }));
}

#[tokio::test]
async fn only_what_the_one_who_searches_may_see_is_found() {
    let server = Server::start().await;
    let (ada, bob, eve) =
        (server.user("ada").await, server.user("bob").await, server.user("eve").await);
    let room = ada.create_room(json!({ "preset": "public_chat" })).await;
    ada.set_state(&room, "m.room.history_visibility", r#"{"history_visibility":"joined"}"#)
        .await
        .ok();
    let early = say_later(&ada, &room, "1", "secret plan").await;
    bob.join(&room).await.ok();
    let late = say_later(&ada, &room, "2", "secret cake").await;
    finds(&ada, "secret", &[&late, &early]).await;
    finds(&bob, "secret", &[&late]).await;
    finds(&eve, "secret", &[]).await;
    bob.post(&format!("/v3/rooms/{}/leave", segment(&room)), json!({})).await.ok();
    let after = say_later(&ada, &room, "3", "secret without bob").await;
    finds(&ada, "secret", &[&after, &late, &early]).await;
    finds(&bob, "secret", &[&late]).await;
    bob.post(&format!("/v3/rooms/{}/forget", segment(&room)), json!({})).await.ok();
    finds(&bob, "secret", &[]).await;

    ada.set_account_data("m.ignored_user_list", json!({ "ignored_users": { &eve.id: {} } }))
        .await
        .ok();
    eve.join(&room).await.ok();
    let ignored = say_later(&eve, &room, "1", "secret of eve").await;
    finds(&eve, "eve", &[&ignored]).await;
    finds(&ada, "secret", &[&after, &late, &early]).await;
}

#[tokio::test]
async fn what_was_redacted_erased_or_encrypted_is_not_found() {
    let server = Server::start().await;
    let (ada, bob) =
        (server.user("ada").await, server.user_with_password("bob", "correct horse").await);
    let room = ada.room_with(&[&bob]).await;
    let kept = say_later(&ada, &room, "1", "apple one").await;
    let redacted = say_later(&ada, &room, "2", "apple two").await;
    let of_bob = say_later(&bob, &room, "3", "apple three").await;
    finds(&ada, "apple", &[&of_bob, &redacted, &kept]).await;
    let path = format!("/v3/rooms/{}/redact/{}/9", segment(&room), segment(&redacted));
    ada.put(&path, json!({})).await.ok();
    finds(&ada, "apple", &[&of_bob, &kept]).await;
    finds(&ada, "two", &[]).await;
    // So soon that it may not have been indexed yet.
    let soon = say_later(&ada, &room, "5", "apple soon").await;
    let path = format!("/v3/rooms/{}/redact/{}/6", segment(&room), segment(&soon));
    ada.put(&path, json!({})).await.ok();

    let path = format!("/v3/rooms/{}/send/m.room.encrypted/10", segment(&room));
    let content = json!({ "algorithm": "m.megolm.v1.aes-sha2", "body": "apple four" });
    ada.put(&path, content).await.ok();
    let later = say_later(&ada, &room, "11", "apple five").await;
    finds(&ada, "apple", &[&later, &of_bob, &kept]).await;

    // Who comes after the erasure was not there.
    let auth = json!({ "type": "m.login.password", "password": "correct horse",
        "identifier": { "type": "m.id.user", "user": "bob" } });
    let body = json!({ "auth": auth, "erase": true });
    bob.call(Method::POST, "/v3/account/deactivate", body.to_string()).await.ok();
    let eve = server.user("eve").await;
    eve.join(&room).await.ok();
    finds(&eve, "apple", &[&later, &kept]).await;
}

#[tokio::test]
async fn pages_follow_each_other_across_rooms() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let rooms = [ada.room_with(&[]).await, ada.room_with(&[]).await];
    let mut said = Vec::new();
    // More than the index keeps apart, so that pages lead from one form of it into the other.
    for number in 0..400 {
        let room = &rooms[number % 2];
        said.insert(0, say_later(&ada, room, &number.to_string(), &format!("pear {number}")).await);
    }
    let newest: Vec<&str> = said.iter().take(10).map(String::as_str).collect();
    finds(&ada, "pear", &newest).await;
    for (order, expected) in [("recent", 400), ("rank", 200)] {
        let criteria =
            json!({ "search_term": "pear", "order_by": order, "filter": { "limit": 70 } });
        let (mut all, mut next) = (Vec::new(), None);
        loop {
            let answer = ask(&ada, next.as_ref(), criteria.clone()).await.ok();
            let page = &answer["search_categories"]["room_events"];
            assert!(ids(page).len() <= 70);
            all.extend(ids(page));
            match &page["next_batch"] {
                Value::Null => break,
                token => next = Some(token.clone()),
            }
        }
        let mut expected = said[..expected].to_vec();
        if order == "rank" {
            all.sort();
            expected.sort();
        }
        assert_eq!(all, expected, "{order}");
    }
    for junk in ["x", "r1", "k_1_2", "r1_2.room.x"] {
        let criteria = json!({ "search_term": "pear" });
        ask(&ada, Some(&json!(junk)), criteria).await.refused(junk, 400, "M_INVALID_PARAM");
    }
}

#[tokio::test]
async fn results_are_filtered_grouped_and_put_into_their_context() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let (one, two) = (ada.room_with(&[&bob]).await, ada.room_with(&[&bob]).await);
    let before = say_later(&ada, &one, "1", "before").await;
    let plum = say_later(&bob, &one, "2", "plum").await;
    let after = say_later(&ada, &one, "3", "after").await;
    let plums = say_later(&ada, &two, "4", "plum plum").await;
    finds(&ada, "plum", &[&plums, &plum]).await;

    let best = search(&ada, json!({ "search_term": "plum" })).await;
    assert_eq!(ids(&best), [plums.clone(), plum.clone()], "by rank");
    assert_eq!((&best["count"], &best["highlights"]), (&json!(2), &json!(["plum"])));
    let criteria = |more: Value| {
        let mut criteria = json!({ "search_term": "plum", "order_by": "recent" });
        for (name, value) in more.as_object().into_iter().flatten() {
            criteria[name] = value.clone();
        }
        criteria
    };
    for (row, filter, expected) in [
        ("a room", json!({ "rooms": [one] }), &plum),
        ("no room", json!({ "not_rooms": [one] }), &plums),
        ("a sender", json!({ "senders": [bob.id] }), &plum),
        ("no sender", json!({ "not_senders": [bob.id] }), &plums),
    ] {
        let found = search(&ada, criteria(json!({ "filter": filter }))).await;
        assert_eq!(ids(&found), std::slice::from_ref(expected), "{row}");
    }
    let types = criteria(json!({ "filter": { "types": ["m.room.topic"] } }));
    assert!(ids(&search(&ada, types).await).is_empty());

    let more = json!({
        "event_context": { "before_limit": 1, "after_limit": 1, "include_profile": true },
        "include_state": true,
        "filter": { "rooms": [one] },
    });
    let found = search(&ada, criteria(more)).await;
    let context = &found["results"][0]["context"];
    assert_eq!(event_id(&context["events_before"][0]), before);
    assert_eq!(event_id(&context["events_after"][0]), after);
    assert_eq!(context["profile_info"][&bob.id]["displayname"], "bob");
    let earlier = format!(
        "/v3/rooms/{}/messages?dir=b&limit=1&from={}",
        segment(&one),
        segment(context["end"].as_str().expect("a token"))
    );
    assert_eq!(event_id(&ada.get(&earlier).await.ok()["chunk"][0]), after);
    let state = found["state"][&one].as_array().expect("the state");
    assert!(state.iter().any(|event| event["type"] == "m.room.create"));

    let grouping = json!({ "groupings": { "group_by": [{ "key": "room_id" }, { "key": "sender" }] },
        "filter": { "limit": 1 } });
    let found = search(&ada, criteria(grouping.clone())).await;
    assert_eq!(found["groups"]["room_id"][&two]["results"], json!([plums]));
    let next = &found["groups"]["sender"][&ada.id]["next_batch"];
    let answer = ask(&ada, Some(next), criteria(grouping)).await.ok();
    let rest = &answer["search_categories"]["room_events"];
    assert!(ids(rest).is_empty(), "bob's is not of her group: {rest}");
}
