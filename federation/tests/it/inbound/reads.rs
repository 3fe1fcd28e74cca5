//! Hazards C1 and C2: what a server reads that is not in the room, or not in that room.

use bytes::Bytes;
use rooms::Preset;
use ruma::{EventId, OwnedEventId, RoomId};
use serde_json::json;

use super::{
    Scene, change,
    hostile::{Hostile, encoded, path},
    region::{Answer, Region},
};

type Ask = (&'static str, String, Option<Bytes>);

/// All that hands out something of a room.
fn questions(evil: &Hostile, room: &RoomId, event: &EventId) -> Vec<Ask> {
    let (room, id, mallory) = (room.as_str(), event.as_str(), evil.user("mallory"));
    let at = format!("?event_id={}", encoded(id));
    let missing = json!({ "earliest_events": [], "latest_events": [id], "limit": 20 });
    let versions = (1..=12).map(|version| format!("ver={version}")).collect::<Vec<_>>().join("&");
    let make = |what: &str| {
        format!("{}?{versions}", path(&format!("v1/make_{what}"), &[room, mallory.as_str()]))
    };
    vec![
        ("state", format!("{}{at}", path("v1/state", &[room])), None),
        ("state_ids", format!("{}{at}", path("v1/state_ids", &[room])), None),
        ("event_auth", path("v1/event_auth", &[room, id]), None),
        ("backfill", format!("{}?limit=50&v={}", path("v1/backfill", &[room]), encoded(id)), None),
        (
            "get_missing_events",
            path("v1/get_missing_events", &[room]),
            Some(missing.to_string().into()),
        ),
        (
            "timestamp_to_event",
            format!("{}?ts=0&dir=f", path("v1/timestamp_to_event", &[room])),
            None,
        ),
        ("event", path("v1/event", &[id]), None),
        ("make_join", make("join"), None),
        ("make_leave", make("leave"), None),
        ("make_knock", make("knock"), None),
        ("hierarchy", path("v1/hierarchy", &[room]), None),
    ]
}

async fn ask(evil: &Hostile, us: &Region, (_, uri, body): &Ask) -> Answer {
    let method = if body.is_some() { "POST" } else { "GET" };
    evil.request(us, method, uri, body.clone()).await
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Stranger,
    Left,
    Kicked,
    Banned,
    Denied,
    Invited,
}

async fn play(scene: &Scene, role: Role, room: &RoomId) {
    let Scene { us, evil, ada, mallory, .. } = scene;
    let rooms = &us.rooms;
    let invite = async || {
        let profile = rooms::Profile::default();
        // The hostile server answers every invite with nothing.
        let _not_signed = rooms.invite(change(ada, room, mallory), profile, false).await;
    };
    if !matches!(role, Role::Stranger | Role::Invited) {
        us.send(ada, room, "m.room.join_rules", Some(""), json!({ "join_rule": "public" })).await;
        evil.join(us, room, mallory).await.ok("joins");
        us.send(ada, room, "m.room.join_rules", Some(""), json!({ "join_rule": "invite" })).await;
    }
    match role {
        Role::Stranger => {}
        Role::Invited => invite().await,
        Role::Left => {
            let leave = evil.made(us, "leave", room, mallory).await;
            let uri = path("v2/send_leave", &[room.as_str(), leave.event_id().as_str()]);
            evil.put(us, &uri, leave.json().clone()).await.ok("leaves");
        }
        Role::Kicked => rooms.kick(change(ada, room, mallory)).await.expect("kicks"),
        Role::Banned => rooms.ban(change(ada, room, mallory)).await.expect("bans"),
        Role::Denied => {
            let list = json!({ "allow": ["*"], "deny": ["evil.test"], "allow_ip_literals": true });
            us.send(ada, room, "m.room.server_acl", Some(""), list).await;
        }
    }
}

#[tokio::test]
async fn who_is_not_in_a_room_is_told_nothing_of_it() {
    use Role::{Banned, Denied, Invited, Kicked, Left, Stranger};
    for version in ["1", "11", "12"] {
        let scene = Scene::without_mallory(version).await;
        let Scene { us, evil, ada, .. } = &scene;
        for role in [Stranger, Left, Kicked, Banned, Denied, Invited] {
            let room = us.room(ada, version, Preset::PrivateChat).await;
            play(&scene, role, &room).await;
            let topic = json!({ "topic": "the secret" });
            us.send(ada, &room, "m.room.topic", Some(""), topic).await;
            let event = us.say(ada, &room, "the secret").await;
            for question in questions(evil, &room, &event) {
                // Whoever was in the room may say goodbye to it, or knew it before.
                let answer = ask(evil, us, &question).await;
                answer.refused(&format!("{}, {role:?}, version {version}", question.0));
                assert!(!answer.body.to_string().contains("the secret"), "{answer:?}");
            }
        }
    }
}

/// Room binding: whoever is in one room could read all others by their ids.
#[tokio::test]
async fn events_of_another_room_are_as_unknown_as_those_that_do_not_exist() {
    for version in ["1", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { us, evil, ada, room, .. } = &scene;
        let secret = us.room(ada, version, Preset::PrivateChat).await;
        let foreign = us.say(ada, &secret, "the secret").await;
        let nothing: OwnedEventId = match version {
            "1" => "$nothing:us.test:1",
            _ => "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        }
        .try_into()
        .expect("an event id");
        let foreign_questions = questions(evil, room, &foreign);
        for (foreign, nothing) in foreign_questions.iter().zip(questions(evil, room, &nothing)) {
            let (about_foreign, about_nothing) =
                (ask(evil, us, foreign).await, ask(evil, us, &nothing).await);
            let case = format!("{}, version {version}", foreign.0);
            assert_eq!(about_foreign.status, about_nothing.status, "{case}: {about_foreign:?}");
            let shape = |answer: &Answer| match answer.body["pdus"].as_array() {
                Some(pdus) => pdus.len().to_string(),
                None if foreign.0.starts_with("make_") || foreign.0 == "timestamp_to_event" => {
                    String::new()
                }
                None => answer.body.to_string(),
            };
            assert_eq!(shape(&about_foreign), shape(&about_nothing), "{case}");
            assert!(!about_foreign.body.to_string().contains("the secret"), "{case}");
        }
    }
}
