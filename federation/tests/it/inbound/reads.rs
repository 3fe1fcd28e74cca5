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
    /// In another room of ours.
    Neighbour,
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
        rooms.invite(change(ada, room, mallory), profile, false).await.expect("invites");
    };
    if !matches!(role, Role::Stranger | Role::Neighbour | Role::Invited) {
        us.send(ada, room, "m.room.join_rules", Some(""), json!({ "join_rule": "public" })).await;
        evil.join(us, room, mallory).await.ok("joins");
        us.send(ada, room, "m.room.join_rules", Some(""), json!({ "join_rule": "invite" })).await;
    }
    match role {
        Role::Stranger => {}
        Role::Neighbour => {
            if us.membership(&scene.room, mallory).await.is_none() {
                evil.join(us, &scene.room, mallory).await.ok("joins the other room");
            }
        }
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

/// What is answered: who was invited may come in or say no, and nothing else is anybody's business.
fn is_answered(role: Role, question: &str) -> bool {
    matches!((role, question), (Role::Invited, "make_join" | "make_leave" | "hierarchy"))
}

#[tokio::test]
async fn who_is_not_in_a_room_is_told_nothing_of_it() {
    use Role::{Banned, Denied, Invited, Kicked, Left, Neighbour, Stranger};
    for version in ["1", "11", "12"] {
        for role in [Stranger, Neighbour, Left, Kicked, Banned, Denied, Invited] {
            let scene = Scene::without_mallory(version).await;
            let Scene { us, evil, ada, .. } = &scene;
            // Whatever everybody may read, other servers must be there for it.
            for visibility in ["shared", "world_readable"] {
                let room = us.room(ada, version, Preset::PrivateChat).await;
                let setting = json!({ "history_visibility": visibility });
                us.send(ada, &room, "m.room.history_visibility", Some(""), setting).await;
                play(&scene, role, &room).await;
                let secret = json!({ "secret": "the secret" });
                us.send(ada, &room, "org.test.secret", Some(""), secret).await;
                let event = us.say(ada, &room, "the secret").await;
                let before = us.seen(&room, ada).await;
                for question in questions(evil, &room, &event) {
                    let case = format!("{}, {role:?}, {visibility}, {version}", question.0);
                    let answer = ask(evil, us, &question).await;
                    assert!(!answer.body.to_string().contains("the secret"), "{case}");
                    // A summary is all that there is of a room that everybody may read.
                    let is_summary = question.0 == "hierarchy" && visibility == "world_readable";
                    if is_answered(role, question.0) {
                        answer.ok(&case);
                    } else if !is_summary || matches!(role, Denied) {
                        answer.refused(&case);
                        assert!(!answer.body.to_string().contains(event.as_str()), "{case}");
                    }
                }
                let after = us.seen(&room, ada).await;
                assert_eq!((before.state, before.timeline), (after.state, after.timeline));
            }
        }
    }
}

/// Room binding: whoever is in one room could read all others by their ids.
#[tokio::test]
async fn events_of_another_room_are_as_unknown_as_those_that_do_not_exist() {
    for version in ["1", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { us, third, evil, ada, carl, mallory, room, .. } = &scene;
        let secret = us.room(ada, version, Preset::PrivateChat).await;
        let foreign = us.say(ada, &secret, "the secret").await;
        // A room that mallory is in too: its events are hers to read, by its own id.
        let shared = us.room(ada, version, Preset::PublicChat).await;
        evil.join(us, &shared, mallory).await.ok("joins");
        let elsewhere = us.say(ada, &shared, "elsewhere").await;
        let nothing: OwnedEventId = match version {
            "1" => "$nothing:us.test:1",
            _ => "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        }
        .try_into()
        .expect("an event id");
        let before = scene.seen().await;
        for id in [&foreign, &elsewhere] {
            let about_it = questions(evil, room, id);
            for (about_it, about_nothing) in about_it.iter().zip(questions(evil, room, &nothing)) {
                let case = format!("{} of {id}, version {version}", about_it.0);
                if !NAMES_EVENT.contains(&about_it.0) || (about_it.0 == "event" && id != &foreign) {
                    continue;
                }
                let answer = ask(evil, us, about_it).await;
                let unknown = ask(evil, us, &about_nothing).await;
                assert_eq!(answer.status, unknown.status, "{case}: {answer:?}");
                assert_eq!(shape(&answer), shape(&unknown), "{case}");
                for word in ["the secret", "elsewhere", secret.as_str(), shared.as_str()] {
                    assert!(!answer.body.to_string().contains(word), "{case}: {answer:?}");
                }
            }
        }
        mixed(&scene, &[&foreign, &elsewhere]).await;
        // By the right room, what is hers.
        for question in questions(evil, &shared, &elsewhere) {
            if NAMES_EVENT.contains(&question.0) {
                ask(evil, us, &question).await.ok(question.0);
            }
        }
        assert_eq!(third.seen(room, carl).await.timeline, before[1].timeline);
        scene.assert_nothing_but_honest_traffic(&before, version).await;
    }
}

/// The questions whose answer depends on the event that they name.
const NAMES_EVENT: [&str; 6] =
    ["state", "state_ids", "event_auth", "backfill", "get_missing_events", "event"];

/// What an answer says, without the time at which it was given.
fn shape(answer: &Answer) -> String {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("origin_server_ts");
    }
    body.to_string()
}

/// Events of other rooms among some of the room itself: they change nothing of the answer.
async fn mixed(scene: &Scene, foreign: &[&OwnedEventId]) {
    let Scene { us, evil, room, .. } = scene;
    let own = us.view(room).await.extremities[0].clone();
    let backfill = path("v1/backfill", &[room.as_str()]);
    let missing = path("v1/get_missing_events", &[room.as_str()]);
    let of = async |more: &[&OwnedEventId]| {
        let ids: Vec<&str> =
            std::iter::once(&own).chain(more.iter().copied()).map(|id| id.as_str()).collect();
        let named: String = ids.iter().map(|id| format!("&v={}", encoded(id))).collect();
        let back = evil.get(us, &format!("{backfill}?limit=5{named}")).await;
        let body = json!({ "earliest_events": more, "latest_events": ids, "limit": 5 });
        let missing = evil.request(us, "POST", &missing, Some(body.to_string().into())).await;
        back.clone().ok("backfill");
        missing.clone().ok("missing events");
        (shape(&back), shape(&missing))
    };
    let alone = of(&[]).await;
    assert!(alone.0.len() > 200 && alone.1.len() > 200, "{alone:?}");
    assert_eq!(of(foreign).await, alone);
}
