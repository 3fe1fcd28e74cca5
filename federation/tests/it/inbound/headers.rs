//! Hazards A6 and A12: whose request it is.

use bytes::Bytes;
use serde_json::json;

use super::{
    Scene,
    hostile::{path, request, transaction},
};

const URI: &str = "/_matrix/federation/v1/query/profile?user_id=%40ada%3Aus.test%3A1";

/// Filled in: the origin, the destination, the key, the signature, and that without destination.
const GOOD: [&str; 15] = [
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "x-matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-MATRIX origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix sig=\"S\",key=\"K\",destination=\"D\",origin=\"O\"",
    "X-Matrix origin=O,destination=D,key=K,sig=S",
    "X-Matrix origin=O,destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix   origin=\"O\" , destination=\"D\" ,\tkey=\"K\",\tsig=\"S\"",
    "X-Matrix origin = \"O\",destination=\"D\",key= \"K\",sig =\"S\"",
    "X-Matrix Origin=\"O\",DESTINATION=\"D\",Key=\"K\",sIg=\"S\"",
    "X-Matrix origin=\"\\O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\",other=\"x\"",
    "X-Matrix other=\"a,b=c\",origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix ,,origin=\"O\",,destination=\"D\",key=\"K\",sig=\"S\",",
    "X-Matrix origin=\"O\",key=\"K\",sig=\"T\"",
    "X-Matrix key=K,sig=T,origin=O",
];

const BAD: [&str; 24] = [
    "",
    "X-Matrix",
    "X-Matrix ",
    "Bearer S",
    "X-Matrixorigin=\"O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "Y-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\",origin=\"third.test:1\"",
    "X-Matrix origin=\"third.test:1\",origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"S\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"third.test:1\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"third.test:1\",key=\"K\",sig=\"T\"",
    "X-Matrix origin=\"third.test:1\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"D\",destination=\"D\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"T\"",
    "X-Matrix origin=\"O\",key=\"K\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"ed25519:other\",sig=\"S\"",
    "X-Matrix origin=\"O\",destination=\"D\",key=\"K\",sig=\"S",
    "X-Matrix origin=\"O\"destination=\"D\",key=\"K\",sig=\"S\"",
];

fn filled(scene: &Scene, pattern: &str) -> String {
    let Scene { us, evil, .. } = scene;
    let mut header = String::new();
    // One letter of each value stands alone between what surrounds values.
    for (at, letter) in pattern.char_indices() {
        let before = pattern[..at].chars().next_back();
        let after = pattern[at + letter.len_utf8()..].chars().next();
        let alone =
            before.is_some_and(|c| "\"=\\ ".contains(c)) && after.is_none_or(|c| "\",".contains(c));
        match letter {
            'O' if alone => header.push_str(evil.name.as_str()),
            'D' if alone => header.push_str(us.name.as_str()),
            'K' if alone => header.push_str(evil.key.key_id()),
            'S' if alone => header.push_str(&evil.sig(Some(&us.name), "GET", URI, None)),
            'T' if alone => header.push_str(&evil.sig(None, "GET", URI, None)),
            other => header.push(other),
        }
    }
    header
}

#[tokio::test]
async fn a_header_counts_however_it_is_written_and_only_if_its_signature_is_right() {
    let scene = Scene::without_mallory("11").await;
    for pattern in GOOD {
        let header = filled(&scene, pattern);
        let answer = scene.us.ask(request("GET", URI, &[&header], Bytes::new())).await;
        assert_eq!(answer.status, 200, "{header}: {}", answer.body);
    }
    for pattern in BAD {
        let header = filled(&scene, pattern);
        let answer = scene.us.ask(request("GET", URI, &[&header], Bytes::new())).await;
        assert_eq!(answer.status, 401, "{header}: {}", answer.body);
        assert!(!answer.errcode().is_empty(), "{header}");
    }
    let none = scene.us.ask(request("GET", URI, &[], Bytes::new())).await;
    assert_eq!(none.status, 401);
    for origin in ["\"\"", "\"evil.test:http\"", "evil test", "\"[::1\""] {
        let header = filled(&scene, GOOD[0]).replacen("\"evil.test:1\"", origin, 1);
        let answer = scene.us.ask(request("GET", URI, &[&header], Bytes::new())).await;
        assert_eq!((answer.status, answer.errcode()), (400, "M_INVALID_PARAM"), "{header}");
    }
    // A server may sign with several keys, of which we know one.
    let (good, bad) = (filled(&scene, GOOD[0]), filled(&scene, BAD[22]));
    let both = scene.us.ask(request("GET", URI, &[&bad, &good], Bytes::new())).await;
    assert_eq!(both.status, 200, "{}", both.body);
}

/// A signature is for one request to one server.
#[tokio::test]
async fn a_captured_request_is_of_no_other_use() {
    let scene = Scene::new("11").await;
    let Scene { us, third, evil, room, .. } = &scene;
    let uri = path("v1/send", &["t1"]);
    let pdu = evil.sign(&evil.message(us, room, "hello").await);
    let body = transaction(&evil.name, &[pdu.json().clone()], &[]);
    let header = evil.header(&us.name, "PUT", &uri, Some(&body));
    let before = scene.seen().await;

    let elsewhere = third.ask(request("PUT", &uri, &[&header], body.clone())).await;
    assert_eq!(elsewhere.status, 401, "{}", elsewhere.body);
    let other_uri = path("v1/send", &["t2"]);
    let other_body = transaction(&evil.name, &[], &[json!({})]);
    let cases = [
        ("another path", "PUT", other_uri.as_str(), body.clone()),
        ("another query", "PUT", &format!("{uri}?a=b"), body.clone()),
        ("another body", "PUT", uri.as_str(), other_body),
        ("no body", "PUT", uri.as_str(), Bytes::new()),
        ("junk as a body", "PUT", uri.as_str(), Bytes::from_static(b"{")),
    ];
    for (case, method, uri, body) in cases {
        let answer = us.ask(request(method, uri, &[&header], body)).await;
        assert_eq!(answer.status, 401, "{case}: {}", answer.body);
    }
    scene.assert_nothing_but_honest_traffic(&before, "nothing was what was signed").await;
    let answer = us.ask(request("PUT", &uri, &[&header], body)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    us.has_event(room, pdu.event_id()).await;
}
