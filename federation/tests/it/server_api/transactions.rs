//! `PUT /send/{txnId}`: what is wrong with one event hurts no other, and nothing counts twice.

mod broken;

use std::sync::Arc;

use bytes::Bytes;
use events::Pdu;
use futures_util::future::join_all;
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{Value, json, value::RawValue};

use super::{
    event::Event,
    home::{Answer, Home},
    peer::Peer,
};
use crate::net::START;

/// A body whose PDUs keep every byte.
pub(super) fn transaction(peer: &Peer, pdus: &[Bytes], edus: &[Value]) -> Bytes {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        origin: &'a str,
        origin_server_ts: u64,
        pdus: Vec<&'a RawValue>,
        edus: &'a [Value],
    }
    let pdus = pdus.iter().map(|pdu| serde_json::from_slice(pdu).expect("JSON")).collect();
    let body = Body { origin: peer.name.as_str(), origin_server_ts: START, pdus, edus };
    serde_json::to_vec(&body).expect("JSON").into()
}

pub(super) async fn send(peer: &Peer, home: &Home, txn: &str, pdus: &[Bytes]) -> Answer {
    let body = transaction(peer, pdus, &[]);
    peer.put(home, &format!("/_matrix/federation/v1/send/{txn}"), body).await
}

/// A room of `home` that a user of the peer is in.
struct Scene {
    home: Home,
    peer: Peer,
    room: OwnedRoomId,
    ada: OwnedUserId,
    eve: OwnedUserId,
}

async fn scene(version: &str) -> Scene {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let ada = home.user("ada").await;
    let room = home.room(&ada, version).await;
    let eve = peer.join(&home, &room, "eve").await;
    Scene { home, peer, room, ada, eve }
}

impl Scene {
    async fn message(&self, body: &str) -> Event {
        Event::message(&self.home, &self.room, &self.eve, body).await
    }

    async fn send(&self, txn: &str, pdus: &[Bytes]) -> Answer {
        send(&self.peer, &self.home, txn, pdus).await
    }

    async fn is_shown(&self, pdu: &Pdu) -> bool {
        self.home.shown(pdu.event_id()).await.is_some()
    }
}

#[tokio::test]
async fn events_are_taken_in_every_version() {
    for version in ["1", "2", "3", "6", "10", "11", "12"] {
        let scene = scene(version).await;
        let message = scene.message("hello").await.signed_by(&scene.peer);
        let answer = scene.send("t", &[message.json().clone()]).await.ok();
        assert_eq!(answer, json!({ "pdus": { message.event_id().as_str(): {} } }), "{version}");
        assert!(scene.is_shown(&message).await, "version {version}");
    }
}

#[tokio::test]
async fn what_is_no_transaction_is_refused_whole() {
    let scene = scene("11").await;
    let Scene { home, peer, .. } = &scene;
    let pdu = scene.message("never").await.signed_by(peer);
    let raw: Value = serde_json::from_slice(pdu.json()).expect("JSON");
    let edu = json!({ "edu_type": "any", "content": {} });
    let body = |change: &dyn Fn(&mut Value)| {
        let mut body = json!({
            "origin": peer.name, "origin_server_ts": START, "pdus": [raw], "edus": [edu],
        });
        change(&mut body);
        body.to_string()
    };
    let rows: Vec<(&str, String, u16)> = vec![
        ("51 PDUs", body(&|body| body["pdus"] = vec![raw.clone(); 51].into()), 400),
        ("101 EDUs", body(&|body| body["edus"] = vec![edu.clone(); 101].into()), 400),
        ("another's", body(&|body| body["origin"] = "other.test".into()), 403),
        ("ours", body(&|body| body["origin"] = "home.test".into()), 403),
        ("no name", body(&|body| body["origin"] = "a b".into()), 400),
        ("PDUs in an object", body(&|body| body["pdus"] = json!({ "0": raw })), 400),
        ("one PDU", body(&|body| body["pdus"] = raw.clone()), 400),
        ("EDUs that are text", body(&|body| body["edus"] = "edus".into()), 400),
        ("a list", format!("[{}]", body(&|_| {})), 400),
        ("a text", "\"pdus\"".to_owned(), 400),
        ("null", "null".to_owned(), 400),
    ];
    for (row, body, status) in rows {
        let path = format!("/_matrix/federation/v1/send/{}", row.len());
        let answer = peer.put(home, &path, body).await;
        assert_eq!(answer.status, status, "{row}: {}", answer.body);
        assert!(answer.body["errcode"].is_string(), "{row}: {}", answer.body);
        assert!(!scene.is_shown(&pdu).await, "{row}");
    }
    let path = format!("/_matrix/federation/v1/send/{}", "t".repeat(256));
    let answer = peer.put(home, &path, body(&|_| {})).await;
    answer.refused("a long id", 400, "M_INVALID_PARAM");
    let path = "/_matrix/federation/v1/send/empty";
    peer.ask(home, "PUT", path, None).await.refused("no body", 400, "M_BAD_JSON");
    assert!(!scene.is_shown(&pdu).await);
    // None of that got in the way.
    scene.send("t", &[pdu.json().clone()]).await.ok();
    assert!(scene.is_shown(&pdu).await);
}

#[tokio::test]
async fn transactions_of_the_largest_size_are_taken() {
    let scene = scene("11").await;
    let Scene { home, peer, .. } = &scene;
    let mut pdus = Vec::new();
    for number in 0..50 {
        let filler = "x".repeat(60_000);
        let event = scene.message(&format!("{number} {filler}")).await;
        pdus.push(event.signed_by(peer));
    }
    let edus = vec![json!({ "edu_type": "any", "content": { "x": "y".repeat(1000) } }); 100];
    let jsons: Vec<Bytes> = pdus.iter().map(|pdu| pdu.json().clone()).collect();
    let body = transaction(peer, &jsons, &edus);
    let answer = peer.put(home, "/_matrix/federation/v1/send/large", body).await.ok();
    assert_eq!(answer["pdus"].as_object().map(serde_json::Map::len), Some(50));
    for pdu in pdus {
        assert_eq!(answer["pdus"][pdu.event_id().as_str()], json!({}));
        assert!(scene.is_shown(&pdu).await);
    }
}

#[tokio::test]
async fn a_transaction_counts_once_however_often_it_comes() {
    let scene = scene("11").await;
    let Scene { home, peer, .. } = &scene;
    let first = scene.message("first").await.signed_by(peer);
    let answer = scene.send("one", &[first.json().clone()]).await.ok();
    let second = scene.message("second").await.signed_by(peer);
    let replayed = scene.send("one", &[second.json().clone()]).await.ok();
    assert_eq!(replayed, answer);
    assert!(!scene.is_shown(&second).await, "the id is that of a transaction that was answered");
    let restarted = home.restarted().await;
    assert_eq!(send(peer, &restarted, "one", &[second.json().clone()]).await.ok(), answer);
    assert!(restarted.shown(second.event_id()).await.is_none());
    // Under another id it is new, and what was in it before is known.
    let both = [first.json().clone(), second.json().clone()];
    let answer = send(peer, &restarted, "two", &both).await.ok();
    assert_eq!(answer["pdus"].as_object().map(serde_json::Map::len), Some(2));
    assert!(restarted.shown(second.event_id()).await.is_some());
    let view = restarted.view(&scene.room).await;
    assert_eq!(view.extremities, [second.event_id().clone()]);
}

#[tokio::test]
async fn ids_of_transactions_belong_to_the_server_that_made_them() {
    let scene = scene("11").await;
    let other = Peer::start(&scene.home, "other.test").await;
    let mallory = other.join(&scene.home, &scene.room, "mallory").await;
    let first = scene.message("first").await.signed_by(&scene.peer);
    scene.send("one", &[first.json().clone()]).await.ok();
    let event = Event::message(&scene.home, &scene.room, &mallory, "second").await;
    let event = event.signed_by(&other);
    send(&other, &scene.home, "one", &[event.json().clone()]).await.ok();
    assert!(scene.is_shown(&event).await);
}

#[tokio::test]
async fn repetitions_at_the_same_moment_share_one_answer() {
    let scene = Arc::new(scene("11").await);
    let pdu = scene.message("once").await.signed_by(&scene.peer);
    let sends = (0..3).map(|_| scene.send("same", std::slice::from_ref(pdu.json())));
    let answers = join_all(sends).await;
    for answer in answers {
        assert_eq!(answer.ok(), json!({ "pdus": { pdu.event_id().as_str(): {} } }));
    }
    assert!(scene.is_shown(&pdu).await);
}

#[tokio::test]
async fn rooms_that_local_users_left_take_nothing_more() {
    let scene = scene("11").await;
    let Scene { home, peer, room, ada, eve } = &scene;
    home.rooms.leave(room, ada, None).await.expect("leaves");
    let pdu = scene.message("to nobody").await.signed_by(peer);
    scene.send("t", &[pdu.json().clone()]).await.ok();
    assert!(!scene.is_shown(&pdu).await);
    let leave = Event::member(home, room, eve, "leave").await.signed_by(peer);
    scene.send("u", &[leave.json().clone()]).await.ok();
    assert!(!scene.is_shown(&leave).await);
}

#[tokio::test]
async fn a_server_that_the_list_denies_sends_nothing_into_the_room() {
    let scene = scene("11").await;
    let Scene { home, peer, room, ada, .. } = &scene;
    let free = home.room(ada, "11").await;
    let eve = peer.join(home, &free, "eve").await;
    let denied = scene.message("denied").await;
    let acl = json!({ "allow": ["*"], "deny": ["evil.*"], "allow_ip_literals": true });
    home.set(ada, room, "m.room.server_acl", acl).await;
    let elsewhere = Event::message(home, &free, &eve, "elsewhere").await.signed_by(peer);
    let after = scene.message("after").await.signed_by(peer);
    let before = denied.signed_by(peer);
    let pdus = [&before, &elsewhere, &after].map(|pdu| pdu.json().clone());
    let answer = scene.send("t", &pdus).await.ok();
    assert_eq!(answer["pdus"][elsewhere.event_id().as_str()], json!({}), "{answer}");
    assert!(scene.is_shown(&elsewhere).await);
    for pdu in [before, after] {
        let verdict = &answer["pdus"][pdu.event_id().as_str()];
        assert!(verdict["error"].is_string(), "{answer}");
        assert!(!scene.is_shown(&pdu).await);
    }
    // What the denied server's user said comes in from a server that is not denied.
    let friend = Peer::start(home, "friend.test").await;
    friend.join(home, room, "fred").await;
    let relayed = scene.message("relayed").await.signed_by(peer);
    send(&friend, home, "t", &[relayed.json().clone()]).await.ok();
    assert!(scene.is_shown(&relayed).await, "the list is about who sends, not who wrote");
}
