//! Who says no, who cannot say anything, and who has another version.

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{StatusCode, header};
use rooms::ports::{Handshake, RemoteError, RemoteServers as _, SendInvite};

use super::{
    World,
    calls::{CALLS, event, pdu, room},
};
use crate::net::{Peer, Seen, json};

fn answer(code: u16, body: &str) -> Option<Response> {
    let code = StatusCode::from_u16(code).expect("a status");
    Some((code, [(header::LOCATION, "https://b.test/")], body.to_owned()).into_response())
}

const FORBIDDEN: &str = r#"{"errcode":"M_FORBIDDEN","error":"Not you"}"#;

#[tokio::test]
async fn a_refusal_is_told_from_trouble() {
    for (code, body, expected) in [
        (403, FORBIDDEN, Some(("M_FORBIDDEN", "Not you"))),
        (400, FORBIDDEN, Some(("M_FORBIDDEN", "Not you"))),
        (404, r#"{"errcode":"M_NOT_FOUND"}"#, Some(("M_NOT_FOUND", ""))),
        (401, "", Some(("", ""))),
        (404, "<!doctype html>", Some(("", ""))),
        (400, r#"{"errcode":5,"error":[]}"#, Some(("", ""))),
        (400, "[]", Some(("", ""))),
        (413, "null", Some(("", ""))),
        (307, FORBIDDEN, Some(("M_FORBIDDEN", "Not you"))),
        (429, r#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":5}"#, None),
        (500, FORBIDDEN, None),
        (502, "", None),
        (503, "<!doctype html>", None),
        (504, "null", None),
    ] {
        let World { remote, server, peer } = World::with(move |_| answer(code, body)).await;
        let mut requests = 0;
        for call in CALLS {
            let what = format!("{} with {code} {body}", call.what);
            match ((call.ask)(&remote, &server).await, expected) {
                (
                    Err(RemoteError::Refused { status, errcode, message, server: from, .. }),
                    Some(no),
                ) => {
                    assert_eq!((status, &*errcode, &*message), (code, no.0, no.1), "{what}");
                    assert_eq!(from, server, "{what}");
                }
                (Err(RemoteError::Unreachable { .. }), None) => {}
                (other, _) => panic!("{what}: {other:?}"),
            }
            // Of a server that does not say what it does not know, the older version is asked.
            let is_old = call.what == "send_join" && (code, body) == (404, "<!doctype html>");
            requests += if is_old { 2 } else { 1 };
        }
        assert_eq!(peer.count(), requests, "{code} {body}: the requests for each question");
    }
}

#[tokio::test]
async fn of_an_endless_reason_the_beginning_is_told() {
    let body = format!(
        r#"{{"errcode":"{}","error":"{}"}}"#,
        "M".repeat(1 << 20),
        "\u{1F4A9}".repeat(1 << 18)
    );
    let World { remote, server, peer: _peer } = World::with(move |_| answer(403, &body)).await;
    let refused = remote.event(&server, &event()).await;
    let Err(RemoteError::Refused { errcode, message, .. }) = refused else { panic!("{refused:?}") };
    assert!(errcode.len() <= 2000 && message.len() <= 2000);
}

/// A user must learn which version it is that this server does not know.
#[tokio::test]
async fn of_a_version_that_does_not_fit_its_name_is_told() {
    for (body, expected) in [
        (r#"{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","room_version":"org.x"}"#, Some("org.x")),
        (r#"{"errcode":"M_INCOMPATIBLE_ROOM_VERSION"}"#, None),
        (r#"{"errcode":"M_FORBIDDEN","room_version":"org.x"}"#, None),
    ] {
        let World { remote, server, peer: _peer } = World::with(move |_| answer(400, body)).await;
        let user = ruma::user_id!("@ada:us.test");
        let refused = remote.make(&server, Handshake::Join, room(), user, &["11"]).await;
        let Err(RemoteError::Refused { room_version, .. }) = refused else {
            panic!("{body}: {refused:?}")
        };
        assert_eq!(room_version.as_deref(), expected, "{body}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let World { remote, peer: _peer, .. } = World::answering("{}").await;
    let nowhere = crate::net::name("nowhere.test");
    for call in CALLS {
        let answer = (call.ask)(&remote, &nowhere).await;
        assert!(matches!(answer, Err(RemoteError::Unreachable { .. })), "{}", call.what);
    }
}

/// Knows no v2: it says so, and how.
fn old(seen: &Seen, refusal: (u16, &'static str), v1: &'static str) -> Option<Response> {
    if seen.uri.contains("/v1/") { json(v1) } else { answer(refusal.0, refusal.1) }
}

const UNRECOGNIZED: &str = r#"{"errcode":"M_UNRECOGNIZED","error":"What?"}"#;

fn invite(room_version: &str) -> SendInvite {
    SendInvite {
        room_version: room_version.to_owned(),
        event: Bytes::from_static(br#"{"depth":7,"unsigned":{"age":5},"content":{"n":1.50}}"#),
        stripped_state: vec![Bytes::from_static(br#"{"type":"m.room.name"}"#)],
        via: Vec::new(),
    }
}

fn asked(peer: &Peer) -> Vec<String> {
    peer.seen().iter().map(|seen| seen.uri[20..33].to_owned()).collect()
}

#[tokio::test]
async fn an_old_server_is_asked_in_the_old_way() {
    for refusal in [
        (404, UNRECOGNIZED),
        (405, UNRECOGNIZED),
        (400, UNRECOGNIZED),
        (404, ""),
        (404, "404 page not found"),
        (404, "<!doctype html>"),
    ] {
        let v1 = r#"[200,{"state":[{"a":1}],"auth_chain":[],"event":{"b":2}}]"#;
        let World { remote, server, peer } = World::with(move |seen| old(seen, refusal, v1)).await;
        let joined = remote.send_join(&server, room(), &event(), pdu()).await.expect("answered");
        assert_eq!(joined.state.len(), 1, "{refusal:?}");
        remote.send_leave(&server, room(), &event(), pdu()).await.expect("answered");
        assert!(peer.seen().iter().all(|seen| seen.body == pdu()), "{refusal:?}");
        let invited = remote.invite(&server, room(), &event(), invite("2")).await;
        assert_eq!(invited.expect("answered"), Bytes::from_static(br#"{"b":2}"#));
        let expected = [
            "v2/send_join/",
            "v1/send_join/",
            "v2/send_leave",
            "v1/send_leave",
            "v2/invite/%21",
            "v1/invite/%21",
        ];
        assert_eq!(asked(&peer), expected, "{refusal:?}");
        // The event itself, byte for byte, and nothing of ours in its `unsigned`.
        let body = r#"{"content":{"n":1.50},"depth":7,"unsigned":{"invite_room_state":[{"type":"m.room.name"}]}}"#;
        assert_eq!(peer.seen()[5].body, body, "{refusal:?}");
    }
}

#[tokio::test]
async fn an_old_answer_is_an_array_of_a_status_and_what_the_new_one_is() {
    for v1 in ["{}", "[]", "[200]", r#"["200",{}]"#, r#"[200,{"state":[],"auth_chain":[]},3]"#] {
        let answer = move |seen: &Seen| old(seen, (404, UNRECOGNIZED), v1);
        let World { remote, server, peer: _peer } = World::with(answer).await;
        let joined = remote.send_join(&server, room(), &event(), pdu()).await;
        assert!(matches!(joined, Err(RemoteError::Malformed { .. })), "{v1}: {joined:?}");
        let invited = remote.invite(&server, room(), &event(), invite("1")).await;
        assert!(matches!(invited, Err(RemoteError::Malformed { .. })), "{v1}: {invited:?}");
    }
}

/// v1 says nothing of the room's version: "servers ... must assume that the room version is either
/// "1" or "2"".
#[tokio::test]
async fn an_old_server_is_not_invited_to_new_rooms() {
    for version in ["3", "10", "12"] {
        let World { remote, server, peer } =
            World::with(move |seen| old(seen, (404, UNRECOGNIZED), "[200,{}]")).await;
        let invited = remote.invite(&server, room(), &event(), invite(version)).await;
        assert!(matches!(invited, Err(RemoteError::Refused { .. })), "{version}: {invited:?}");
        assert_eq!(asked(&peer), ["v2/invite/%21"], "{version}");
    }
}

#[tokio::test]
async fn a_server_that_says_no_is_not_asked_in_another_way() {
    for (code, body) in [
        (403, FORBIDDEN),
        (404, r#"{"errcode":"M_NOT_FOUND"}"#),
        (403, UNRECOGNIZED),
        (401, ""),
        (400, "<!doctype html>"),
    ] {
        let World { remote, server, peer } = World::with(move |_| answer(code, body)).await;
        let joined = remote.send_join(&server, room(), &event(), pdu()).await;
        assert!(matches!(joined, Err(RemoteError::Refused { .. })));
        let left = remote.send_leave(&server, room(), &event(), pdu()).await;
        assert!(matches!(left, Err(RemoteError::Refused { .. })));
        let invited = remote.invite(&server, room(), &event(), invite("1")).await;
        assert!(matches!(invited, Err(RemoteError::Refused { .. })));
        assert_eq!(peer.count(), 3, "{code} {body}");
    }
}
