//! Hazard B4: what was redacted is not to be had by any way out of the two servers, whatever came
//! first.

use bytes::Bytes;
use http::Method;
use serde_json::json;

use super::{Scene, evil::Draft};
use crate::{server::Server, user::segment};

const SECRET: &str = "the word that was taken back";

/// Of one server: what its user is told, and what the hostile server is.
async fn leaks(scene: &Scene, side: usize, events: &[String]) -> Vec<String> {
    let [us, third] = scene.sides();
    let (server, name, user) = if side == 0 { us } else { third };
    let room = segment(&scene.room);
    let mut paths = vec![
        "/v3/sync?set_presence=offline".to_owned(),
        format!("/v3/rooms/{room}/state"),
        format!("/v3/rooms/{room}/state/org.test.secret"),
        format!("/v3/rooms/{room}/messages?dir=b&limit=100"),
        format!("/v3/rooms/{room}/messages?dir=f&limit=100"),
        format!("/v1/rooms/{room}/threads?include=all"),
        format!("/v3/rooms/{room}/initialSync"),
        "/v3/notifications".to_owned(),
    ];
    for event in events {
        let id = segment(event);
        paths.extend([
            format!("/v3/rooms/{room}/event/{id}"),
            format!("/v3/rooms/{room}/context/{id}?limit=50"),
            format!("/v1/rooms/{room}/relations/{id}"),
        ]);
    }
    let mut found = Vec::new();
    for path in paths {
        let answer = user.call(Method::GET, &path, String::new()).await;
        if answer.body.to_string().contains(SECRET) {
            found.push(path);
        }
    }
    let list = json!({ "ranges": [[0, 9]], "timeline_limit": 50, "required_state": [["*", "*"]] });
    let path = "/unstable/org.matrix.simplified_msc3575/sync?timeout=0";
    let slid = user.post(path, json!({ "lists": { "all": list } })).await.ok();
    if slid.to_string().contains(SECRET) {
        found.push("sliding sync".to_owned());
    }
    found.extend(peer_leaks(scene, (server, name), events).await);
    found
}

async fn peer_leaks(scene: &Scene, to: (&Server, &str), events: &[String]) -> Vec<String> {
    let Scene { evil, .. } = scene;
    let room = segment(&scene.room);
    let page = format!("/v3/rooms/{room}/messages?dir=b&limit=1");
    let last = super::text(&scene.ada().get(&page).await.ok()["chunk"][0]["event_id"]);
    let at = segment(&last);
    let mut paths = vec![
        format!("/v1/backfill/{room}?limit=100&v={at}"),
        format!("/v1/state/{room}?event_id={at}"),
        format!("/v1/event_auth/{room}/{at}"),
    ];
    paths.extend(events.iter().map(|event| format!("/v1/event/{}", segment(event))));
    let mut found = Vec::new();
    for path in paths {
        if evil.get(to, &path).await.ok().to_string().contains(SECRET) {
            found.push(path);
        }
    }
    let missing = json!({ "earliest_events": [], "latest_events": [last], "limit": 20 });
    let path = format!("/v1/get_missing_events/{room}");
    let body = Some(Bytes::from(missing.to_string()));
    let answer = evil.ask(to, Method::POST, &path, body).await.ok();
    if answer.to_string().contains(SECRET) {
        found.push(path);
    }
    found
}

/// Mallory's own events, which she may redact: a message, its edit, a thread, and state.
async fn secrets(scene: &Scene) -> Vec<Draft> {
    let message = scene.evil.message(scene, SECRET).await;
    let root = message.prev_events[0].clone();
    let relation = |kind: &str, body: &str| {
        let relation = json!({ "rel_type": kind, "event_id": root });
        json!({ "msgtype": "m.text", "body": body, "m.relates_to": relation })
    };
    let threaded = message.clone().with(|event| event.content = relation("m.thread", SECRET));
    let referred = message.clone().with(|event| event.content = relation("m.reference", SECRET));
    let own = scene.evil.user("mallory");
    let member = json!({ "membership": "join", "displayname": SECRET });
    let profile = scene.evil.draft(scene, "m.room.member", Some(own.as_str()), member).await;
    vec![message, threaded, referred, profile]
}

#[tokio::test]
async fn what_was_redacted_is_to_be_had_nowhere() {
    for version in ["1", "6", "11", "12"] {
        for redaction_first in [false, true] {
            let scene = Scene::new(version).await;
            let case = format!("version {version}, redaction first: {redaction_first}");
            let secrets = secrets(&scene).await;
            let (mut events, mut redactions) = (Vec::new(), Vec::new());
            for draft in &secrets {
                let pdu = scene.evil.sign(draft);
                let target = pdu.event_id().clone();
                let content = json!({ "redacts": target, "reason": "I never said that" });
                let redaction = scene.evil.draft(&scene, "m.room.redaction", None, content).await;
                redactions.push(scene.evil.sign(&redaction.with(|event| {
                    event.redacts = Some(target);
                })));
                events.push(pdu);
            }
            let jsons = |pdus: &[events::Pdu]| -> Vec<Bytes> {
                pdus.iter().map(|pdu| pdu.json().clone()).collect()
            };
            let ids: Vec<String> = events.iter().map(|pdu| pdu.event_id().to_string()).collect();
            let (first, second) = if redaction_first {
                (jsons(&redactions), jsons(&events))
            } else {
                (jsons(&events), jsons(&redactions))
            };
            scene.evil.tell_all(&scene, "first", &first).await;
            if !redaction_first {
                let found = leaks(&scene, 0, &ids).await;
                assert!(found.len() > 8, "{case}: the test can fail: {found:?}");
            }
            scene.evil.tell_all(&scene, "second", &second).await;
            for side in [0, 1] {
                let found = leaks(&scene, side, &ids).await;
                assert!(found.is_empty(), "{case}: {found:?}");
            }
            let before = scene.before().await;
            for id in &ids {
                assert!(before.seen[1].timeline.contains(id), "{case}: an empty place is left");
            }
            scene.assert_nothing_but_honest_traffic(&before, &case).await;
        }
    }
}
