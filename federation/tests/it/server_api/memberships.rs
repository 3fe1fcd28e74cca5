//! `make_` and `send_` `join`, `leave` and `knock`, and `invite`, over HTTP.

use std::sync::Arc;

use events::{Pdu, RoomVersion};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use serde_json::{Value, json, value::RawValue};

use super::{
    event::{Event, segment},
    home::{Answer, Home, NAME},
    peer::Peer,
};
use crate::net::START;

struct Scene {
    home: Home,
    peer: Peer,
    ada: OwnedUserId,
    room: OwnedRoomId,
}

async fn scene(version: &str) -> Scene {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let ada = home.user("ada").await;
    let room = home.room(&ada, version).await;
    Scene { home, peer, ada, room }
}

impl Scene {
    async fn membership(&self, user: &UserId) -> Option<MembershipState> {
        self.home.rooms.membership(user, &self.room).await.expect("reads")
    }

    /// A template.
    async fn make(&self, handshake: &str, user: &UserId, query: &str) -> Answer {
        let (room, user) = (segment(self.room.as_str()), segment(user.as_str()));
        let path = format!("/_matrix/federation/v1/make_{handshake}/{room}/{user}{query}");
        self.peer.get(&self.home, &path).await
    }

    async fn set_join_rule(&self, rule: &str) {
        let content = json!({ "join_rule": rule });
        self.home.set(&self.ada, &self.room, "m.room.join_rules", content).await;
    }

    async fn member(&self, user: &UserId, membership: &str) -> Arc<Pdu> {
        Event::member(&self.home, &self.room, user, membership).await.signed_by(&self.peer)
    }
}

#[tokio::test]
async fn users_of_other_servers_come_knock_and_go() {
    let scene = scene("11").await;
    let Scene { home, peer, room, .. } = &scene;
    let (eve, mallory) = (peer.user("eve"), peer.user("mallory"));
    for (user, version) in [(&eve, "v1"), (&mallory, "v2")] {
        let template = scene.make("join", user, "?ver=10&ver=11").await.ok();
        assert_eq!(template["room_version"], "11");
        let event = &template["event"];
        assert_eq!(event["sender"], user.as_str());
        assert_eq!(event["content"]["membership"], "join");
        assert!(event.get("signatures").is_none(), "a template is signed by nobody: {event}");
        let join = scene.member(user, "join").await;
        let answer = peer.hand_in(home, &format!("{version}/send_join"), &join).await.ok();
        let body = if version == "v1" { &answer[1] } else { &answer };
        assert_eq!(answer.is_array(), version == "v1");
        assert_eq!(body["origin"], NAME);
        assert_eq!(body["members_omitted"], false);
        assert!(body["state"].as_array().is_some_and(|state| state.len() >= 5));
        assert!(body["auth_chain"].as_array().is_some_and(|chain| chain.len() >= 3));
        let servers = body["servers_in_room"].as_array().expect("a list");
        assert!(servers.contains(&json!(NAME)) && servers.contains(&json!("evil.test")));
        assert_eq!(scene.membership(user).await, Some(MembershipState::Join));
        let leave = scene.member(user, "leave").await;
        assert_eq!(scene.make("leave", user, "").await.ok()["room_version"], "11");
        let answer = peer.hand_in(home, &format!("{version}/send_leave"), &leave).await.ok();
        assert_eq!(answer, if version == "v1" { json!([200, {}]) } else { json!({}) });
        assert_eq!(scene.membership(user).await, Some(MembershipState::Leave));
    }
    scene.set_join_rule("knock").await;
    scene.make("knock", &eve, "?ver=11").await.ok();
    let knock = scene.member(&eve, "knock").await;
    let answer = peer.hand_in(home, "v1/send_knock", &knock).await.ok();
    let shown = answer["knock_room_state"].as_array().expect("a list");
    assert!(shown.iter().any(|event| event["type"] == "m.room.create"), "{answer}");
    assert_eq!(scene.membership(&eve).await, Some(MembershipState::Knock));
    // Rules hold for templates and for events alike.
    let join = scene.member(&mallory, "join").await;
    scene.make("join", &mallory, "?ver=11").await.refused("a closed room", 403, "M_FORBIDDEN");
    peer.hand_in(home, "v2/send_join", &join).await.refused("a closed room", 403, "M_FORBIDDEN");
    assert_eq!(home.view(room).await.joined_members, 1);
}

#[tokio::test]
async fn templates_are_for_servers_that_can_use_them() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, room } = &scene;
    let eve = peer.user("eve");
    for query in ["", "?ver=1", "?ver=10&ver=12", "?ver=011"] {
        for handshake in ["join", "knock"] {
            let answer = scene.make(handshake, &eve, query).await;
            let answer = answer.refused(query, 400, "M_INCOMPATIBLE_ROOM_VERSION");
            assert_eq!(answer.body["room_version"], "11");
        }
    }
    for user in [ada, &UserId::parse("@eve:other.test").expect("a user id")] {
        for handshake in ["join", "leave", "knock"] {
            scene.make(handshake, user, "?ver=11").await.refused(user.as_str(), 403, "M_FORBIDDEN");
        }
    }
    for (room, user) in [("none", "@eve:evil.test"), (room.as_str(), "eve")] {
        let path = format!("{}/{}", segment(room), segment(user));
        let answer =
            peer.get(home, &format!("/_matrix/federation/v1/make_join/{path}?ver=11")).await;
        answer.refused(&path, 400, "M_INVALID_PARAM");
    }
    let path = format!("{}/{}", segment("!none:home.test"), segment(eve.as_str()));
    let answer = peer.get(home, &format!("/_matrix/federation/v1/make_join/{path}?ver=11")).await;
    answer.refused("no such room", 404, "M_NOT_FOUND");
}

/// Hazard A3: what the path says, what the body says and who sends it must agree.
#[tokio::test]
async fn what_path_and_body_say_must_agree() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, room } = &scene;
    let other = home.room(ada, "11").await;
    let stranger = Peer::start(home, "stranger.test").await;
    let eve = peer.user("eve");
    for (endpoint, membership) in [
        ("v1/send_join", "join"),
        ("v2/send_join", "join"),
        ("v1/send_leave", "leave"),
        ("v2/send_leave", "leave"),
        ("v1/send_knock", "knock"),
    ] {
        let pdu = scene.member(&eve, membership).await;
        let put = async |by: &Peer, room: &str, event: &str, body: &[u8]| {
            let path = format!("{}/{}", segment(room), segment(event));
            let path = format!("/_matrix/federation/{endpoint}/{path}");
            by.put(home, &path, body.to_vec()).await
        };
        let (id, json) = (pdu.event_id().as_str(), pdu.json());
        let another = Event::message(home, room, &eve, "not a membership").await.signed_by(peer);
        let wrong = match membership {
            "join" => scene.member(&eve, "knock").await,
            _ => scene.member(&eve, "join").await,
        };
        let of_ada = Event::member(home, room, ada, membership).await.signed_by(peer);
        let rows = [
            ("another room", put(peer, other.as_str(), id, json).await),
            ("no room", put(peer, "!none:home.test", id, json).await),
            ("another event", put(peer, room.as_str(), wrong.event_id().as_str(), json).await),
            ("by another server", put(&stranger, room.as_str(), id, json).await),
            (
                "no membership",
                put(peer, room.as_str(), another.event_id().as_str(), another.json()).await,
            ),
            (
                "another membership",
                put(peer, room.as_str(), wrong.event_id().as_str(), wrong.json()).await,
            ),
            (
                "of a user of ours",
                put(peer, room.as_str(), of_ada.event_id().as_str(), of_ada.json()).await,
            ),
            ("no event", put(peer, room.as_str(), "none", json).await),
            ("an empty object", put(peer, room.as_str(), id, b"{}").await),
            ("a list", put(peer, room.as_str(), id, b"[]").await),
        ];
        for (row, answer) in rows {
            let row = format!("{endpoint}: {row}: {}", answer.body);
            assert!(answer.status.is_client_error(), "{row}");
            assert!(answer.body["errcode"].is_string(), "{row}");
        }
        // The body's fault is the first, whatever the path says.
        let wrong = edited(&pdu, "more", json!(1.5));
        put(peer, room.as_str(), "none", &wrong).await.refused(endpoint, 400, "M_BAD_JSON");
        assert_eq!(scene.membership(&eve).await, None, "{endpoint}");
        assert_eq!(scene.membership(ada).await, Some(MembershipState::Join), "{endpoint}");
    }
    assert_eq!(home.view(room).await.joined_members, 1);
    assert_eq!(home.view(&other).await.joined_members, 1);
}

/// A PDU with a field replaced.
fn edited(pdu: &Pdu, field: &str, value: Value) -> Vec<u8> {
    let mut json: Value = serde_json::from_slice(pdu.json()).expect("JSON");
    json[field] = value;
    serde_json::to_vec(&json).expect("JSON")
}

/// "servers SHOULD return `M_INVALID_PARAM` if: The join event fails a signature check". The first
/// versions of the endpoints are older than that sentence.
#[tokio::test]
async fn what_is_wrong_with_an_event_is_told() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, room } = &scene;
    let theirs = RoomId::parse("!theirs:evil.test").expect("a room id");
    let eve = peer.user("eve");
    let join = scene.member(&eve, "join").await;
    let leave = scene.member(&eve, "leave").await;
    let knock = scene.member(&eve, "knock").await;
    let old = invite_of(peer, &theirs, ada, "1").signed_by(peer);
    let new = invite_of(peer, &theirs, ada, "11").signed_by(peer);
    let forbidden = (403, "M_FORBIDDEN");
    let invalid = (400, "M_INVALID_PARAM");
    for (endpoint, pdu, expected) in [
        ("v1/send_join", &join, forbidden),
        ("v2/send_join", &join, invalid),
        ("v1/send_leave", &leave, forbidden),
        ("v2/send_leave", &leave, invalid),
        ("v1/send_knock", &knock, invalid),
        ("v1/invite", &old, forbidden),
        ("v2/invite", &new, invalid),
    ] {
        let put = async |event: Vec<u8>| {
            let body = if endpoint == "v2/invite" {
                let event = String::from_utf8(event).expect("text");
                format!(r#"{{"room_version":"11","event":{event}}}"#).into_bytes()
            } else {
                event
            };
            let (room, id) = (segment(pdu.room_id().as_str()), segment(pdu.event_id().as_str()));
            peer.put(home, &format!("/_matrix/federation/{endpoint}/{room}/{id}"), body).await
        };
        let wrong = json!({ "evil.test": { peer.key.key_id(): "A".repeat(86) } });
        for signatures in [json!({}), wrong] {
            let answer = put(edited(pdu, "signatures", signatures)).await;
            answer.refused(endpoint, expected.0, expected.1);
        }
        let mut shapes = vec![edited(pdu, "depth", json!("5")), edited(pdu, "sender", json!(7))];
        // Before version 6 numbers were of no concern.
        if endpoint != "v1/invite" {
            shapes.push(edited(pdu, "more", json!(1.5)));
        }
        for shape in shapes {
            put(shape).await.refused(endpoint, 400, "M_BAD_JSON");
        }
    }
    assert_eq!(home.view(room).await.joined_members, 1);
    assert!(home.rooms.user_room(ada, &theirs).await.expect("reads").is_none());
}

/// Hazard E1: the specification's list of endpoints.
#[tokio::test]
async fn a_server_that_the_list_denies_gets_in_nowhere() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, room } = &scene;
    let eve = peer.join(home, room, "eve").await;
    let event = home.say(ada, room, "secret").await;
    let bob = home.user("bob").await;
    let leave = scene.member(&eve, "leave").await;
    let join = scene.member(&peer.user("mallory"), "join").await;
    let knock = scene.member(&peer.user("mallory"), "knock").await;
    let content = json!({ "membership": "invite" });
    let invite = Event::new(home, room, &eve, "m.room.member", Some(bob.as_str()), content).await;
    let invite = invite.signed_by(peer);
    let content = json!({ "membership": "invite" });
    let to_nobody = Some("@nobody:home.test");
    let to_nobody = Event::new(home, room, &eve, "m.room.member", to_nobody, content).await;
    let to_nobody = to_nobody.signed_by(peer);
    let acl = json!({ "allow": ["*"], "deny": ["EVIL.test"] });
    home.set(ada, room, "m.room.server_acl", acl).await;
    let (at, of) = (segment(room.as_str()), segment(event.as_str()));
    let users = segment(peer.user("mallory").as_str());
    let gets = [
        format!("event_auth/{at}/{of}"),
        format!("state/{at}?event_id={of}"),
        format!("state_ids/{at}?event_id={of}"),
        format!("backfill/{at}?v={of}&limit=10"),
        format!("timestamp_to_event/{at}?ts={START}&dir=f"),
        format!("make_join/{at}/{users}?ver=11"),
        format!("make_leave/{at}/{users}"),
        format!("make_knock/{at}/{users}?ver=11"),
    ];
    for path in gets {
        let answer = peer.get(home, &format!("/_matrix/federation/v1/{path}")).await;
        answer.refused(&path, 403, "M_FORBIDDEN");
    }
    let body = json!({ "earliest_events": [], "latest_events": [event] });
    let path = format!("/_matrix/federation/v1/get_missing_events/{at}");
    peer.post(home, &path, &body).await.refused("missing events", 403, "M_FORBIDDEN");
    for (endpoint, pdu) in [
        ("v1/send_join", &join),
        ("v2/send_join", &join),
        ("v1/send_knock", &knock),
        ("v1/send_leave", &leave),
        ("v2/send_leave", &leave),
    ] {
        peer.hand_in(home, endpoint, pdu).await.refused(endpoint, 403, "M_FORBIDDEN");
    }
    invite_v2(peer, home, &invite, "11").await.refused("invite", 403, "M_FORBIDDEN");
    // Nor does it learn who is a user here.
    invite_v2(peer, home, &to_nobody, "11").await.refused("invite", 403, "M_FORBIDDEN");
    // An event whose room the asker names nowhere is not there.
    let answer = peer.get(home, &format!("/_matrix/federation/v1/event/{of}")).await;
    answer.refused("event", 404, "M_NOT_FOUND");
    assert_eq!(scene.membership(&eve).await, Some(MembershipState::Join));
    assert_eq!(scene.membership(&bob).await, None);
    assert_eq!(home.view(room).await.joined_members, 2);
}

async fn invite_v2(peer: &Peer, home: &Home, invite: &Pdu, version: &str) -> Answer {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        room_version: &'a str,
        event: &'a RawValue,
        invite_room_state: Vec<Value>,
    }
    let event = serde_json::from_slice(invite.json()).expect("JSON");
    let body = Body { room_version: version, event, invite_room_state: Vec::new() };
    let (room, id) = (segment(invite.room_id().as_str()), segment(invite.event_id().as_str()));
    let path = format!("/_matrix/federation/v2/invite/{room}/{id}");
    peer.put(home, &path, serde_json::to_vec(&body).expect("JSON")).await
}

/// An invite to a room that only the other server knows.
fn invite_of(peer: &Peer, room: &RoomId, user: &UserId, version: &str) -> Event {
    let version = RoomVersion::parse(version).expect("a version");
    let any: ruma::OwnedEventId = match version.as_str() {
        "1" => "$any:evil.test".try_into().expect("an event id"),
        _ => format!("${}", "A".repeat(43)).try_into().expect("an event id"),
    };
    Event {
        room_id: room.to_owned(),
        sender: peer.user("eve"),
        event_type: "m.room.member".to_owned(),
        state_key: Some(user.to_string()),
        content: json!({ "membership": "invite" }),
        prev_events: vec![any.clone()],
        auth_events: vec![any],
        depth: 5,
        ts: START,
        version,
    }
}

#[tokio::test]
async fn invites_are_signed_and_told_to_users_who_have_not_left() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, .. } = &scene;
    let room = RoomId::parse("!theirs:evil.test").expect("a room id");
    let gone = home.user("gone").await;
    home.accounts.deactivate(&gone, false).await.expect("deactivates");
    let nobody = UserId::parse("@nobody:home.test").expect("a user id");
    let told = async |user: &UserId| {
        let row = home.rooms.user_room(user, &room).await.expect("reads");
        row.map(|row| row.membership)
    };
    let invite = invite_of(peer, &room, &gone, "11").signed_by(peer);
    invite_v2(peer, home, &invite, "11").await.refused("gone", 404, "M_NOT_FOUND");
    assert_eq!(told(&gone).await, None);
    // Who comes later finds it.
    let invite = invite_of(peer, &room, &nobody, "11").signed_by(peer);
    invite_v2(peer, home, &invite, "11").await.ok();
    assert_eq!(told(&nobody).await, Some(MembershipState::Invite));
    let invite = invite_of(peer, &room, ada, "11").signed_by(peer);
    for version in ["", "0", "99", "org.example"] {
        let answer = invite_v2(peer, home, &invite, version).await;
        answer.refused(version, 400, "M_INCOMPATIBLE_ROOM_VERSION");
    }
    assert_eq!(told(ada).await, None);
    let answer = invite_v2(peer, home, &invite, "11").await.ok();
    assert!(answer["event"]["signatures"][NAME].is_object(), "{answer}");
    assert!(answer["event"]["signatures"]["evil.test"].is_object(), "{answer}");
    assert_eq!(told(ada).await, Some(MembershipState::Invite));
}

#[tokio::test]
async fn the_first_version_of_invite_has_an_array_around_its_answer() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, .. } = &scene;
    let room = RoomId::parse("!theirs:evil.test").expect("a room id");
    let invite = invite_of(peer, &room, ada, "1").signed_by(peer);
    let answer = peer.hand_in(home, "v1/invite", &invite).await.ok();
    assert_eq!(answer[0], 200);
    assert!(answer[1]["event"]["signatures"][NAME].is_object(), "{answer}");
    let row = home.rooms.user_room(ada, &room).await.expect("reads").expect("is told");
    assert_eq!(row.membership, MembershipState::Invite);
}

/// "The user's homeserver MUST respond […] with the Matrix error code `M_INVITE_BLOCKED`."
#[tokio::test]
async fn who_blocks_invites_gets_none_from_elsewhere() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, .. } = &scene;
    let room = RoomId::parse("!theirs:evil.test").expect("a room id");
    let set = async |content: Value| {
        let content = serde_json::value::to_raw_value(&content).expect("JSON");
        let set = home.accounts.set_account_data(ada, None, "m.invite_permission_config", &content);
        set.await.expect("is set");
    };
    set(json!({ "default_action": "block" })).await;
    let old = invite_of(peer, &room, ada, "1").signed_by(peer);
    peer.hand_in(home, "v1/invite", &old).await.refused("v1", 403, "M_INVITE_BLOCKED");
    let new = invite_of(peer, &room, ada, "11").signed_by(peer);
    let answer = invite_v2(peer, home, &new, "11").await.refused("v2", 403, "M_INVITE_BLOCKED");
    assert!(!answer.body.to_string().contains("signatures"), "{}", answer.body);
    assert!(home.rooms.user_room(ada, &room).await.expect("reads").is_none());
    set(json!({})).await;
    let set = async |content: Value| {
        let content = serde_json::value::to_raw_value(&content).expect("JSON");
        let kind = "org.matrix.msc4155.invite_permission_config";
        home.accounts.set_account_data(ada, None, kind, &content).await.expect("is set");
    };
    set(json!({ "blocked_servers": ["evil.*"] })).await;
    invite_v2(peer, home, &new, "11").await.refused("a server", 403, "M_INVITE_BLOCKED");
    set(json!({ "ignored_users": [peer.user("eve")] })).await;
    invite_v2(peer, home, &new, "11").await.ok();
}

/// Hazard A1: this server signs no event but an invite of one of its users by one of theirs.
#[tokio::test]
async fn nothing_but_an_invite_is_signed() {
    let scene = scene("11").await;
    let Scene { home, peer, ada, .. } = &scene;
    let room = RoomId::parse("!theirs:evil.test").expect("a room id");
    let good = || invite_of(peer, &room, ada, "11");
    let mut rows: Vec<(String, Event)> = Vec::new();
    for membership in ["join", "leave", "ban", "knock", "Invite", "", "invite "] {
        let content = json!({ "membership": membership });
        rows.push((format!("{membership:?}"), good().with(|event| event.content = content)));
    }
    for content in [json!({}), json!({ "membership": null }), json!({ "membership": ["invite"] })] {
        rows.push((content.to_string(), good().with(|event| event.content = content)));
    }
    for event_type in ["m.room.message", "m.room.power_levels", "m.room.create", "M.room.member"] {
        rows.push((
            event_type.to_owned(),
            good().with(|event| event.event_type = event_type.to_owned()),
        ));
    }
    for state_key in [
        None,
        Some(""),
        Some("@eve:evil.test"),
        Some("@olga:other.test"),
        Some("ada"),
        Some("@ada:HOME.test"),
    ] {
        let row = format!("of {state_key:?}");
        rows.push((row, good().with(|event| event.state_key = state_key.map(str::to_owned))));
    }
    for sender in [ada.clone(), UserId::parse("@olga:other.test").expect("a user id")] {
        rows.push((format!("by {sender}"), good().with(|event| event.sender = sender)));
    }
    for (row, event) in rows {
        let pdu = event.signed_by(peer);
        let answer = invite_v2(peer, home, &pdu, "11").await;
        assert!(answer.status.is_client_error(), "{row}: {}", answer.body);
        assert!(!answer.body.to_string().contains("signatures"), "{row}: {}", answer.body);
        let told = home.rooms.user_room(ada, &room).await.expect("reads");
        assert!(told.is_none(), "{row}");
    }
}
