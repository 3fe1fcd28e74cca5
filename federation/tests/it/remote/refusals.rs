//! Who says no, who cannot say anything, and who has another version.

use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use rooms::ports::{RemoteError, RemoteServers as _};

use super::{
    World,
    calls::{CALLS, event, pdu, room},
};
use crate::net::{Seen, json};

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
        for call in CALLS {
            let what = format!("{} with {code} {body}", call.what);
            match ((call.ask)(&remote, &server).await, expected) {
                (
                    Err(RemoteError::Refused { status, errcode, message, server: from }),
                    Some(no),
                ) => {
                    assert_eq!((status, &*errcode, &*message), (code, no.0, no.1), "{what}");
                    assert_eq!(from, server, "{what}");
                }
                (Err(RemoteError::Unreachable { .. }), None) => {}
                (other, _) => panic!("{what}: {other:?}"),
            }
        }
        assert_eq!(peer.count(), CALLS.len(), "{code}: one request for each question");
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

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let World { remote, peer: _peer, .. } = World::answering("{}").await;
    let nowhere = crate::net::name("nowhere.test");
    for call in CALLS {
        let answer = (call.ask)(&remote, &nowhere).await;
        assert!(matches!(answer, Err(RemoteError::Unreachable { .. })), "{}", call.what);
    }
}

/// Knows no v2 of `send_join` and `send_leave`.
fn old(seen: &Seen, v1: &'static str) -> Option<Response> {
    if seen.uri.contains("/v1/") {
        return json(v1);
    }
    answer(404, r#"{"errcode":"M_UNRECOGNIZED","error":"What?"}"#)
}

#[tokio::test]
async fn an_old_server_is_asked_in_the_old_way() {
    let v1 = r#"[200,{"state":[{"a":1}],"auth_chain":[]}]"#;
    let World { remote, server, peer } = World::with(move |seen| old(seen, v1)).await;
    let joined = remote.send_join(&server, room(), &event(), pdu()).await.expect("answered");
    assert_eq!(joined.state.len(), 1);
    remote.send_leave(&server, room(), &event(), pdu()).await.expect("answered");
    let seen = peer.seen();
    let asked: Vec<&str> = seen.iter().map(|seen| &seen.uri[20..35]).collect();
    assert_eq!(asked, ["v2/send_join/%2", "v1/send_join/%2", "v2/send_leave/%", "v1/send_leave/%"]);
    assert!(seen.iter().all(|seen| seen.body == pdu()));

    for v1 in ["{}", "[]", "[200]", r#"["200",{}]"#, r#"[200,{"state":[],"auth_chain":[]},3]"#] {
        let World { remote, server, peer: _peer } = World::with(move |seen| old(seen, v1)).await;
        let answer = remote.send_join(&server, room(), &event(), pdu()).await;
        assert!(matches!(answer, Err(RemoteError::Malformed { .. })), "{v1}: {answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_says_no_is_not_asked_in_another_way() {
    for (code, body) in [(403, FORBIDDEN), (404, r#"{"errcode":"M_NOT_FOUND"}"#), (404, "")] {
        let World { remote, server, peer } = World::with(move |_| answer(code, body)).await;
        let joined = remote.send_join(&server, room(), &event(), pdu()).await;
        assert!(matches!(joined, Err(RemoteError::Refused { .. })));
        let left = remote.send_leave(&server, room(), &event(), pdu()).await;
        assert!(matches!(left, Err(RemoteError::Refused { .. })));
        assert_eq!(peer.count(), 2);
    }
}
