//! Account data, tags, push rules and filters: round trips, changes, facts.

use accounts::{AccountDataError, AccountDataEvent, FilterError, PushRulesError, stream};
use ruma::{UserId, event_id, push::RuleKind, room_id};
use serde_json::value::RawValue;

use crate::{Server, at_once, raw};

fn summary(events: &[AccountDataEvent]) -> Vec<(&str, &str, &str)> {
    events
        .iter()
        .filter(|event| event.event_type != "m.push_rules")
        .map(|event| {
            let room = event.room_id.as_ref().map_or("", |id| id.as_str());
            (room, event.event_type.as_str(), event.content.get())
        })
        .collect()
}

#[tokio::test]
async fn data_changes_and_is_deleted() {
    let mut server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let room = room_id!("!room:example.org");
    let start = server.store.log().position();
    let accounts = server.accounts.clone();
    let set = async |room, event_type, json: &str| {
        accounts.set_account_data(&ada, room, event_type, &raw(json)).await.expect("set")
    };
    let first = set(None, "org.a", r#"{"n":1}"#).await;
    set(Some(room), "org.a", r#"{"n":2}"#).await;
    let last = set(None, "org.a", r#"{"n":3}"#).await;
    accounts.set_fully_read(&ada, room, event_id!("$read")).await.expect("set");
    assert!(first < last);
    assert_eq!(last, server.store.log().position() - 1);

    for _restart in 0..2 {
        let accounts = &server.accounts;
        let global = accounts.account_data(&ada, None, "org.a").await.expect("read");
        assert_eq!(global.expect("set").get(), r#"{"n":3}"#);
        assert!(accounts.account_data(&ada, None, "org.b").await.expect("read").is_none());
        let all = accounts.all_account_data(&ada).await.expect("read");
        assert_eq!(all.len(), 4, "with the push rules");
        let fully_read = ("!room:example.org", "m.fully_read", r#"{"event_id":"$read"}"#);
        let in_room = ("!room:example.org", "org.a", r#"{"n":2}"#);
        assert_eq!(summary(&all), [("", "org.a", r#"{"n":3}"#), fully_read, in_room]);
        let of_room = accounts.room_account_data(&ada, room).await.expect("read");
        assert_eq!(summary(&of_room), [fully_read, in_room]);
        server.reopen().await;
    }

    let changes =
        async |after, up_to| accounts.account_data_changes(&ada, after, up_to).await.expect("read");
    let all = changes(start, u64::MAX).await;
    assert_eq!(all.len(), 3, "each once, at its latest change");
    assert!(all.is_sorted_by_key(|event| event.position));
    assert_eq!(changes(last, u64::MAX).await.len(), 1);
    assert_eq!(changes(start, last - 1).await.len(), 1, "the room's, as the global one moved on");
    assert!(changes(last, last).await.is_empty());

    assert!(accounts.delete_account_data(&ada, None, "org.a").await.expect("deleted"));
    assert!(!accounts.delete_account_data(&ada, None, "org.a").await.expect("gone"));
    assert!(accounts.account_data(&ada, None, "org.a").await.expect("read").is_none());
    assert_eq!(accounts.all_account_data(&ada).await.expect("read").len(), 3);
    let deleted = changes(last + 1, u64::MAX).await;
    assert_eq!(summary(&deleted), [("", "org.a", "{}")]);
}

/// MSC3391: "if a client `PUT`s `{}` for account data, that must be seen equivalent as `DELETE`-ing".
#[tokio::test]
async fn an_empty_object_deletes_and_is_heard_of() {
    let server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let set = async |json: &str| {
        server.accounts.set_account_data(&ada, None, "org.a", &raw(json)).await.expect("set")
    };
    let all = async || server.accounts.all_account_data(&ada).await.expect("read");
    for (before, empty) in [(None, "{}"), (Some(r#"{"n":1}"#), "{}"), (Some(r#"{"n":1}"#), " { } ")]
    {
        if let Some(before) = before {
            set(before).await;
            assert_eq!(all().await.len(), 2, "with the push rules");
        }
        let at = set(empty).await;
        assert!(server.accounts.account_data(&ada, None, "org.a").await.expect("read").is_none());
        assert_eq!(all().await.len(), 1, "{before:?}");
        let changes = server.accounts.account_data_changes(&ada, at - 1, at).await.expect("read");
        assert_eq!(summary(&changes), [("", "org.a", "{}")], "{before:?}");
    }
}

#[tokio::test]
async fn every_change_is_a_fact() {
    let server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let room = room_id!("!room:example.org");
    server.accounts.set_account_data(&ada, None, "org.a", &raw("{}")).await.expect("set");
    server.accounts.set_tag(&ada, room, "m.favourite", &raw("{}")).await.expect("set");
    let facts = server.store.facts(0, u64::MAX, 100).await.expect("read");
    let facts = facts.into_iter().filter(|logged| logged.fact.stream == stream::ACCOUNT_DATA);
    let facts: Vec<_> = facts
        .map(|logged| {
            assert_eq!(&*logged.fact.subject, "@ada:example.org");
            let fact = stream::AccountDataFact::decode(&logged.fact.payload).expect("decodes");
            (fact.room_id.map(|id| id.to_string()), fact.event_type)
        })
        .collect();
    let expected =
        [(None, "org.a".to_owned()), (Some("!room:example.org".to_owned()), "m.tag".to_owned())];
    assert_eq!(facts, expected);
}

#[tokio::test]
async fn what_is_not_account_data_is_refused() {
    let server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let set = async |event_type: &str, json: &str| {
        server.accounts.set_account_data(&ada, None, event_type, &raw(json)).await
    };
    for managed in ["m.push_rules", "m.fully_read"] {
        let refused = set(managed, "{}").await;
        assert!(matches!(refused, Err(AccountDataError::ServerManaged(_))), "{managed}");
    }
    for json in ["[]", "1", "null", "\"x\""] {
        assert!(matches!(set("org.a", json).await, Err(AccountDataError::NotAnObject)), "{json}");
    }
    let large = format!(r#"{{"x":{:?}}}"#, "x".repeat(1 << 20));
    assert!(matches!(set("org.a", &large).await, Err(AccountDataError::TooLarge)));
    assert!(matches!(set(&"a".repeat(256), "{}").await, Err(AccountDataError::TooLarge)));
    assert!(server.accounts.account_data(&ada, None, "org.a").await.expect("read").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tags_set_at_once_all_stay() {
    let server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let room = room_id!("!room:example.org");
    let outcomes = at_once(|index| {
        let (accounts, ada) = (server.accounts.clone(), ada.clone());
        async move {
            let info = raw(&format!(r#"{{"order":0.{index}}}"#));
            accounts.set_tag(&ada, room, &format!("u.tag{index}"), &info).await
        }
    })
    .await;
    assert!(outcomes.iter().all(Result::is_ok));
    let tags = server.accounts.tags(&ada, room).await.expect("read");
    assert_eq!(tags.len(), 64);
    assert_eq!(tags["u.tag7"].get(), r#"{"order":0.7}"#);
    server.accounts.delete_tag(&ada, room, "u.tag7").await.expect("deleted");
    let content = server.accounts.account_data(&ada, Some(room), "m.tag").await.expect("read");
    assert!(!content.expect("set").get().contains("u.tag7"));
    // Of 65 changes the last is reported, once.
    let changes = server.accounts.account_data_changes(&ada, 0, u64::MAX).await.expect("read");
    assert_eq!(changes.len(), 1);

    let long = "u".repeat(256);
    let refused = server.accounts.set_tag(&ada, room, &long, &raw("{}")).await;
    assert!(matches!(refused, Err(AccountDataError::TooLarge)));
    let refused = server.accounts.set_tag(&ada, room, "u.x", &raw("1")).await;
    assert!(matches!(refused, Err(AccountDataError::NotAnObject)));
}

#[tokio::test]
async fn push_rules_start_with_the_defaults() {
    let mut server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let (kind, rule) = (RuleKind::Override, ".m.rule.master");
    let is_enabled =
        |rules: &ruma::push::Ruleset| rules.get(kind.clone(), rule).expect("predefined").enabled();
    assert!(!is_enabled(&server.accounts.push_rules(&ada).await.expect("read")));
    let refused = server.accounts.change_push_rules(&ada, |_| Err("no")).await;
    assert!(matches!(refused, Err(PushRulesError::Refused("no"))));
    let enable = |rules: &mut ruma::push::Ruleset| rules.set_enabled(kind.clone(), rule, true);
    server.accounts.change_push_rules(&ada, enable).await.expect("changed");
    for _restart in 0..2 {
        assert!(is_enabled(&server.accounts.push_rules(&ada).await.expect("read")));
        let content = server.accounts.account_data(&ada, None, "m.push_rules").await;
        let content = content.expect("read").expect("always there");
        assert!(content.get().starts_with(r#"{"global":{"#));
        server.reopen().await;
    }
    let changes = server.accounts.account_data_changes(&ada, 0, u64::MAX).await.expect("read");
    assert_eq!(changes.iter().map(|c| c.event_type.as_str()).collect::<Vec<_>>(), ["m.push_rules"]);
}

#[tokio::test]
async fn filters_are_kept() {
    let mut server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let bob = server.user("bob").await.user_id;
    let json = r#"{"room":{"timeline":{"limit":7}}}"#;
    let id = server.accounts.create_filter(&ada, &raw(json)).await.expect("kept");
    assert!(!id.starts_with('{'));
    assert_eq!(server.accounts.create_filter(&ada, &raw(json)).await.expect("kept"), id);
    let other = server.accounts.create_filter(&ada, &raw("{}")).await.expect("kept");
    assert_ne!(other, id);
    server.reopen().await;
    let filter = server.accounts.filter(&ada, &id).await.expect("read");
    assert_eq!(filter.expect("kept").get(), json);
    assert!(server.accounts.filter(&ada, "0").await.expect("read").is_none());
    assert!(server.accounts.filter(&bob, &id).await.expect("read").is_none(), "of another user");
    let large = raw(&format!("{{\"x\":{:?}}}", "x".repeat(65_536)));
    let refused = server.accounts.create_filter(&ada, &large).await;
    assert!(matches!(refused, Err(FilterError::TooLarge)));
    let refused = server.accounts.create_filter(&ada, &raw("[]")).await;
    assert!(matches!(refused, Err(FilterError::NotAnObject)));
}

#[tokio::test]
async fn push_rules_are_bounded() {
    use ruma::push::{NewPatternedPushRule, NewPushRule, NewSimplePushRule, Ruleset};
    let server = Server::new().await;
    let ada = server.user("ada").await.user_id;
    let content = |id: String, pattern: String| {
        NewPushRule::Content(NewPatternedPushRule::new(id, pattern, Vec::new()))
    };
    let room = |number: usize| {
        let room = ruma::RoomId::parse(format!("!{number}:example.org")).expect("a room id");
        NewPushRule::Room(NewSimplePushRule::new(room, Vec::new()))
    };
    let word = |number: usize| content(format!("word{number}"), "word".to_owned());
    let good = [
        (0..900).map(word).collect::<Vec<_>>(),
        (0..5000).map(room).collect(),
        vec![content("x".repeat(300), "y".repeat(1024))],
        (0..8).map(|number| content(format!("glob{number}"), "*".repeat(1000))).collect(),
    ];
    let bad = [
        (0..1001).map(word).collect::<Vec<_>>(),
        (0..10_000).map(room).collect(),
        vec![content("x".repeat(301), "y".to_owned())],
        vec![content("x".to_owned(), "y".repeat(1025))],
        (0..9).map(|number| content(format!("glob{number}"), "*".repeat(1000))).collect(),
    ];
    for (rules, is_good) in good
        .into_iter()
        .map(|rules| (rules, true))
        .chain(bad.into_iter().map(|rules| (rules, false)))
    {
        let defaults = Ruleset::server_default(&ada);
        let change = |own: &mut Ruleset| {
            *own = defaults;
            rules.into_iter().try_for_each(|rule| own.insert(rule, None, None))
        };
        let changed = server.accounts.change_push_rules(&ada, change).await;
        match changed {
            Ok(()) => assert!(is_good),
            Err(PushRulesError::TooLarge) => assert!(!is_good),
            Err(other) => panic!("{other}"),
        }
    }
}

/// What one user keeps is bounded as a whole, and what is given up makes space again.
#[tokio::test]
async fn nobody_keeps_account_data_without_end() {
    let mut server = Server::new().await;
    let (ada, bob) = (server.user("ada").await.user_id, server.user("bob").await.user_id);
    let mebibyte = raw(&format!(r#"{{"x":{:?}}}"#, "x".repeat((1 << 20) - 300)));
    for index in 0..32 {
        let room = (index % 2 == 1).then_some(room_id!("!room:example.org"));
        let event_type = format!("org.{index}");
        let set = server.accounts.set_account_data(&ada, room, &event_type, &mebibyte);
        set.await.unwrap_or_else(|error| panic!("{index}: {error}"));
    }
    for round in ["at once", "after a restart"] {
        let set = async |user: &UserId, event_type: &str, content: &RawValue| {
            server.accounts.set_account_data(user, None, event_type, content).await
        };
        let refused = set(&ada, "org.more", &mebibyte).await;
        assert!(matches!(refused, Err(AccountDataError::TooMuch)), "{round}: {refused:?}");
        let tag = room_id!("!other:example.org");
        let info = raw(&format!(r#"{{"x":{:?}}}"#, "x".repeat(60_000)));
        let refused = server.accounts.set_tag(&ada, tag, "u.tag", &info).await;
        assert!(matches!(refused, Err(AccountDataError::TooMuch)), "{round}: {refused:?}");
        let count = server.accounts.all_account_data(&ada).await.expect("read").len();
        assert_eq!(count, 32 + 1, "{round}: with the push rules");
        set(&ada, "org.0", &mebibyte).await.expect("what is there may be set again");
        set(&bob, "org.more", &mebibyte).await.expect("it is nobody else's matter");
        server.reopen().await;
    }
    server.accounts.delete_account_data(&ada, None, "org.0").await.expect("deleted");
    let set = server.accounts.set_account_data(&ada, None, "org.more", &mebibyte);
    set.await.expect("there is space again");
}

#[tokio::test]
async fn nobody_keeps_filters_without_end() {
    let server = Server::new().await;
    let (ada, bob) = (server.user("ada").await.user_id, server.user("bob").await.user_id);
    let numbered = |number: usize| raw(&format!(r#"{{"event_fields":["{number}"]}}"#));
    for number in 0..1000 {
        server.accounts.create_filter(&ada, &numbered(number)).await.expect("kept");
    }
    let refused = server.accounts.create_filter(&ada, &numbered(1000)).await;
    assert!(matches!(refused, Err(FilterError::TooMany)), "{refused:?}");
    let again = server.accounts.create_filter(&ada, &numbered(7)).await.expect("it is there");
    let kept = server.accounts.filter(&ada, &again).await.expect("read").expect("kept");
    assert_eq!(kept.get(), numbered(7).get());

    let large = |number: usize| {
        raw(&format!(r#"{{"event_fields":["{number}",{:?}]}}"#, "x".repeat(60 << 10)))
    };
    for number in 0..68 {
        server.accounts.create_filter(&bob, &large(number)).await.expect("four mebibytes");
    }
    let refused = server.accounts.create_filter(&bob, &large(68)).await;
    assert!(matches!(refused, Err(FilterError::TooMany)), "{refused:?}");
}
