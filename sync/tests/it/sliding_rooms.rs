//! Lists, windows and what is told of the rooms in them.

use std::time::Duration;

use rooms::Preset;
use ruma::{OwnedRoomId, UserId};
use serde_json::{Value, json};
use sync::Dialect;

use crate::{
    slide::{Slide, all, bodies, filtered, room, state, subscribed, told, window},
    world::{World, change},
};

fn nothing() -> Value {
    json!([])
}

async fn some_rooms(world: &World, user: &UserId, count: usize) -> Vec<OwnedRoomId> {
    let mut rooms = Vec::new();
    for _ in 0..count {
        rooms.push(world.shared_room(&[user]).await);
    }
    rooms
}

#[tokio::test]
async fn a_window_grows_until_the_count_and_then_waits() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let rooms = some_rooms(&world, &ada, 5).await;
    let mut slide = Slide::new(&world, &ada);

    let first = slide.ask(&all(1, 1, &nothing())).await;
    assert_eq!(first["lists"]["all"]["count"], 5);
    assert_eq!(window(&first), [rooms[4].as_str(), rooms[3].as_str()]);
    assert_eq!(told(&first).len(), 2);
    assert_eq!(room(&first, &rooms[4])["initial"], true);

    let second = slide.ask(&all(9, 1, &nothing())).await;
    let mut rest = vec![rooms[0].as_str(), rooms[1].as_str(), rooms[2].as_str()];
    rest.sort_unstable();
    assert_eq!(told(&second), rest, "those of the first window are not told again");

    let body = all(9, 1, &nothing());
    let waiting = slide.wait(&body);
    let (third, said) = tokio::join!(waiting, world.say(&rooms[0], &ada, "up"));
    assert_eq!(window(&third)[0], rooms[0], "a message moves its room to the top");
    let news = room(&third, &rooms[0]);
    assert_eq!((told(&third).len(), bodies(news)), (1, vec!["up"]));
    assert_eq!((&news["num_live"], &news["limited"]), (&json!(1), &json!(false)));
    assert_eq!(news["timeline"][0]["event_id"], said.as_str());
    assert!(news.get("initial").is_none() && news["prev_batch"].is_string());
}

#[tokio::test(start_paused = true)]
async fn nothing_new_is_answered_when_the_time_is_over() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    some_rooms(&world, &ada, 2).await;
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&all(9, 1, &nothing())).await;
    let pos = slide.pos.clone();
    let began = tokio::time::Instant::now();
    let answer = slide.wait(&all(9, 1, &nothing())).await;
    assert!(began.elapsed() >= Duration::from_secs(120));
    assert_eq!((told(&answer).len(), &answer["lists"]["all"]["count"]), (0, &json!(2)));
    assert_eq!(slide.pos, pos, "nothing moved, so nothing was written down");
}

#[tokio::test]
async fn the_same_pos_is_answered_the_same_again() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let rooms = some_rooms(&world, &ada, 3).await;
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&all(0, 1, &json!([["m.room.member", "$LAZY"]]))).await;
    world.say(&rooms[0], &ada, "one").await;
    let body = all(2, 1, &json!([["m.room.member", "$LAZY"]]));
    let lost = slide.peek(&body).await;
    let again = slide.ask(&body).await;
    assert_eq!(told(&lost).len(), 2);
    assert_eq!(lost["rooms"], again["rooms"], "members that are loaded lazily included");
    assert!(told(&slide.ask(&body).await).is_empty());
}

#[tokio::test]
async fn a_room_behind_the_window_comes_back_with_what_was_missed() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let rooms = some_rooms(&world, &ada, 2).await;
    let (low, high) = (&rooms[0], &rooms[1]);
    world.say(low, &ada, "zero").await;
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&all(9, 5, &json!([["m.room.topic", ""]]))).await;

    let body = subscribed(high, 5, &nothing());
    world.say(low, &ada, "one").await;
    world.topic(low, &ada, "missed").await;
    world.say(high, &ada, "seen").await;
    let seen = slide.ask(&body).await;
    assert_eq!(told(&seen), [high.as_str()]);
    world.say(low, &ada, "two").await;
    world.say(high, &ada, "seen").await;
    slide.ask(&body).await;

    let back = slide.ask(&all(9, 5, &json!([["m.room.topic", ""]]))).await;
    let news = room(&back, low);
    assert_eq!(bodies(news), ["one", "two"]);
    assert_eq!(state(news), ["m.room.topic|"]);
    assert!(news.get("initial").is_none());
    assert_eq!(news["num_live"], 0, "it all came before the last answer");
}

#[tokio::test]
async fn a_timeline_that_is_to_be_longer_is_sent_at_once() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    for body in ["a", "b", "c", "d"] {
        world.say(&id, &ada, body).await;
    }
    let mut slide = Slide::new(&world, &ada);
    let first = slide.ask(&all(9, 1, &nothing())).await;
    let told_first = room(&first, &id);
    assert_eq!((bodies(told_first), &told_first["limited"]), (vec!["d"], &json!(true)));

    let mut body = all(9, 1, &nothing());
    body["room_subscriptions"] = subscribed(&id, 3, &nothing())["room_subscriptions"].clone();
    let longer = slide.wait(&body).await;
    let news = room(&longer, &id);
    assert_eq!(bodies(news), ["b", "c", "d"]);
    assert_eq!((&news["unstable_expanded_timeline"], &news["num_live"]), (&json!(true), &json!(0)));

    assert!(told(&slide.ask(&all(9, 1, &nothing())).await).is_empty());
    assert!(told(&slide.ask(&body).await).is_empty(), "it has them already");
    slide.ask(&all(9, 1, &nothing())).await;
    world.say(&id, &ada, "e").await;
    world.say(&id, &ada, "f").await;
    let gap = slide.ask(&all(9, 1, &nothing())).await;
    assert_eq!((bodies(room(&gap, &id)), &room(&gap, &id)["limited"]), (vec!["f"], &json!(true)));
    let healed = slide.ask(&body).await;
    assert_eq!(bodies(room(&healed, &id)), ["d", "e", "f"]);
}

#[tokio::test]
async fn state_that_is_newly_required_is_sent_at_once() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    world.topic(&id, &ada, "t").await;
    let mut slide = Slide::new(&world, &ada);
    let first = slide.ask(&all(9, 1, &json!([["m.room.create", ""]]))).await;
    assert_eq!(state(room(&first, &id)), ["m.room.create|"]);
    let more = json!([["m.room.create", ""], ["m.room.topic", "*"]]);
    let second = slide.wait(&all(9, 1, &more)).await;
    assert_eq!(state(room(&second, &id)), ["m.room.topic|"]);
    assert!(room(&second, &id).get("timeline").is_none());

    world.topic(&id, &ada, "u").await;
    let third = slide.ask(&all(9, 1, &more)).await;
    assert_eq!(state(room(&third, &id)), ["m.room.topic|"], "state of the timeline is here too");
    slide.ask(&all(9, 1, &json!([["m.room.create", ""]]))).await;
    world.topic(&id, &ada, "v").await;
    let without = slide.ask(&all(9, 1, &json!([["m.room.create", ""]]))).await;
    assert!(state(room(&without, &id)).is_empty());
    let again = slide.ask(&all(9, 1, &more)).await;
    assert_eq!(room(&again, &id)["required_state"][0]["content"]["topic"], "v");
}

#[tokio::test]
async fn members_come_when_they_are_needed() {
    let world = World::new().await;
    let (ada, bob, eve) =
        (world.user("ada").await, world.user("bob").await, world.user("eve").await);
    let id = world.shared_room(&[&ada, &bob, &eve]).await;
    world.say(&id, &bob, "hello").await;
    let lazy = json!([["m.room.member", "$LAZY"]]);
    let mut slide = Slide::new(&world, &ada);
    let first = slide.ask(&all(9, 1, &lazy)).await;
    assert_eq!(state(room(&first, &id)), ["m.room.member|@bob:x.test"]);

    world.say(&id, &bob, "again").await;
    let second = slide.ask(&all(9, 1, &lazy)).await;
    assert!(state(room(&second, &id)).is_empty(), "she has bob");

    world.rooms.leave(&id, &eve, None).await.expect("eve leaves");
    let third = slide.ask(&all(9, 1, &lazy)).await;
    assert_eq!(state(room(&third, &id)), ["m.room.member|@eve:x.test"]);
    assert_eq!(room(&third, &id)["joined_count"], 2);

    let own = json!([["m.room.member", "$LAZY"], ["m.room.member", "$ME"]]);
    let fourth = slide.ask(&all(9, 1, &own)).await;
    assert_eq!(state(room(&fourth, &id)), ["m.room.member|@ada:x.test"]);
}

#[tokio::test]
async fn wildcards_and_everything() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&ada, &bob]).await;
    for key in ["a", "b"] {
        world.event(&id, &ada, "test.keyed", Some(key), &json!({})).await;
    }
    for (row, required, has, lacks) in [
        ("a type", json!([["test.keyed", "*"]]), "test.keyed|b", "m.room.create|"),
        ("a key", json!([["*", "a"]]), "test.keyed|a", "test.keyed|b"),
        ("all", json!([["*", "*"]]), "m.room.member|@bob:x.test", "none"),
        (
            "all but members",
            json!([["*", "*"], ["m.room.member", "$LAZY"]]),
            "m.room.create|",
            "m.room.member|@bob:x.test",
        ),
    ] {
        let answer = Slide::new(&world, &ada).ask(&all(9, 0, &required)).await;
        let told = state(room(&answer, &id));
        assert!(told.iter().any(|key| key == has), "{row}: {told:?}");
        assert!(!told.iter().any(|key| key == lacks), "{row}: {told:?}");
    }
}

#[tokio::test]
async fn an_invitation_is_shown_by_its_stripped_state_and_a_join_from_the_start() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&bob]).await;
    world.invite(&id, &bob, &ada).await;
    let mut slide = Slide::new(&world, &ada);
    let first = slide.ask(&all(9, 5, &json!([["m.room.create", ""]]))).await;
    let invited = room(&first, &id);
    let own = invited["invite_state"].as_array().expect("stripped").iter();
    let own: Vec<_> = own.filter(|event| event["state_key"] == ada.as_str()).collect();
    assert_eq!(own[0]["content"]["membership"], "invite");
    assert!(invited.get("timeline").is_none() && invited.get("required_state").is_none());
    assert!(told(&slide.ask(&all(9, 5, &json!([["m.room.create", ""]]))).await).is_empty());

    world.join(&id, &ada).await;
    world.say(&id, &bob, "welcome").await;
    let second = slide.ask(&all(9, 5, &json!([["m.room.create", ""]]))).await;
    let joined = room(&second, &id);
    assert_eq!((&joined["initial"], &joined["notification_count"]), (&json!(true), &json!(1)));
    assert!(joined.get("invite_state").is_none());
    assert_eq!(state(joined), ["m.room.create|"]);
    assert_eq!(bodies(joined), ["welcome"]);
}

#[tokio::test]
async fn rejected_invitations_carry_the_users_own_membership() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&bob]).await;
    world.invite(&id, &bob, &ada).await;
    for dialect in [Dialect::Unstable, Dialect::Stable] {
        let mut slide = Slide { dialect, ..Slide::new(&world, &ada) };
        let mut body = all(9, 5, &nothing());
        if dialect == Dialect::Stable {
            body["lists"]["all"]["required_state"] = json!({});
        }
        slide.ask(&body).await;
        world.rooms.leave(&id, &ada, None).await.expect("a rejection");
        let answer = slide.ask(&body).await;
        let rejected = room(&answer, &id);
        if dialect == Dialect::Unstable {
            assert!(rejected.get("invite_state").is_none());
            assert_eq!(rejected["required_state"][0]["content"]["membership"], "leave");
        } else {
            assert_eq!(rejected["membership"], "leave");
            assert_eq!(rejected["stripped_state"][0]["content"]["membership"], "leave");
        }
        let fresh = Slide::elsewhere(&world, &ada).ask(&all(9, 1, &nothing())).await;
        assert!(told(&fresh).is_empty());
        world.invite(&id, &bob, &ada).await;
    }
}

#[tokio::test]
async fn who_left_sees_nothing_that_came_after() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&bob, &ada]).await;
    let mut slide = Slide::new(&world, &ada);
    let body = all(9, 9, &json!([["m.room.topic", ""]]));
    slide.ask(&body).await;
    world.say(&id, &bob, "before").await;
    world.rooms.kick(change(&id, &bob, &ada)).await.expect("a kick");
    world.say(&id, &bob, "after").await;
    world.topic(&id, &bob, "after").await;
    let answer = slide.ask(&body).await;
    let news = room(&answer, &id);
    assert_eq!(bodies(news), ["before"]);
    assert_eq!(state(news), ["m.room.member|@ada:x.test"], "that is how a client knows");
    world.say(&id, &bob, "later").await;
    assert!(told(&slide.ask(&body).await).is_empty());

    let fresh = Slide::elsewhere(&world, &ada).ask(&body).await;
    assert_eq!(told(&fresh), [id.as_str()], "who was removed may not know it yet");
    assert!(!bodies(room(&fresh, &id)).contains(&"after"));

    world.join(&id, &ada).await;
    let back = slide.ask(&body).await;
    assert_eq!(room(&back, &id)["initial"], true);
    assert_eq!(room(&back, &id)["required_state"][0]["content"]["topic"], "after");
}

#[tokio::test]
async fn rooms_that_one_left_oneself_are_told_only_where_they_were_told_before() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let (left, stays) = (world.shared_room(&[&ada]).await, world.shared_room(&[&ada]).await);
    let mut slide = Slide::new(&world, &ada);
    slide.ask(&all(9, 1, &nothing())).await;
    world.rooms.leave(&left, &ada, None).await.expect("ada leaves");
    let answer = slide.ask(&all(9, 1, &nothing())).await;
    assert_eq!((told(&answer), &answer["lists"]["all"]["count"]), (vec![left.as_str()], &json!(2)));
    let fresh = Slide::elsewhere(&world, &ada).ask(&all(9, 1, &nothing())).await;
    assert_eq!((told(&fresh), &fresh["lists"]["all"]["count"]), (vec![stays.as_str()], &json!(1)));
    world.rooms.forget(&left, &ada).await.expect("ada forgets it");
    let answer = slide.ask(&all(9, 1, &nothing())).await;
    assert_eq!(answer["lists"]["all"]["count"], 1);
}

#[tokio::test]
async fn nobody_else_can_be_looked_at() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let private = world.room(&bob, Preset::PrivateChat).await;
    let mut slide = Slide::new(&world, &ada);
    let body = subscribed(&private, 9, &json!([["*", "*"]]));
    assert!(told(&slide.ask(&body).await).is_empty());
    world.say(&private, &bob, "secret").await;
    assert!(told(&slide.ask(&body).await).is_empty());
    world.rooms.ban(change(&private, &bob, &ada)).await.expect("a ban");
    let answer = slide.ask(&body).await;
    assert!(told(&answer).is_empty(), "a ban of who never was in shows nothing");
    let listed = slide.ask(&all(9, 9, &json!([["*", "*"]]))).await;
    assert_eq!((told(&listed).len(), &listed["lists"]["all"]["count"]), (0, &json!(0)));
}

#[tokio::test]
async fn filters_choose_rooms() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let plain = world.shared_room(&[&ada]).await;
    let encrypted = world.shared_room(&[&ada]).await;
    let algorithm = json!({"algorithm": "m.megolm.v1.aes-sha2"});
    world.event(&encrypted, &ada, "m.room.encryption", Some(""), &algorithm).await;
    world.event(&encrypted, &ada, "m.room.name", Some(""), &json!({"name": "Garden Club"})).await;
    let space = world.room_of_type(&ada, Preset::PublicChat, Some("m.space")).await;
    let via = json!({"via": ["x.test"]});
    world.event(&space, &ada, "m.space.child", Some(plain.as_str()), &via).await;
    world.event(&space, &ada, "m.space.child", Some(encrypted.as_str()), &json!({})).await;
    let invited = world.shared_room(&[&bob]).await;
    world.invite(&invited, &bob, &ada).await;
    world.account_data(&ada, None, "m.direct", &json!({bob.as_str(): [plain]})).await;
    let tags = json!({"tags": {"m.favourite": {}, "u.x": {}}});
    world.account_data(&ada, Some(&encrypted), "m.tag", &tags).await;

    for (filters, expected) in [
        (json!({}), vec![&plain, &encrypted, &space, &invited]),
        (json!({"is_dm": true}), vec![&plain]),
        (json!({"is_dm": false}), vec![&encrypted, &space, &invited]),
        (json!({"is_encrypted": true}), vec![&encrypted]),
        (json!({"is_encrypted": false}), vec![&plain, &space, &invited]),
        (json!({"is_invite": true}), vec![&invited]),
        (json!({"is_invited": false}), vec![&plain, &encrypted, &space]),
        (json!({"room_types": ["m.space"]}), vec![&space]),
        (json!({"room_types": [null]}), vec![&plain, &encrypted, &invited]),
        (
            json!({"room_types": ["m.space", null], "not_room_types": ["m.space"]}),
            vec![&plain, &encrypted, &invited],
        ),
        (json!({"not_room_types": [null]}), vec![&space]),
        (json!({"spaces": [space]}), vec![&plain]),
        (json!({"spaces": ["!unknown:x.test"]}), vec![]),
        (json!({"tags": ["m.favourite", "m.lowpriority"]}), vec![&encrypted]),
        (json!({"not_tags": ["u.x"]}), vec![&plain, &space, &invited]),
        (json!({"tags": ["m.favourite"], "not_tags": ["u.x"]}), vec![]),
        (json!({"room_name_like": "garden"}), vec![&encrypted]),
    ] {
        let answer = Slide::new(&world, &ada).ask(&filtered(&filters)).await;
        let mut expected: Vec<_> = expected.into_iter().map(|room| room.as_str()).collect();
        expected.sort_unstable();
        assert_eq!(told(&answer), expected, "{filters}");
        assert_eq!(answer["lists"]["all"]["count"], expected.len(), "{filters}");
    }
}

#[tokio::test]
async fn names_heroes_and_counts() {
    let world = World::new().await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let id = world.shared_room(&[&ada, &bob]).await;
    let mut slide = Slide::new(&world, &ada);
    let first = slide.ask(&all(9, 1, &nothing())).await;
    let unnamed = room(&first, &id);
    assert!(unnamed.get("name").is_none());
    assert_eq!(unnamed["heroes"][0]["user_id"], bob.as_str());
    assert_eq!((&unnamed["joined_count"], &unnamed["invited_count"]), (&json!(2), &json!(0)));

    world.event(&id, &ada, "m.room.name", Some(""), &json!({"name": "N"})).await;
    let avatar = json!({"url": "mxc://x.test/a"});
    world.event(&id, &ada, "m.room.avatar", Some(""), &avatar).await;
    let second = slide.ask(&all(9, 1, &nothing())).await;
    let named = room(&second, &id);
    assert_eq!((&named["name"], &named["avatar"]), (&json!("N"), &json!("mxc://x.test/a")));
    assert!(named.get("heroes").is_none() && named.get("joined_count").is_none());

    world.event(&id, &ada, "m.room.name", Some(""), &json!({"name": ""})).await;
    let third = slide.ask(&all(9, 1, &nothing())).await;
    assert!(room(&third, &id).get("name").is_none());
    assert_eq!(room(&third, &id)["heroes"][0]["user_id"], bob.as_str());

    world.account_data(&ada, None, "m.direct", &json!({bob.as_str(): [id]})).await;
    let fourth = slide.wait(&all(9, 1, &nothing())).await;
    assert_eq!(room(&fourth, &id)["is_dm"], true);
}

#[tokio::test]
async fn the_bump_stamp_moves_with_what_people_say() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    world.topic(&id, &ada, "t").await;
    let mut slide = Slide::new(&world, &ada);
    let stamp = |answer: &Value| room(answer, &id)["bump_stamp"].as_u64().expect("a number");
    let created = stamp(&slide.ask(&all(9, 1, &nothing())).await);
    world.topic(&id, &ada, "u").await;
    assert_eq!(stamp(&slide.ask(&all(9, 1, &nothing())).await), created);
    world.say(&id, &ada, "hello").await;
    assert!(stamp(&slide.ask(&all(9, 1, &nothing())).await) > created);
}

#[tokio::test]
async fn the_stable_form_says_the_same_in_its_own_words() {
    let world = World::new().await;
    let ada = world.user("ada").await;
    let id = world.shared_room(&[&ada]).await;
    world.event(&id, &ada, "m.room.name", Some(""), &json!({"name": "N"})).await;
    let mut slide = Slide::stable(&world, &ada);
    let body = |limit: u64| {
        let required = json!({"include": [{"type": "m.room.name"}]});
        json!({"lists": {"all": {"timeline_limit": limit, "required_state": required}}})
    };
    let first = slide.ask(&body(1)).await;
    assert_eq!(first["lists"], json!({"all": {"count": 1}}));
    let news = room(&first, &id);
    assert_eq!((&news["membership"], &news["lists"]), (&json!("join"), &json!(["all"])));
    assert!(news.get("notification_count").is_none());
    let second = slide.ask(&body(2)).await;
    assert_eq!(room(&second, &id)["expanded_timeline"], true);
    world.event(&id, &ada, "m.room.name", Some(""), &json!({})).await;
    let third = slide.ask(&body(2)).await;
    assert_eq!(room(&third, &id)["name"], Value::Null);
    assert!(room(&third, &id).as_object().expect("an object").contains_key("name"));
}
