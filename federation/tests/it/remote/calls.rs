//! Each question, with ids that need care in a path.

use bytes::Bytes;
use federation::Remote;
use futures_util::future::BoxFuture;
use rooms::ports::{Handshake, MissingEvents, RemoteError, RemoteServers as _, SendInvite};
use ruma::{OwnedEventId, RoomId, ServerName, room_alias_id, user_id};
use serde_json::{Value, json, value::to_raw_value};

use super::World;

type Asked<'a> = BoxFuture<'a, Result<(), RemoteError>>;

/// A question: what it is called, how it is put, and what must arrive.
pub(crate) struct Call {
    pub(crate) what: &'static str,
    pub(crate) ask: for<'a> fn(&'a Remote, &'a ServerName) -> Asked<'a>,
    method: &'static str,
    uri: &'static str,
    body: Option<&'static str>,
    /// An answer that is all right.
    pub(crate) good: &'static str,
}

pub(crate) fn room() -> &'static RoomId {
    <&RoomId>::try_from("!r/?#%&=+:a.test").expect("a room id")
}

pub(crate) fn event() -> OwnedEventId {
    OwnedEventId::try_from("$e/+?:a.test").expect("an event id")
}

pub(crate) fn pdu() -> Bytes {
    Bytes::from_static(br#"{"type":"m.room.member","depth":7}"#)
}

fn done<T>(result: Result<T, RemoteError>) -> Result<(), RemoteError> {
    result.map(|_| ())
}

const PDUS: &str = r#"{"pdus":[{}],"auth_chain":[]}"#;

/// Everything but `PUT`s, whose paths come in two versions.
pub(crate) const CALLS: &[Call] = &[
    Call {
        what: "missing_events",
        ask: |remote, server| {
            let (earliest, latest) = (vec![event()], vec![event(), event()]);
            let request = MissingEvents { earliest, latest, limit: 10, min_depth: 3 };
            Box::pin(async move { done(remote.missing_events(server, room(), request).await) })
        },
        method: "POST",
        uri: "/_matrix/federation/v1/get_missing_events/%21r%2F%3F%23%25%26%3D%2B%3Aa.test",
        body: Some(
            r#"{"earliest_events":["$e/+?:a.test"],"latest_events":["$e/+?:a.test","$e/+?:a.test"],"limit":10,"min_depth":3}"#,
        ),
        good: r#"{"events":[]}"#,
    },
    Call {
        what: "event",
        ask: |remote, server| Box::pin(async move { done(remote.event(server, &event()).await) }),
        method: "GET",
        uri: "/_matrix/federation/v1/event/%24e%2F%2B%3F%3Aa.test",
        body: None,
        good: PDUS,
    },
    Call {
        what: "event_auth",
        ask: |remote, server| {
            Box::pin(async move { done(remote.event_auth(server, room(), &event()).await) })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/event_auth/%21r%2F%3F%23%25%26%3D%2B%3Aa.test/%24e%2F%2B%3F%3Aa.test",
        body: None,
        good: PDUS,
    },
    Call {
        what: "state_ids",
        ask: |remote, server| {
            Box::pin(async move { done(remote.state_ids(server, room(), &event()).await) })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/state_ids/%21r%2F%3F%23%25%26%3D%2B%3Aa.test?event_id=%24e%2F%2B%3F%3Aa.test",
        body: None,
        good: r#"{"pdu_ids":[],"auth_chain_ids":[]}"#,
    },
    Call {
        what: "state",
        ask: |remote, server| {
            Box::pin(async move { done(remote.state(server, room(), &event()).await) })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/state/%21r%2F%3F%23%25%26%3D%2B%3Aa.test?event_id=%24e%2F%2B%3F%3Aa.test",
        body: None,
        good: PDUS,
    },
    Call {
        what: "backfill",
        ask: |remote, server| {
            let from = vec![event(), event()];
            Box::pin(async move { done(remote.backfill(server, room(), from, 50).await) })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/backfill/%21r%2F%3F%23%25%26%3D%2B%3Aa.test?limit=50&v=%24e%2F%2B%3F%3Aa.test&v=%24e%2F%2B%3F%3Aa.test",
        body: None,
        good: PDUS,
    },
    Call {
        what: "timestamp_to_event",
        ask: |remote, server| {
            Box::pin(
                async move { done(remote.timestamp_to_event(server, room(), 1234, true).await) },
            )
        },
        method: "GET",
        uri: "/_matrix/federation/v1/timestamp_to_event/%21r%2F%3F%23%25%26%3D%2B%3Aa.test?ts=1234&dir=b",
        body: None,
        good: r#"{"event_id":"$x","origin_server_ts":1233}"#,
    },
    Call {
        what: "make_join",
        ask: |remote, server| {
            Box::pin(async move {
                let (user, versions) = (user_id!("@ada:us.test"), &["1", "12"]);
                done(remote.make(server, Handshake::Join, room(), user, versions).await)
            })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/make_join/%21r%2F%3F%23%25%26%3D%2B%3Aa.test/%40ada%3Aus.test?ver=1&ver=12",
        body: None,
        good: r#"{"event":{}}"#,
    },
    Call {
        what: "make_knock",
        ask: |remote, server| {
            Box::pin(async move {
                let (user, versions) = (user_id!("@ada:us.test"), &["7"]);
                done(remote.make(server, Handshake::Knock, room(), user, versions).await)
            })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/make_knock/%21r%2F%3F%23%25%26%3D%2B%3Aa.test/%40ada%3Aus.test?ver=7",
        body: None,
        good: r#"{"event":{},"room_version":"7"}"#,
    },
    Call {
        what: "make_leave",
        ask: |remote, server| {
            Box::pin(async move {
                let (user, versions) = (user_id!("@ada:us.test"), &["1"]);
                done(remote.make(server, Handshake::Leave, room(), user, versions).await)
            })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/make_leave/%21r%2F%3F%23%25%26%3D%2B%3Aa.test/%40ada%3Aus.test",
        body: None,
        good: r#"{"event":{}}"#,
    },
    Call {
        what: "directory",
        ask: |remote, server| {
            Box::pin(async move {
                done(remote.directory(server, room_alias_id!("#a&b=c:a.test")).await)
            })
        },
        method: "GET",
        uri: "/_matrix/federation/v1/query/directory?room_alias=%23a%26b%3Dc%3Aa.test",
        body: None,
        good: r#"{"room_id":"!r:a.test","servers":[]}"#,
    },
    Call {
        what: "send_join",
        ask: |remote, server| {
            Box::pin(async move { done(remote.send_join(server, room(), &event(), pdu()).await) })
        },
        method: "PUT",
        uri: "/_matrix/federation/v2/send_join/%21r%2F%3F%23%25%26%3D%2B%3Aa.test/%24e%2F%2B%3F%3Aa.test",
        body: Some(r#"{"type":"m.room.member","depth":7}"#),
        good: r#"{"state":[],"auth_chain":[]}"#,
    },
    Call {
        what: "invite",
        ask: |remote, server| {
            let invite = SendInvite {
                room_version: "10".to_owned(),
                event: pdu(),
                stripped_state: vec![Bytes::from_static(b"{\"type\":\"m.room.name\"}")],
                via: vec![server.to_owned()],
            };
            Box::pin(async move { done(remote.invite(server, room(), &event(), invite).await) })
        },
        method: "PUT",
        uri: "/_matrix/federation/v2/invite/%21r%2F%3F%23%25%26%3D%2B%3Aa.test/%24e%2F%2B%3F%3Aa.test",
        body: Some(
            r#"{"event":{"type":"m.room.member","depth":7},"invite_room_state":[{"type":"m.room.name"}],"room_version":"10","via":["a.test:1"]}"#,
        ),
        good: r#"{"event":{}}"#,
    },
];

#[tokio::test]
async fn questions_are_put_as_the_specification_says() {
    for call in CALLS {
        let world = World::answering(call.good).await;
        let answer = (call.ask)(&world.remote, &world.server).await;
        assert_eq!(answer, Ok(()), "{}", call.what);
        let [seen] = &*world.peer.seen() else { panic!("{}: one request", call.what) };
        assert_eq!((&*seen.method, &*seen.uri), (call.method, call.uri), "{}", call.what);
        assert!(seen.authorization.is_some(), "{}", call.what);
        match call.body {
            None => assert!(seen.body.is_empty(), "{}", call.what),
            Some(body) => {
                let [body, sent]: [Value; 2] = [body.as_bytes(), &seen.body]
                    .map(|body| serde_json::from_slice(body).expect("JSON"));
                assert_eq!(body, sent, "{}", call.what);
            }
        }
    }
}

#[tokio::test]
async fn questions_that_are_handed_on_are_handed_on_as_they_are() {
    let world = World::answering(r#"{"chunk":[],"next_batch":"x","more":1.5}"#).await;
    let request = to_raw_value(&json!({ "limit": 5, "filter": {} })).expect("JSON");
    let rooms = world.remote.public_rooms(&world.server, request.clone()).await.expect("answered");
    assert_eq!(rooms.get(), r#"{"chunk":[],"next_batch":"x","more":1.5}"#);
    let seen = &world.peer.seen()[0];
    assert_eq!((&*seen.method, &*seen.uri), ("POST", "/_matrix/federation/v1/publicRooms"));
    assert_eq!(&*seen.body, request.get().as_bytes());
    world.remote.hierarchy(&world.server, room(), true).await.expect("answered");
    let uri =
        "/_matrix/federation/v1/hierarchy/%21r%2F%3F%23%25%26%3D%2B%3Aa.test?suggested_only=true";
    assert_eq!(world.peer.seen()[1].uri, uri);
}
