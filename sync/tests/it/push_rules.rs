//! What is worked out once for many users is what each user's own rules say.

use ruma::{
    OwnedUserId, UInt, UserId,
    push::{
        Action, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
        PushConditionRoomCtx, RuleKind, Ruleset,
    },
    serde::Raw,
};
use serde_json::{Value, json};
use storage::Store;

use crate::world::World;

/// What is said of an event by the rules of one user, put to it by themselves.
async fn alone(world: &World, rules: &Ruleset, user: &UserId, event: &rooms::StoredEvent) -> Value {
    let view = world.rooms.room(event.pdu.room_id()).await.expect("readable").expect("a room");
    let mut context = PushConditionRoomCtx::new(
        view.room_id.clone(),
        UInt::new_saturating(view.joined_members),
        user.to_owned(),
        String::new(),
    );
    let levels = world.rooms.state_get(view.state, "m.room.power_levels", "").await;
    let levels = levels.expect("readable").expect("power levels");
    let content = levels.pdu.content_as().expect("power levels");
    let authorization = &view.version.rules().authorization;
    let creators = [view.create.sender().to_owned()];
    let levels = ruma::events::room::power_levels::RoomPowerLevels::new(
        ruma::events::room::power_levels::RoomPowerLevelsSource::Original(content),
        authorization,
        creators,
    );
    context.power_levels = Some(levels.into());
    let json = std::str::from_utf8(event.pdu.json()).expect("text").to_owned();
    let raw: Raw<Value> = Raw::from_json_string(json).expect("JSON");
    let actions = rules.get_actions(&raw, &context).await;
    match actions.iter().any(Action::should_notify) {
        true => json!(actions),
        false => Value::Null,
    }
}

async fn change(world: &World, user: &UserId, rule: NewPushRule) {
    let change = |rules: &mut Ruleset| rules.insert(rule, None, None);
    world.accounts.change_push_rules(user, change).await.expect("a good rule");
}

/// Two with the default rules, one who changed them, and two with rules of their own.
async fn people(world: &World) -> Vec<OwnedUserId> {
    let mut people = Vec::new();
    for name in ["ada", "ben", "cid", "dan", "eve"] {
        people.push(world.user(name).await);
    }
    let word = NewPatternedPushRule::new("w".to_owned(), "lunch".to_owned(), vec![Action::Notify]);
    change(world, &people[3], NewPushRule::Content(word)).await;
    let all = NewConditionalPushRule::new("all".to_owned(), Vec::new(), vec![Action::Notify]);
    change(world, &people[4], NewPushRule::Override(all)).await;
    let switch = |rules: &mut Ruleset| {
        rules.set_enabled(RuleKind::Override, ".m.rule.is_user_mention", false)?;
        rules.set_enabled(RuleKind::Override, ".m.rule.suppress_notices", false)?;
        rules.set_actions(RuleKind::Underride, ".m.rule.message", Vec::new())
    };
    world.accounts.change_push_rules(&people[2], switch).await.expect("there are such rules");
    people
}

#[tokio::test]
async fn users_are_notified_as_their_own_rules_say() {
    let world = World::new().await;
    let people = people(&world).await;
    let ids: Vec<_> = people.iter().map(AsRef::as_ref).collect();
    let room = world.shared_room(&ids).await;
    let muted = NewSimplePushRule::new(room.clone(), Vec::new());
    change(&world, &people[3], NewPushRule::Room(muted)).await;
    let text = |body: &str, mentions: Value| json!({"msgtype": "m.text", "body": body, "m.mentions": mentions});
    let cases = [
        ("m.room.message", text("hello", json!({}))),
        ("m.room.message", text("lunch", json!({"user_ids": [people[1]]}))),
        ("m.room.message", text("all of you", json!({"room": true}))),
        ("m.room.message", text("a trick", json!({"user_ids": ["@nobody:invalid"]}))),
        ("m.room.message", text("nonsense", json!({"user_ids": [7, {"a": 1}, people[2]]}))),
        ("m.room.message", text("nonsense", json!({"user_ids": people[2]}))),
        ("m.room.message", text("nonsense", json!([people[2]]))),
        ("m.room.message", json!({"msgtype": "m.notice", "body": "hum"})),
        ("m.room.encrypted", json!({"algorithm": "m.megolm.v1.aes-sha2"})),
        ("m.reaction", json!({})),
        ("m.call.invite", json!({})),
        ("org.example.own", json!({})),
    ];
    for sender in [&people[0], &people[1]] {
        for (event_type, content) in &cases {
            let id = world.event(&room, sender, event_type, None, content).await;
            let event = world.rooms.event_by_id(&id).await.expect("readable").expect("an event");
            let mut rules = world.sync.push_rules().in_room(&room).await.expect("readable");
            for user in &people {
                let own = world.accounts.push_rules(user).await.expect("readable");
                let expected = alone(&world, &own, user, &event).await;
                let found = rules.verdict(user, &event).await.expect("a verdict");
                let found = found.map_or(Value::Null, |actions| json!(&actions[..]));
                assert_eq!(found, expected, "{user} of {sender}: {event_type} {content}");
            }
        }
    }
}

#[tokio::test]
async fn the_actions_of_old_do_not_notify() {
    let world = World::new().await;
    let (ada, ben) = (world.user("ada").await, world.user("ben").await);
    let room = world.shared_room(&[&ada, &ben]).await;
    let actions = serde_json::from_value(json!(["dont_notify"])).expect("actions");
    let muted = NewSimplePushRule::new(room.clone(), actions);
    change(&world, &ben, NewPushRule::Room(muted)).await;
    let id = world.say(&room, &ada, "hello").await;
    let event = world.rooms.event_by_id(&id).await.expect("readable").expect("an event");
    let mut rules = world.sync.push_rules().in_room(&room).await.expect("readable");
    assert!(rules.verdict(&ben, &event).await.expect("a verdict").is_none());
}

/// Who of ben (by his localpart), eve (who calls herself "Evelyn") and flo, who changed a rule of hers,
/// is notified with a highlight.
async fn highlighted(legacy_mentions: bool, content: Value) -> Vec<String> {
    let store = Store::open(&storage::Config::memory(), 7).expect("memory opens");
    let config = accounts::Config { legacy_mentions, ..Default::default() };
    let world = World::with(store, config).await;
    let mut people = Vec::new();
    for name in ["ada", "ben", "eve", "flo"] {
        people.push(world.user(name).await);
    }
    let ids: Vec<_> = people.iter().map(AsRef::as_ref).collect();
    let room = world.shared_room(&ids).await;
    let (ada, eve, flo) = (&people[0], &people[2], &people[3]);
    let named = json!({"membership": "join", "displayname": "Evelyn"});
    world.event(&room, eve, "m.room.member", Some(eve.as_str()), &named).await;
    let word = NewPatternedPushRule::new("w".to_owned(), "lunch".to_owned(), vec![Action::Notify]);
    change(&world, flo, NewPushRule::Content(word)).await;
    let id = world.event(&room, ada, "m.room.message", None, &content).await;
    let event = world.rooms.event_by_id(&id).await.expect("readable").expect("an event");
    let mut rules = world.sync.push_rules().in_room(&room).await.expect("readable");
    let mut found = Vec::new();
    for user in &people[1..] {
        let verdict = rules.verdict(user, &event).await.expect("a verdict");
        if verdict.is_some_and(|actions| actions.iter().any(Action::is_highlight)) {
            found.push(user.localpart().to_owned());
        }
    }
    found
}

/// As it was before version 1.17: "matches any message whose content contains the user's current
/// display name", the local part of their id, or `@room`.
#[tokio::test]
async fn a_name_in_the_text_counts_where_the_operator_says_so() {
    let text = |body: &str| json!({"msgtype": "m.text", "body": body});
    let mentions = json!({"msgtype": "m.text", "body": "ben, evelyn, @room", "m.mentions": {}});
    for (content, expected) in [
        (text("hello"), vec![]),
        (text("Ben: hello"), vec!["ben"]),
        (text("benefits"), vec![]),
        (text("evelyn and FLO are late"), vec!["eve", "flo"]),
        (text("@room, wake up"), vec!["ben", "eve", "flo"]),
        (mentions, vec![]),
    ] {
        assert_eq!(highlighted(true, content.clone()).await, expected, "{content}");
        assert!(highlighted(false, content.clone()).await.is_empty(), "{content}");
    }
}
