//! One bad thing in an answer does not spoil the good ones.

use bytes::Bytes;
use rooms::ports::{Handshake, MissingEvents, RemoteError, RemoteServers as _};
use ruma::{room_alias_id, user_id};
use serde_json::value::RawValue;

use super::{
    World,
    calls::{CALLS, event, pdu, room},
};

/// Things that a list of PDUs may hold.
fn odd() -> Vec<String> {
    let deep = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    vec![
        r#"{"type":"first"}"#.to_owned(),
        "null".to_owned(),
        "5".to_owned(),
        r#""text""#.to_owned(),
        "[]".to_owned(),
        r#"{"number":1.50,"large":123456789012345678901234567890,"tiny":1e-400}"#.to_owned(),
        r#"{"twice":1,"twice":2,"lone":"\ud800"}"#.to_owned(),
        deep(126),
        deep(200),
        deep(30_000),
        format!(r#"{{"large":"{}"}}"#, "x".repeat(1 << 20)),
        r#"{"type":"last"}"#.to_owned(),
    ]
}

fn all_of(found: &[Bytes], what: &str) {
    let odd = odd();
    assert_eq!(found.len(), odd.len(), "{what}");
    for (found, odd) in found.iter().zip(odd) {
        assert!(**found == *odd.as_bytes(), "{what}: every byte of {:.40} is kept", odd);
    }
}

#[tokio::test]
async fn pdus_arrive_byte_for_byte_whatever_stands_beside_them() {
    let list = format!("[{}]", odd().join(" , "));
    let body = format!(
        r#"{{"pdus":{list},"events":{list},"auth_chain":{list},"state":{list},
        "knock_room_state":{list},"event":{{"x":1.50}},"origin":5,"more":{list}}}"#
    );
    let World { remote, server, peer } = World::answering(body).await;
    let (room, event) = (room(), event());
    all_of(&remote.backfill(&server, room, vec![], 1).await.expect("answered"), "backfill");
    let request = MissingEvents { earliest: vec![], latest: vec![], limit: 1, min_depth: 0 };
    let missing = remote.missing_events(&server, room, request).await;
    all_of(&missing.expect("answered"), "missing_events");
    all_of(&remote.event_auth(&server, room, &event).await.expect("answered"), "event_auth");
    let state = remote.state(&server, room, &event).await.expect("answered");
    all_of(&state.state, "state");
    all_of(&state.auth_chain, "auth chain of state");
    let joined = remote.send_join(&server, room, &event, pdu()).await.expect("answered");
    all_of(&joined.state, "state of send_join");
    all_of(&joined.auth_chain, "auth chain of send_join");
    assert_eq!(joined.event.as_deref(), Some(br#"{"x":1.50}"#.as_slice()));
    all_of(&remote.send_knock(&server, room, &event, pdu()).await.expect("answered"), "knock");
    let first = remote.event(&server, &event).await.expect("answered");
    assert_eq!(&*first, br#"{"type":"first"}"#);
    assert_eq!(peer.count(), 7);
}

#[tokio::test]
async fn names_and_ids_that_are_none_are_left_out() {
    let names = r#"["ok.test","not a name","",5,null,{},"[::1]:8448","a.test:99999","x.test"]"#;
    let ids = format!(r#"["$good",5,null,"good","","${}",{{}},"$better:a.test"]"#, "x".repeat(300));
    let body = format!(
        r#"{{"room_id":"!r:a.test","servers":{names},"servers_in_room":{names},"state":[],
        "auth_chain":[],"members_omitted":true,"pdu_ids":{ids},"auth_chain_ids":{ids}}}"#
    );
    let World { remote, server, peer: _peer } = World::answering(body).await;
    let expected = ["ok.test", "[::1]:8448", "x.test"];
    let alias = remote.directory(&server, room_alias_id!("#a:a.test")).await.expect("answered");
    assert_eq!((alias.room_id.as_str(), &*alias.servers), ("!r:a.test", &expected.map(name)[..]));
    let joined = remote.send_join(&server, room(), &event(), pdu()).await.expect("answered");
    assert_eq!((&*joined.servers_in_room, joined.members_omitted), (&expected.map(name)[..], true));
    let found = remote.state_ids(&server, room(), &event()).await.expect("answered");
    for ids in [found.state, found.auth_chain] {
        assert_eq!(ids, ["$good", "$better:a.test"]);
    }
}

fn name(name: &str) -> ruma::OwnedServerName {
    crate::net::name(name)
}

#[tokio::test]
async fn what_may_be_absent_may_be_null() {
    let joined = r#"{"state":[],"auth_chain":[],"servers_in_room":null,"members_omitted":null,"event":null}"#;
    let World { remote, server, peer: _peer } = World::answering(joined).await;
    let joined = remote.send_join(&server, room(), &event(), pdu()).await.expect("answered");
    assert!(joined.event.is_none() && joined.servers_in_room.is_empty() && !joined.members_omitted);
    let World { remote, server, peer: _peer } =
        World::answering(r#"{"event":{},"room_version":null}"#).await;
    let user = user_id!("@ada:us.test");
    let made = remote.make(&server, Handshake::Join, room(), user, &[]).await.expect("answered");
    assert_eq!((&*made.room_version, made.event.get()), ("1", "{}"));
}

#[tokio::test]
async fn an_answer_that_is_something_else_is_malformed() {
    let deep = "[".repeat(100_000);
    let endless = format!(r#"{{"pdus":{deep}"#);
    for body in [
        "",
        "null",
        "5",
        "\"text\"",
        "[]",
        "{}",
        "<!doctype html>",
        "{\"pdus\"",
        "{\"pdus\":[{]}",
        "{\"pdus\":[{\"a\":}],\"auth_chain\":[],\"state\":[]}",
        r#"{"pdus":{},"events":{},"auth_chain":{},"state":{},"event":[}"#,
        r#"{"pdus":5,"events":5,"auth_chain":5,"state":5,"pdu_ids":5,"auth_chain_ids":5,"room_id":5,"origin_server_ts":-1}"#,
        r#"{"pdus":null,"events":null,"auth_chain":null,"state":null,"room_id":"r","event_id":""}"#,
        &deep,
        &endless,
        "\u{feff}{\"pdus\":[],\"events\":[],\"auth_chain\":[]}",
    ] {
        let world = World::answering(body).await;
        for call in CALLS {
            let answer = (call.ask)(&world.remote, &world.server).await;
            let is_malformed = matches!(answer, Err(RemoteError::Malformed { .. }));
            assert!(is_malformed, "{} of {body:.60}: {answer:?}", call.what);
        }
    }
    // One more brace than there should be.
    for call in CALLS {
        let world = World::answering(format!("{}}}", call.good)).await;
        let answer = (call.ask)(&world.remote, &world.server).await;
        assert!(matches!(answer, Err(RemoteError::Malformed { .. })), "{}", call.what);
    }
}

/// Each of them takes two bytes on the wire, and many more in memory.
#[tokio::test]
async fn millions_of_things_are_not_taken() {
    let many = format!("[{}1]", "1,".repeat(1 << 20));
    for field in ["pdus", "events", "state", "pdu_ids", "servers", "servers_in_room"] {
        let all = ["pdus", "events", "state", "auth_chain", "pdu_ids", "auth_chain_ids"];
        let mut body: Vec<String> = all
            .into_iter()
            .filter(|other| *other != field)
            .map(|other| format!(r#""{other}":[]"#))
            .collect();
        body.push(format!(r#""room_id":"!r:a.test","{field}":{many}"#));
        let world = World::answering(format!("{{{}}}", body.join(","))).await;
        let mut refused = Vec::new();
        for call in CALLS {
            if (call.ask)(&world.remote, &world.server).await.is_err() {
                refused.push(call.what);
            }
        }
        let expected: &[&str] = match field {
            "pdus" => &["event", "event_auth", "state", "backfill"],
            "events" => &["missing_events"],
            "state" | "servers_in_room" => &["send_join"],
            "pdu_ids" => &["state_ids"],
            _ => &["directory"],
        };
        // Those that need something else are refused in any case.
        refused.retain(|what| !["timestamp_to_event", "invite"].contains(what));
        refused.retain(|what| !what.starts_with("make_"));
        refused.retain(|what| *what != "event" || field == "pdus");
        assert_eq!(refused, expected, "{field}");
    }
}

#[tokio::test]
async fn no_event_is_no_answer() {
    let World { remote, server, peer: _peer } = World::answering(r#"{"pdus":[]}"#).await;
    let answer = remote.event(&server, &event()).await;
    assert!(matches!(answer, Err(RemoteError::Malformed { .. })), "{answer:?}");
}

#[tokio::test]
async fn profiles_are_what_they_are_or_nothing() {
    use accounts::RemoteProfiles as _;
    let user = user_id!("@ada:a.test:1");
    let body = r#"{"displayname":"Ada","avatar_url":null,"odd":[1.50]}"#;
    let world = World::answering(body).await;
    let profile = world.remote.profile(user).await.expect("found");
    let fields: Vec<(&str, &str)> =
        profile.iter().map(|(key, value)| (&**key, RawValue::get(value))).collect();
    assert_eq!(fields, [("avatar_url", "null"), ("displayname", "\"Ada\""), ("odd", "[1.50]")]);
    let uri = "/_matrix/federation/v1/query/profile?user_id=%40ada%3Aa.test%3A1";
    assert_eq!(world.peer.seen()[0].uri, uri);
    for body in ["", "[]", "null", "{\"displayname\"", "5"] {
        assert!(World::answering(body).await.remote.profile(user).await.is_none(), "{body}");
    }
}
