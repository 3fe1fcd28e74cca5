//! Questions about rooms, over HTTP: those who have no right to an answer, and ids of other rooms.

use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};
use serde_json::{Value, json};

use super::{
    event::{Event, segment},
    home::{Answer, Home},
    peer::Peer,
};
use crate::net::START;

/// What nobody outside is to read.
const SECRET: &str = "nobody outside is to read this";

/// Method, path behind `/_matrix/federation/v1`, and body. `ROOM` and `EVENT` stand for ids.
type Question = (&'static str, &'static str, Option<Value>);

fn questions() -> Vec<Question> {
    let missing = json!({ "earliest_events": [], "latest_events": ["EVENT"], "limit": 20 });
    vec![
        ("GET", "/event/EVENT", None),
        ("GET", "/event_auth/ROOM/EVENT", None),
        ("GET", "/state/ROOM?event_id=EVENT", None),
        ("GET", "/state_ids/ROOM?event_id=EVENT", None),
        ("GET", "/backfill/ROOM?limit=10&v=EVENT", None),
        ("POST", "/get_missing_events/ROOM", Some(missing)),
    ]
}

async fn ask(
    peer: &Peer,
    home: &Home,
    (method, path, body): &Question,
    room: &RoomId,
    event: &EventId,
) -> Answer {
    let path = path.replace("ROOM", &segment(room.as_str()));
    let path = path.replace("EVENT", &segment(event.as_str()));
    let body = body.as_ref().map(|body| body.to_string().replace("EVENT", event.as_str()));
    let path = format!("/_matrix/federation/v1{path}");
    peer.ask(home, method, &path, body.map(Into::into)).await
}

struct Scene {
    home: Home,
    /// Who is in the room.
    peer: Peer,
    ada: OwnedUserId,
    room: OwnedRoomId,
    event: OwnedEventId,
}

async fn scene(version: &str) -> Scene {
    let home = Home::start().await;
    let peer = Peer::start(&home, "member.test").await;
    let ada = home.user("ada").await;
    let room = home.room(&ada, version).await;
    peer.join(&home, &room, "bob").await;
    let event = home.say(&ada, &room, SECRET).await;
    Scene { home, peer, ada, room, event }
}

/// Servers that are not in the room: never, not any more, and not by their own will.
async fn outsiders(Scene { home, ada, room, .. }: &Scene) -> Vec<Peer> {
    let mut outsiders = Vec::new();
    for name in ["never.test", "left.test", "banned.test", "denied.test"] {
        outsiders.push(Peer::start(home, name).await);
    }
    let [_, left, banned, denied] = &outsiders[..] else { unreachable!("four names") };
    for peer in [left, banned, denied] {
        peer.join(home, room, "eve").await;
    }
    let leave = Event::member(home, room, &left.user("eve"), "leave").await.signed_by(left);
    left.hand_in(home, "v2/send_leave", &leave).await.ok();
    let eve = banned.user("eve");
    let ban = rooms::MembershipChange { room_id: room, sender: ada, target: &eve, reason: None };
    home.rooms.ban(ban).await.expect("bans");
    let acl = json!({ "allow": ["*"], "deny": ["denied.test"] });
    home.set(ada, room, "m.room.server_acl", acl).await;
    outsiders
}

#[tokio::test]
async fn servers_outside_are_told_nothing_of_a_room() {
    for version in ["1", "11", "12"] {
        let scene = scene(version).await;
        let outsiders = outsiders(&scene).await;
        let Scene { home, peer, ada, room, .. } = &scene;
        let event = home.say(ada, room, SECRET).await;
        for question in &questions() {
            let row = format!("{question:?} in version {version}");
            ask(peer, home, question, room, &event).await.ok();
            for outsider in &outsiders {
                let answer = ask(outsider, home, question, room, &event).await;
                let (status, errcode) = answer.refusal();
                let row = format!("{row} by {}: {}", outsider.name, answer.body);
                assert!(
                    [(403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")].contains(&(status, errcode)),
                    "{row}"
                );
                assert!(!answer.body.to_string().contains(SECRET), "{row}");
            }
        }
        for outsider in &outsiders {
            let room = segment(room.as_str());
            let path = format!("/_matrix/federation/v1/timestamp_to_event/{room}?ts={START}&dir=f");
            peer.get(home, &path).await.ok();
            let answer = outsider.get(home, &path).await;
            answer.refused(outsider.name.as_str(), 403, "M_FORBIDDEN");
        }
    }
}

/// Hazard C1: in three servers everybody in one room could read all others.
#[tokio::test]
async fn events_of_another_room_are_as_unknown_as_those_that_do_not_exist() {
    for version in ["1", "11", "12"] {
        let Scene { home, peer, ada, room, .. } = scene(version).await;
        let secret = home.room(&ada, version).await;
        let foreign = home.say(&ada, &secret, SECRET).await;
        // The other server is in that room too; it asks in the name of the wrong one.
        let shared = home.room(&ada, version).await;
        peer.join(&home, &shared, "bob").await;
        let elsewhere = home.say(&ada, &shared, SECRET).await;
        let nothing = match version {
            "1" => "$nothing:home.test",
            _ => "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        };
        let nothing: OwnedEventId = nothing.try_into().expect("an event id");
        for question in questions() {
            let unknown = ask(&peer, &home, &question, &room, &nothing).await;
            let is_read = question.1 == "/event/EVENT";
            for event in [&foreign, &elsewhere] {
                if is_read && event == &elsewhere {
                    continue;
                }
                let row = format!("{question:?} of {event} in version {version}");
                let answer = ask(&peer, &home, &question, &room, event).await;
                assert_eq!(answer.status, unknown.status, "{row}: {}", answer.body);
                assert_eq!(answer.body["errcode"], unknown.body["errcode"], "{row}");
                assert!(!answer.body.to_string().contains(SECRET), "{row}");
                assert!(!answer.body.to_string().contains(event.as_str()), "{row}");
            }
        }
    }
}

#[tokio::test]
async fn answers_have_the_form_of_the_specification() {
    let Scene { home, peer, room, event, .. } = scene("11").await;
    let mut answers = Vec::new();
    for question in questions() {
        answers.push(ask(&peer, &home, &question, &room, &event).await.ok());
    }
    let [one, auth, state, ids, back, missing] = &answers[..] else { unreachable!("six") };
    for transaction in [one, back] {
        assert_eq!(transaction["origin"], "home.test");
        assert_eq!(transaction["origin_server_ts"], START);
    }
    assert_eq!(one["pdus"][0]["content"]["body"], SECRET);
    assert_eq!(one["pdus"].as_array().map(Vec::len), Some(1));
    assert_eq!(back["pdus"][0]["content"]["body"], SECRET);
    let count = |value: &Value| value.as_array().map(Vec::len);
    assert_eq!(count(&state["pdus"]), count(&ids["pdu_ids"]));
    assert_eq!(count(&state["auth_chain"]), count(&ids["auth_chain_ids"]));
    assert!(count(&auth["auth_chain"]).is_some_and(|count| count >= 3));
    // What comes before, without the event itself.
    let types: Vec<&str> = missing["events"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert_eq!(types.last(), Some(&"m.room.member"), "{types:?}");
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_as_such() {
    let Scene { home, peer, room, event, .. } = scene("11").await;
    let known = event.to_string();
    let (room, event) = (segment(room.as_str()), segment(event.as_str()));
    let rows = [
        "/event/none".to_owned(),
        "/event/%FF".to_owned(),
        format!("/event_auth/none/{event}"),
        format!("/event_auth/{room}/none"),
        format!("/state/{room}"),
        format!("/state/{room}?event_id="),
        format!("/state/{room}?event_id=none"),
        format!("/state_ids/{room}"),
        format!("/backfill/{room}?v={event}"),
        format!("/backfill/{room}?v={event}&limit=-1"),
        format!("/backfill/{room}?v={event}&limit=1.5"),
        format!("/backfill/{room}?v=none&limit=1"),
        format!("/backfill/{room}?limit=1{}", format!("&v={event}").repeat(101)),
        format!("/timestamp_to_event/{room}?ts=5"),
        format!("/timestamp_to_event/{room}?ts=-5&dir=f"),
        format!("/timestamp_to_event/{room}?ts=5&dir=x"),
    ];
    for path in rows {
        let answer = peer.get(&home, &format!("/_matrix/federation/v1{path}")).await;
        answer.refused(&path, 400, "M_INVALID_PARAM");
    }
    let bodies = [
        json!("none"),
        json!({ "earliest_events": ["none"] }),
        json!({ "earliest_events": [], "latest_events": {} }),
        json!({ "earliest_events": [], "latest_events": ["none"] }),
        json!({ "earliest_events": [], "latest_events": [], "limit": -1 }),
        json!({ "earliest_events": [], "latest_events": [], "min_depth": "0" }),
    ];
    for body in bodies {
        let path = format!("/_matrix/federation/v1/get_missing_events/{room}");
        peer.post(&home, &path, &body).await.refused(&body.to_string(), 400, "M_BAD_JSON");
    }
    // Whoever names no events asks for none.
    for body in [json!({}), json!({ "earliest_events": [known] })] {
        let path = format!("/_matrix/federation/v1/get_missing_events/{room}");
        let answer = peer.post(&home, &path, &body).await.ok();
        assert_eq!(answer, json!({ "events": [] }), "{body}");
    }
}

#[tokio::test]
async fn however_much_is_asked_for_the_answer_has_a_bound() {
    let Scene { home, peer, ada, room, .. } = scene("11").await;
    for number in 0..120 {
        home.say(&ada, &room, &number.to_string()).await;
    }
    let last = home.say(&ada, &room, "last").await;
    let (path, event) = (segment(room.as_str()), segment(last.as_str()));
    let path =
        format!("/_matrix/federation/v1/backfill/{path}?v={event}&limit=18446744073709551615");
    let found = peer.get(&home, &path).await.ok();
    assert_eq!(found["pdus"].as_array().map(Vec::len), Some(100));
    let path = format!("/_matrix/federation/v1/get_missing_events/{}", segment(room.as_str()));
    let body = json!({
        "earliest_events": [], "latest_events": [last], "limit": u64::MAX,
        "min_depth": 0,
    });
    let found = peer.post(&home, &path, &body).await.ok();
    assert!(found["events"].as_array().is_some_and(|events| events.len() <= 20), "{found}");
}
