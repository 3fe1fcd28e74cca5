//! Hazards A1, A3 and A4 where strangers come in: what the path says, what the body says and who
//! has signed it must agree, or nothing happens, here and elsewhere.

use bytes::Bytes;
use ruma::RoomId;
use serde_json::{Value, json};

use super::{
    Scene, change,
    hostile::{Draft, Hostile, path},
    region::{Answer, Region},
};

const HANDSHAKES: [(&str, &str); 5] = [
    ("v1/send_join", "join"),
    ("v2/send_join", "join"),
    ("v1/send_leave", "leave"),
    ("v2/send_leave", "leave"),
    ("v1/send_knock", "knock"),
];

type Change = fn(&mut Draft);

/// What is signed by the server of mallory, and is not what the path says.
const DRAFTS: [(&str, Change); 12] = [
    ("another membership", |event| event.content = json!({ "membership": "ban" })),
    ("an invite", |event| event.content = json!({ "membership": "invite" })),
    ("no membership", |event| event.content = json!({})),
    ("a membership that is none", |event| event.content = json!({ "membership": 1 })),
    ("another type", |event| event.event_type = "m.room.topic".into()),
    ("no state key", |event| event.state_key = None),
    ("an empty state key", |event| event.state_key = Some(String::new())),
    ("somebody of ours", |event| event.state_key = Some("@ada:us.test:1".into())),
    ("somebody else", |event| event.state_key = Some("@other:evil.test:1".into())),
    ("by somebody of ours", |event| {
        event.sender = "@ada:us.test:1".try_into().expect("a user id");
        event.state_key = Some("@ada:us.test:1".into());
    }),
    ("by a third server", |event| {
        event.sender = "@carl:third.test:1".try_into().expect("a user id");
        event.state_key = Some("@carl:third.test:1".into());
    }),
    ("going on from nothing", |event| event.prev_events.clear()),
];

type Edit = fn(&[u8]) -> Bytes;

fn edited(pdu: &[u8], edit: impl FnOnce(&mut Value)) -> Bytes {
    let mut json: Value = serde_json::from_slice(pdu).expect("JSON");
    edit(&mut json);
    json.to_string().into()
}

/// What nobody has signed.
const EDITS: [(&str, Edit); 7] = [
    ("no signatures", |pdu| edited(pdu, |json| json["signatures"] = json!({}))),
    ("a wrong signature", |pdu| {
        edited(pdu, |json| {
            json["signatures"] = json!({ "evil.test:1": { "ed25519:evil": "A".repeat(86) } });
        })
    }),
    ("a signature of another server", |pdu| {
        edited(pdu, |json| {
            let keys = json["signatures"]["evil.test:1"].take();
            json["signatures"] = json!({ "third.test:1": keys });
        })
    }),
    ("another time", |pdu| edited(pdu, |json| json["origin_server_ts"] = json!(1))),
    ("another room", |pdu| edited(pdu, |json| json["room_id"] = json!("!other:us.test:1"))),
    ("no event", |_| Bytes::from_static(b"{}")),
    ("no JSON", |_| Bytes::from_static(b"{")),
];

async fn member(scene: &Scene, room: &RoomId, membership: &str) -> Draft {
    let (user, content) = (scene.evil.user("newcomer"), json!({ "membership": membership }));
    let key = Some(user.as_str());
    scene.evil.draft(&scene.us, room, &user, "m.room.member", key, content).await
}

async fn shake(
    evil: &Hostile,
    us: &Region,
    endpoint: &str,
    [room, event]: [&str; 2],
    body: Bytes,
) -> Answer {
    evil.put(us, &path(endpoint, &[room, event]), body).await
}

#[tokio::test]
async fn a_handshake_that_does_not_fit_together_changes_nothing_anywhere() {
    for version in ["6", "11", "12"] {
        let scene = Scene::new(version).await;
        let Scene { us, evil, ada, room, .. } = &scene;
        let other = us.room(ada, version, rooms::Preset::PublicChat).await;
        let before = scene.seen().await;
        let other_before = us.seen(&other, ada).await;
        for (endpoint, membership) in HANDSHAKES {
            if membership == "knock" && version == "6" {
                continue;
            }
            let honest = member(&scene, room, membership).await;
            for (case, change) in DRAFTS {
                let pdu = evil.sign(&honest.clone().with(change));
                let ids = [room.as_str(), pdu.event_id().as_str()];
                let answer = shake(evil, us, endpoint, ids, pdu.json().clone()).await;
                answer.refused(&format!("{endpoint}: {case}, version {version}"));
            }
            let pdu = evil.sign(&honest);
            for (case, edit) in EDITS {
                let ids = [room.as_str(), pdu.event_id().as_str()];
                let answer = shake(evil, us, endpoint, ids, edit(pdu.json())).await;
                answer.refused(&format!("{endpoint}: {case}, version {version}"));
            }
            let id = pdu.event_id().as_str();
            for (case, ids) in [
                ("another room", [other.as_str(), id]),
                ("a room that does not exist", ["!none:us.test:1", id]),
                ("no room", ["none", id]),
                ("another event", [room.as_str(), "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]),
                ("an event that is known", [room.as_str(), before[0].timeline[0].as_str()]),
            ] {
                let answer = shake(evil, us, endpoint, ids, pdu.json().clone()).await;
                answer.refused(&format!("{endpoint}: the path names {case}, version {version}"));
            }
        }
        assert_eq!(us.membership(room, &evil.user("newcomer")).await, None);
        assert_eq!(us.seen(&other, ada).await.state, other_before.state);
        scene.assert_nothing_but_honest_traffic(&before, version).await;
    }
}

/// The same done right: it is not that everything is refused.
#[tokio::test]
async fn a_handshake_that_fits_is_known_on_the_third_server() {
    for version in ["6", "11", "12"] {
        let scene = Scene::without_mallory(version).await;
        let Scene { us, third, evil, mallory, room, .. } = &scene;
        for endpoint in ["v1/send_join", "v2/send_join"] {
            let user =
                if endpoint.starts_with("v1") { evil.user("other") } else { mallory.clone() };
            let join = evil.made(us, "join", room, &user).await;
            let ids = [room.as_str(), join.event_id().as_str()];
            shake(evil, us, endpoint, ids, join.json().clone()).await.ok(endpoint);
            third.has_event(room, join.event_id()).await;
            third.has_member(room, &user).await;
        }
        let leave = evil.made(us, "leave", room, mallory).await;
        let ids = [room.as_str(), leave.event_id().as_str()];
        shake(evil, us, "v2/send_leave", ids, leave.json().clone()).await.ok("leaves");
        third.has_event(room, leave.event_id()).await;
    }
}

/// An invite of ada to a room of mallory's.
fn invite(evil: &Hostile, version: &str) -> (Draft, Vec<Value>) {
    let version = super::version(version);
    let mallory = evil.user("mallory");
    let shown = |kind: &str, key: &str, content: Value| json!({ "type": kind, "state_key": key, "sender": mallory, "content": content });
    let draft = Draft {
        room_id: "!hers:evil.test:1".try_into().expect("a room id"),
        sender: mallory.clone(),
        event_type: "m.room.member".into(),
        state_key: Some("@ada:us.test:1".into()),
        content: json!({ "membership": "invite" }),
        prev_events: vec![
            "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".try_into().expect("an id"),
        ],
        auth_events: Vec::new(),
        depth: 5,
        version,
    };
    let state = vec![
        shown("m.room.create", "", json!({ "room_version": version.as_str() })),
        shown("m.room.name", "", json!({ "name": "hers" })),
    ];
    (draft, state)
}

const INVITES: [(&str, Change); 16] = [
    ("a leave", |event| event.content = json!({ "membership": "leave" })),
    ("a ban", |event| event.content = json!({ "membership": "ban" })),
    ("a join", |event| event.content = json!({ "membership": "join" })),
    ("a knock", |event| event.content = json!({ "membership": "knock" })),
    ("no membership", |event| event.content = json!({})),
    ("a list as membership", |event| event.content = json!({ "membership": ["invite"] })),
    ("a message", |event| event.event_type = "m.room.message".into()),
    ("power levels", |event| event.event_type = "m.room.power_levels".into()),
    ("an alias", |event| event.event_type = "m.room.aliases".into()),
    ("no state key", |event| event.state_key = None),
    ("an empty state key", |event| event.state_key = Some(String::new())),
    ("a state key that is no user", |event| event.state_key = Some("us.test:1".into())),
    ("a user of a third server", |event| event.state_key = Some("@carl:third.test:1".into())),
    ("a user of their own", |event| event.state_key = Some("@eve:evil.test:1".into())),
    ("by a user of ours", |event| {
        event.sender = "@ada:us.test:1".try_into().expect("a user id");
    }),
    ("by a user of a third server", |event| {
        event.sender = "@carl:third.test:1".try_into().expect("a user id");
    }),
];

/// Everything that is put to us to be signed, in both versions of the endpoint. Who signs an event
/// of somebody else's making speaks for their own users.
#[tokio::test]
async fn nothing_but_an_invite_of_a_user_of_ours_is_signed() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, ada, .. } = &scene;
    let before = scene.seen().await;
    let room = invite(evil, "11").0.room_id;
    // The first version of the endpoint knows no newer rooms.
    for (endpoint, version) in [("v2/invite", "11"), ("v2/invite", "6"), ("v1/invite", "1")] {
        let ask = async |draft: &Draft, shown: &[Value], ids: Option<[&str; 2]>, edit: Edit| {
            let pdu = evil.sign(draft);
            let ids = ids.unwrap_or([draft.room_id.as_str(), pdu.event_id().as_str()]);
            let event = edit(pdu.json());
            let body = match endpoint {
                "v1/invite" => event,
                _ => {
                    let event = String::from_utf8_lossy(&event).into_owned();
                    let (shown, version) = (json!(shown), json!(draft.version.as_str()));
                    format!(
                        r#"{{"room_version":{version},"event":{event},"invite_room_state":{shown}}}"#
                    )
                    .into()
                }
            };
            shake(evil, us, endpoint, ids, body).await
        };
        let same: Edit = |pdu| Bytes::copy_from_slice(pdu);
        let (honest, shown) = invite(evil, version);
        let honest = honest.with(|event| {
            if version == "1" {
                event.prev_events = vec!["$before:evil.test:1".try_into().expect("an id")];
            }
        });
        let never = |answer: Answer, case: &str| {
            let case = format!("{endpoint}, version {version}: {case}");
            answer.refused(&case);
            assert!(!answer.body.to_string().contains("signatures"), "{case}: {answer:?}");
        };
        for (case, change) in INVITES {
            let draft = honest.clone().with(change);
            never(ask(&draft, &shown, None, same).await, case);
        }
        for (case, edit) in EDITS {
            never(ask(&honest, &shown, None, edit).await, case);
        }
        let pdu = evil.sign(&honest);
        let id = pdu.event_id().as_str();
        for ids in [
            [scene.room.as_str(), id],
            ["!other:evil.test:1", id],
            [room.as_str(), "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
            [room.as_str(), "$other:evil.test:1"],
        ] {
            never(ask(&honest, &shown, Some(ids), same).await, &format!("{ids:?}"));
        }
        assert_eq!(us.told(&room, ada).await, None, "{endpoint}, version {version}");
    }
    scene.assert_nothing_but_honest_traffic(&before, "invites").await;

    let (honest, shown) = invite(evil, "11");
    let pdu = evil.sign(&honest);
    let event: Value = serde_json::from_slice(pdu.json()).expect("JSON");
    let body = json!({ "room_version": "11", "event": event, "invite_room_state": shown });
    let ids = [room.as_str(), pdu.event_id().as_str()];
    let signed = shake(evil, us, "v2/invite", ids, body.to_string().into()).await.ok("an invite");
    assert!(signed["event"]["signatures"]["us.test:1"].is_object(), "{signed}");
    assert!(us.told(&room, ada).await.is_some());
}

/// On the present, and on a past in which the ban had not happened.
#[tokio::test]
async fn a_knock_of_somebody_banned_changes_nothing() {
    let scene = Scene::new("11").await;
    let Scene { us, evil, ada, mallory, room, .. } = &scene;
    us.rooms.ban(change(ada, room, mallory)).await.expect("bans");
    scene.third.until_banned(room, mallory).await;
    let before = scene.seen().await;
    for (endpoint, membership) in HANDSHAKES {
        let content = json!({ "membership": membership });
        let key = Some(mallory.as_str());
        let draft = evil.draft(us, room, mallory, "m.room.member", key, content).await;
        let old = before[0].timeline[before[0].timeline.len() - 2].clone();
        for prev in [draft.prev_events.clone(), vec![old]] {
            let pdu = evil.sign(&draft.clone().with(|event| event.prev_events = prev.clone()));
            let ids = [room.as_str(), pdu.event_id().as_str()];
            shake(evil, us, endpoint, ids, pdu.json().clone()).await.refused(endpoint);
        }
    }
    scene.assert_nothing_but_honest_traffic(&before, "banned").await;
}
