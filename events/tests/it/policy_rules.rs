//! What an operator's rules say of single events.

use events::{Objection, Pdu, PolicyLists, PolicyRules, UnusablePattern};
use serde_json::{Value, json};

use crate::room::version;

fn event(sender: &str, event_type: &str, state_key: Option<&str>, content: &Value) -> Pdu {
    let mut json = json!({
        "type": event_type, "sender": sender, "room_id": "!room:a.test", "content": content,
        "depth": 1, "origin_server_ts": 1, "prev_events": [], "auth_events": [],
        "hashes": {}, "signatures": {},
    });
    if let Some(state_key) = state_key {
        json["state_key"] = Value::from(state_key);
    }
    Pdu::from_json(serde_json::to_vec(&json).unwrap().into(), version(11)).unwrap()
}

fn message(content: &Value) -> Pdu {
    event("@bob:b.test", "m.room.message", None, content)
}

fn said(body: &str) -> Pdu {
    message(&json!({ "msgtype": "m.text", "body": body }))
}

fn list(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

fn rules(lists: &PolicyLists) -> PolicyRules {
    PolicyRules::new(lists).unwrap()
}

#[test]
fn without_rules_everything_is_recommended() {
    let rules = rules(&PolicyLists::default());
    for pdu in [said("hello"), said(&"x ".repeat(30_000)), message(&json!({}))] {
        assert_eq!(rules.check(&pdu), Ok(()));
    }
}

#[test]
fn servers_and_senders_are_denied_under_any_spelling() {
    let rules = rules(&PolicyLists {
        denied_servers: list(&["evil.test", "*.evil.test"]),
        denied_senders: list(&["@Spam*:*", "@bob:b.test"]),
        trusted_senders: list(&["@mod:evil.test", "@spam-report:*"]),
        ..PolicyLists::default()
    });
    let hello = json!({ "msgtype": "m.text", "body": "hello" });
    for (sender, expected) in [
        ("@ann:a.test", Ok(())),
        ("@ann:evil.test", Err(Objection::Server)),
        ("@ann:EVIL.test:8448", Err(Objection::Server)),
        ("@ann:evil.test.", Err(Objection::Server)),
        ("@ann:deep.evil.test", Err(Objection::Server)),
        ("@ann:devil.test", Ok(())),
        ("@ann:127.1", Err(Objection::Server)),
        ("@spam1:a.test", Err(Objection::Sender)),
        ("@SPAM1:a.test", Err(Objection::Sender)),
        ("@bob:b.test", Err(Objection::Sender)),
        ("@bobby:b.test", Ok(())),
        ("@mod:evil.test", Ok(())),
        ("@spam-report:a.test", Ok(())),
    ] {
        let pdu = event(sender, "m.room.message", None, &hello);
        assert_eq!(rules.check(&pdu), expected, "{sender}");
    }
}

#[test]
fn kinds_of_events_and_of_messages_are_denied() {
    let rules = rules(&PolicyLists {
        denied_types: list(&["m.sticker", "m.image", "org.spam.*", "m.room.topic"]),
        ..PolicyLists::default()
    });
    for (event_type, msgtype, denied) in [
        ("m.room.message", "m.text", false),
        ("m.room.message", "m.image", true),
        ("m.sticker", "", true),
        ("org.spam.x", "", true),
        ("org.spam", "", false),
        ("M.Sticker", "", false),
    ] {
        let pdu = event("@bob:b.test", event_type, None, &json!({ "msgtype": msgtype }));
        let expected = if denied { Err(Objection::Type) } else { Ok(()) };
        assert_eq!(rules.check(&pdu), expected, "{event_type} {msgtype}");
    }
    let topic = event("@bob:b.test", "m.room.topic", Some(""), &json!({ "topic": "t" }));
    assert_eq!(rules.check(&topic), Err(Objection::Type));
}

#[test]
fn size_and_mentions_have_limits() {
    let rules = rules(&PolicyLists {
        mentions_max: Some(2),
        content_bytes_max: Some(400),
        ..PolicyLists::default()
    });
    let mentioning = |count: usize, room: bool| {
        let ids: Vec<_> = (0..count).map(|n| format!("@u{n}:a.test")).collect();
        json!({ "user_ids": ids, "room": room })
    };
    let pills = "https://matrix.to/#/@a:b.test https://matrix.to/#/%40b:b.test ";
    for (content, expected) in [
        (json!({ "m.mentions": mentioning(2, false) }), Ok(())),
        (json!({ "m.mentions": mentioning(1, true) }), Ok(())),
        (json!({ "m.mentions": mentioning(3, false) }), Err(Objection::Mentions)),
        (json!({ "m.mentions": mentioning(2, true) }), Err(Objection::Mentions)),
        (
            json!({ "m.new_content": { "m.mentions": mentioning(3, false) } }),
            Err(Objection::Mentions),
        ),
        (json!({ "body": pills, "formatted_body": pills }), Ok(())),
        (json!({ "formatted_body": format!("{pills}{pills}") }), Err(Objection::Mentions)),
        (json!({ "m.mentions": [1, 2, 3], "m.new_content": 7 }), Ok(())),
        (json!({ "m.mentions": { "user_ids": {}, "room": "yes" } }), Ok(())),
        (json!({ "body": "x".repeat(389) }), Ok(())),
        (json!({ "body": "x".repeat(390) }), Err(Objection::Size)),
    ] {
        assert_eq!(rules.check(&message(&content)), expected, "{content}");
    }
}

#[test]
fn words_are_found_wherever_there_is_text() {
    let rules = rules(&PolicyLists {
        denied_text: list(&["cheap pills", "casino*", "spam.example", "b?d", "ÄRGER"]),
        ..PolicyLists::default()
    });
    for (body, denied) in [
        ("buy cheap pills now", true),
        ("CHEAP-PILLS!", true),
        ("cheap \n  pills", true),
        ("che\u{200B}ap pil\u{AD}ls", true),
        ("cheap pillsy", false),
        ("uncheap pills", false),
        ("cheap red pills", false),
        ("casino", true),
        ("Casinos galore", true),
        ("the casino", true),
        ("supercasino", false),
        ("https://spam.example/x?y", true),
        ("https://notspam.example/", false),
        ("bad", true),
        ("bäd", true),
        ("bd", false),
        ("so ein Ärger", true),
        ("", false),
    ] {
        let expected = if denied { Err(Objection::Text) } else { Ok(()) };
        assert_eq!(rules.check(&said(body)), expected, "{body:?}");
    }
    let word = "casino";
    for (event_type, key, content, denied) in [
        ("m.room.message", None, json!({ "formatted_body": word }), true),
        ("m.room.message", None, json!({ "m.new_content": { "body": word } }), true),
        ("m.room.message", None, json!({ "m.text": [{ "body": word }] }), true),
        ("m.room.topic", Some(""), json!({ "topic": word }), true),
        (
            "m.room.member",
            Some("@bob:b.test"),
            json!({ "membership": "join", "displayname": word }),
            true,
        ),
        (
            "m.room.member",
            Some("@bob:b.test"),
            json!({ "membership": "leave", "reason": word }),
            true,
        ),
        ("m.room.redaction", None, json!({ "reason": word }), true),
        ("m.room.message", None, json!({ "body": { "casino": 1 } }), false),
        ("m.room.encrypted", None, json!({ "ciphertext": "AbC/casino/9" }), false),
    ] {
        let expected = if denied { Err(Objection::Text) } else { Ok(()) };
        let pdu = event("@bob:b.test", event_type, key, &content);
        assert_eq!(rules.check(&pdu), expected, "{content}");
    }
}

/// Whom nobody wants to hear may still go.
#[test]
fn whoever_leaves_is_let_go() {
    let rules = rules(&PolicyLists {
        denied_servers: list(&["b.test"]),
        denied_types: list(&["m.room.member"]),
        ..PolicyLists::default()
    });
    let member = |sender: &str, key: &str, content: Value| {
        rules.check(&event(sender, "m.room.member", Some(key), &content))
    };
    let (bob, eve) = ("@bob:b.test", "@eve:b.test");
    assert_eq!(member(bob, bob, json!({ "membership": "leave" })), Ok(()));
    let more = json!({ "membership": "leave", "reason": "buy!" });
    assert_eq!(member(bob, bob, more), Err(Objection::Server));
    assert_eq!(member(bob, eve, json!({ "membership": "leave" })), Err(Objection::Server));
    assert_eq!(member(bob, bob, json!({ "membership": "join" })), Err(Objection::Server));
}

#[test]
fn rules_that_would_say_too_much_are_refused() {
    let of = |denied_text: Vec<String>| {
        PolicyRules::new(&PolicyLists { denied_text, ..PolicyLists::default() }).unwrap_err()
    };
    assert_eq!(of(list(&["fine", "*"])), UnusablePattern::Empty("*".to_owned()));
    assert_eq!(of(list(&["?!"])), UnusablePattern::Empty("?!".to_owned()));
    let long = "x".repeat(257);
    assert_eq!(of(vec![long.clone()]), UnusablePattern::Long(long));
    assert_eq!(of(vec!["x".to_owned(); 1001]), UnusablePattern::Many);
}
