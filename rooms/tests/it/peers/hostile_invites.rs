//! `PUT /invite` is a request to sign. Nothing but an invite of a user of ours, by a user of the
//! server that asks, is signed.

use bytes::Bytes;
use events::RoomVersion;
use rooms::Error;
use serde_json::{Value, json};

use super::{
    Forged, edited,
    invites::{Invite, invitation},
    public,
};
use crate::{
    wire::{Wire, name},
    world::World,
};

type Change = fn(&mut Forged);

/// Events that are no invites, or not this server's to sign, each well-formed and well signed.
const EVENTS: [(&str, Change); 38] = [
    ("leave", |event| event.content = json!({ "membership": "leave" })),
    ("ban", |event| event.content = json!({ "membership": "ban" })),
    ("join", |event| event.content = json!({ "membership": "join" })),
    ("knock", |event| event.content = json!({ "membership": "knock" })),
    ("upper case", |event| event.content = json!({ "membership": "INVITE" })),
    ("a space", |event| event.content = json!({ "membership": "invite " })),
    ("empty membership", |event| event.content = json!({ "membership": "" })),
    ("null", |event| event.content = json!({ "membership": null })),
    ("a list", |event| event.content = json!({ "membership": ["invite"] })),
    ("an object", |event| event.content = json!({ "membership": { "invite": true } })),
    ("a number", |event| event.content = json!({ "membership": 1 })),
    ("true", |event| event.content = json!({ "membership": true })),
    ("nothing", |event| event.content = json!({})),
    ("elsewhere", |event| event.content = json!({ "content": { "membership": "invite" } })),
    ("create", |event| event.event_type = "m.room.create".into()),
    ("power levels", |event| event.event_type = "m.room.power_levels".into()),
    ("join rules", |event| event.event_type = "m.room.join_rules".into()),
    ("server acl", |event| event.event_type = "m.room.server_acl".into()),
    ("redaction", |event| event.event_type = "m.room.redaction".into()),
    ("message", |event| event.event_type = "m.room.message".into()),
    ("third party", |event| event.event_type = "m.room.third_party_invite".into()),
    ("type in upper case", |event| event.event_type = "M.ROOM.MEMBER".into()),
    ("type with a space", |event| event.event_type = "m.room.member ".into()),
    ("empty type", |event| event.event_type = String::new()),
    ("no state key", |event| event.state_key = None),
    ("empty state key", |event| event.state_key = Some(String::new())),
    ("no user id", |event| event.state_key = Some("ada".into())),
    ("a server", |event| event.state_key = Some("one.test".into())),
    ("an alias", |event| event.state_key = Some("#ada:one.test".into())),
    ("a user of theirs", |event| event.state_key = Some("@eve:evil.test".into())),
    ("a user of a third", |event| event.state_key = Some("@x:three.test".into())),
    ("a port", |event| event.state_key = Some("@ada:one.test:8448".into())),
    ("a longer name", |event| event.state_key = Some("@ada:one.test.evil.test".into())),
    ("a name with us in it", |event| event.state_key = Some("@ada:one.test:evil.test".into())),
    ("our user invites", |event| event.sender = "@bob:one.test".try_into().unwrap()),
    ("our user invites themselves", |event| event.sender = "@ada:one.test".try_into().unwrap()),
    ("a third server's user invites", |event| {
        event.sender = "@x:three.test".try_into().unwrap();
    }),
    ("signed by a third server", |event| event.signer = "three.test".to_owned()),
];

type Tamper = fn(&mut Invite);

/// Requests whose parts disagree, or are not what they should be.
const REQUESTS: [(&str, Tamper); 27] = [
    ("another room in the path", |invite| {
        invite.room_id = "!other:evil.test".try_into().unwrap();
    }),
    ("another event in the path", |invite| {
        invite.event_id = "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".try_into().unwrap();
    }),
    ("another server", |invite| invite.server = "three.test"),
    ("ourselves", |invite| invite.server = "one.test"),
    ("unknown version", |invite| invite.room_version = "org.example.new".to_owned()),
    ("empty version", |invite| invite.room_version = String::new()),
    ("future version", |invite| invite.room_version = "99".to_owned()),
    ("version with a space", |invite| invite.room_version = " 11".to_owned()),
    ("no event", |invite| invite.event = Bytes::new()),
    ("null", |invite| invite.event = "null".into()),
    ("an array", |invite| invite.event = "[]".into()),
    ("an empty object", |invite| invite.event = "{}".into()),
    ("no JSON", |invite| invite.event = invite.event.slice(1..)),
    ("two objects", |invite| invite.event = [&invite.event[..], b"{}"].concat().into()),
    ("not signed", |invite| invite.event = edited(&invite.event, "signatures", None)),
    ("signed by nobody", |invite| {
        invite.event = edited(&invite.event, "signatures", Some(json!({})));
    }),
    ("signed with nonsense", |invite| {
        let signatures = json!({ "evil.test": { "ed25519:wire": "AAAA" } });
        invite.event = edited(&invite.event, "signatures", Some(signatures));
    }),
    ("signed with an unknown key", |invite| {
        let event: Value = serde_json::from_slice(&invite.event).unwrap();
        let signature = event["signatures"]["evil.test"]["ed25519:wire"].clone();
        let signatures = json!({ "evil.test": { "ed25519:other": signature } });
        invite.event = edited(&invite.event, "signatures", Some(signatures));
    }),
    ("through a third party, not signed", |invite| {
        let third_party = json!({ "display_name": "ada", "signed": {
            "mxid": "@ada:one.test", "token": "t", "signatures": {},
        } });
        let content = json!({ "membership": "invite", "third_party_invite": third_party });
        let event = edited(&invite.event, "content", Some(content));
        invite.event = edited(&event, "signatures", Some(json!({})));
        let version = RoomVersion::parse(&invite.room_version).unwrap();
        let pdu = events::Pdu::from_json(invite.event.clone(), version).unwrap();
        invite.event_id = pdu.event_id().clone();
    }),
    ("signatures are a list", |invite| {
        invite.event = edited(&invite.event, "signatures", Some(json!([])));
    }),
    ("no sender", |invite| invite.event = edited(&invite.event, "sender", None)),
    ("no room", |invite| invite.event = edited(&invite.event, "room_id", None)),
    ("the content is text", |invite| {
        invite.event = edited(&invite.event, "content", Some(json!("invite")));
    }),
    ("changed depth", |invite| {
        invite.event = edited(&invite.event, "depth", Some(json!(77)));
    }),
    ("float depth", |invite| {
        invite.event = edited(&invite.event, "depth", Some(json!(1.5)));
    }),
    ("too large", |invite| {
        let large = json!({ "membership": "invite", "reason": "x".repeat(70_000) });
        invite.event = edited(&invite.event, "content", Some(large));
    }),
    ("too deep", |invite| {
        let nested = format!("{{\"x\":{}{},", "[".repeat(500), "]".repeat(500));
        let text = String::from_utf8(invite.event.to_vec()).unwrap();
        invite.event = text.replacen('{', &nested, 1).into();
    }),
];

async fn is_not_taken(one: &World, invite: &Invite, what: &str) {
    let before = one.store.log().position();
    let outcome = invite.send(one).await;
    let refusal = outcome.as_ref().err();
    assert!(refusal.is_some(), "{what} was signed");
    assert!(!matches!(refusal, Some(Error::Internal(_))), "{what}: {refusal:?}");
    assert_eq!(one.store.log().position(), before, "{what} had an effect");
    assert!(one.rooms.event_by_id(&invite.event_id).await.unwrap().is_none(), "{what} was kept");
    assert!(one.rooms.rooms_of(&one.user("ada")).await.unwrap().is_empty(), "{what}");
}

#[tokio::test]
async fn nothing_but_an_invite_of_a_user_of_ours_is_signed() {
    assert!(EVENTS.len() + REQUESTS.len() >= 60);
    for version in ["1", "6", "11", "12"] {
        let wire = Wire::default();
        let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
        let _three = wire.server("three.test");
        for (what, change) in EVENTS {
            let event = invitation(&evil, version).await.with(change);
            let room_id = event.room_id.clone();
            let mut invite = Invite::of(&event).described_as(&room_id, &evil).await;
            invite.server = "evil.test";
            is_not_taken(&one, &invite, &format!("{what} in version {version}")).await;
        }
        for (what, tamper) in REQUESTS {
            let event = invitation(&evil, version).await;
            let mut invite = Invite::of(&event).described(&evil).await;
            tamper(&mut invite);
            is_not_taken(&one, &invite, &format!("{what} in version {version}")).await;
        }
    }
}

impl Invite {
    /// A forged type can be one whose room id is not in the event.
    async fn described_as(mut self, room: &ruma::RoomId, world: &World) -> Self {
        self.room_id = room.to_owned();
        self.described(world).await
    }
}

/// The id of a version 12 room is a claim about its create event.
#[tokio::test]
async fn a_version_12_room_is_the_one_that_its_create_event_names() {
    let wire = Wire::default();
    let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
    let eve = evil.user("eve");
    let other = public(&evil, &eve, "12").await;
    let old = public(&evil, &eve, "11").await;
    let create = async |room: &ruma::OwnedRoomId| {
        let state = evil.rooms.room(room).await.unwrap().unwrap().state;
        let event = evil.rooms.state_get(state, "m.room.create", "").await.unwrap().unwrap();
        event.pdu.json().clone()
    };
    let event = invitation(&evil, "12").await;
    let right = create(&event.room_id).await;
    let stripped = json!({
        "type": "m.room.create", "state_key": "", "sender": eve, "content": { "room_version": "12" },
    });
    let table: [(&str, Vec<Bytes>); 7] = [
        ("no create event", vec![]),
        ("stripped", vec![stripped.to_string().into()]),
        ("that of another room", vec![create(&other).await]),
        ("that of an older version", vec![create(&old).await]),
        ("one with other content", vec![edited(&right, "content", Some(json!({ "x": 1 })))]),
        ("one with another sender", vec![edited(&right, "sender", Some(json!("@x:evil.test")))]),
        ("two of them", vec![right.clone(), create(&other).await]),
    ];
    for (what, stripped_state) in table {
        let mut invite = Invite::of(&event);
        invite.stripped_state = stripped_state;
        is_not_taken(&one, &invite, what).await;
    }
    let mut invite = Invite::of(&event);
    invite.stripped_state = vec![right];
    invite.send(&one).await.unwrap();
}

/// In no version may the description be that of another room.
#[tokio::test]
async fn what_is_shown_belongs_to_the_room() {
    let wire = Wire::default();
    let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
    for version in ["6", "11", "12"] {
        let other = public(&evil, &evil.user("eve"), version).await;
        let topic = json!({ "topic": "of another room" });
        evil.set(&evil.user("eve"), &other, "m.room.topic", "", topic).await.unwrap();
        let state = evil.rooms.room(&other).await.unwrap().unwrap().state;
        let foreign = evil.rooms.state_get(state, "m.room.topic", "").await.unwrap().unwrap();
        let event = invitation(&evil, version).await;
        let mut invite = Invite::of(&event).described(&evil).await;
        invite.stripped_state.push(foreign.pdu.json().clone());
        is_not_taken(&one, &invite, version).await;
    }
}

#[tokio::test]
async fn a_server_that_the_room_denies_invites_nobody_to_it() {
    let wire = Wire::default();
    let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
    let bob = one.user("bob");
    let room = public(&one, &bob, "11").await;
    super::come_in(&evil, &evil.user("eve"), &room, &one).await;
    wire.deliver(&[&one, &evil]).await;
    let acl = json!({ "allow": ["*"], "deny": ["evil.test"] });
    one.set(&bob, &room, "m.room.server_acl", "", acl).await.unwrap();
    let content = json!({ "membership": "invite" });
    let eve = evil.user("eve");
    let event = Forged::state(&evil, &room, &eve, "m.room.member", "@ada:one.test", content).await;
    let refused = Invite::of(&event).described(&evil).await.send(&one).await;
    assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    assert_eq!(RoomVersion::parse("11").unwrap().as_str(), event.version.as_str());
    assert!(one.rooms.allows_server(&name("one.test"), &room).await.unwrap());
}
