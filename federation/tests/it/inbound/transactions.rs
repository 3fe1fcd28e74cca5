//! Hazards A12 and H4: transactions that come again, that are too large, or are none.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Scene,
    hostile::{path, transaction},
};

#[tokio::test]
async fn a_transaction_counts_once_whatever_comes_under_its_id_later() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, room, ada, .. } = &scene;
    let message = |id: &str| {
        json!({
            "edu_type": "m.direct_to_device",
            "content": {
                "sender": evil.user("mallory"),
                "type": "m.test",
                "message_id": id,
                "messages": { ada.as_str(): { "D": {} } },
            },
        })
    };
    let first = evil.sign(&evil.message(us, room, "the first").await);
    let pdus = [first.json().clone()];
    let answer = evil.send(us, "t", &pdus, &[message("m1")]).await.ok("the first time");
    assert_eq!(answer["pdus"], json!({ first.event_id().as_str(): {} }));
    evil.send(&scene.third, "t", &pdus, &[]).await.ok("the third server");
    let before = scene.seen().await;
    for _ in 0..100 {
        let again = evil.send(us, "t", &pdus, &[message("m1")]).await.ok("once more");
        assert_eq!(again, answer);
    }
    assert_eq!(us.to_device(ada).await, 1);

    let second = evil.sign(&evil.message(us, room, "the second").await);
    let other = evil.send(us, "t", &[second.json().clone()], &[message("m2")]).await;
    assert_eq!(other.ok("another body"), answer, "the id was answered");
    assert_eq!(us.to_device(ada).await, 1);
    let same = evil.send(us, "u", &pdus, &[message("m1")]).await;
    assert_eq!(same.ok("another id"), answer, "the same events");
    assert_eq!(us.to_device(ada).await, 1);
    scene.assert_nothing_but_honest_traffic(&before, "all that was answered before").await;
}

/// "The list must not be more than 50 PDUs", and nothing of a body that breaks the rules counts.
#[tokio::test]
async fn a_transaction_that_breaks_the_rules_has_no_effect() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, room, ada, .. } = &scene;
    let pdu = evil.sign(&evil.message(us, room, "hello").await).json().clone();
    let edu = json!({
        "edu_type": "m.direct_to_device",
        "content": {
            "sender": evil.user("mallory"),
            "type": "m.test",
            "message_id": "m",
            "messages": { ada.as_str(): { "D": {} } },
        },
    });
    let before = scene.seen().await;
    let good = |pdus: usize, edus: usize| {
        transaction(&evil.name, &vec![pdu.clone(); pdus], &vec![edu.clone(); edus])
    };
    let with = |field: &str, value: Value| {
        let mut body: Value = serde_json::from_slice(&good(1, 1)).expect("JSON");
        body[field] = value;
        Bytes::from(body.to_string())
    };
    let cases = [
        ("51 PDUs", good(51, 0)),
        ("101 EDUs", good(1, 101)),
        ("another origin", with("origin", json!("third.test:1"))),
        ("an origin that is none", with("origin", json!(1))),
        ("PDUs that are no list", with("pdus", json!({}))),
        ("EDUs that are no list", with("edus", json!("m"))),
        ("cut short", good(1, 1).slice(..100)),
        ("a list", Bytes::from_static(b"[]")),
        ("nothing", Bytes::new()),
        ("brackets", Bytes::from("[".repeat(100_000))),
        ("braces", Bytes::from("{\"pdus\":".repeat(100_000))),
    ];
    for (case, body) in cases {
        evil.put(us, &path("v1/send", &["t"]), body).await.refused(case);
    }
    let long = evil.put(us, &path("v1/send", &[&"t".repeat(256)]), good(1, 1)).await;
    long.refused("an id of 256 bytes");
    assert_eq!(us.to_device(ada).await, 0);
    scene.assert_nothing_but_honest_traffic(&before, "nothing was a transaction").await;
    evil.put(us, &path("v1/send", &["t"]), good(50, 100)).await.ok("as much as may be");
    assert_eq!(us.to_device(ada).await, 1);
}
