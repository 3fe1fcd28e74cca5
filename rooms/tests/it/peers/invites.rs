//! Invites from outside that are what they say.

use bytes::Bytes;
use events::{Pdu, RoomVersion};
use rooms::{Error, peers::IncomingInvite};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, events::room::member::MembershipState as M,
};
use serde_json::{Value, json};

use super::{Forged, come_in, public, room_of, snapshot};
use crate::{
    wire::{Wire, name},
    world::World,
};

/// What another server sends to invite a user of one.test.
pub(super) struct Invite {
    pub(super) server: &'static str,
    pub(super) room_id: OwnedRoomId,
    pub(super) event_id: OwnedEventId,
    pub(super) room_version: String,
    pub(super) event: Bytes,
    pub(super) stripped_state: Vec<Bytes>,
    pub(super) via: Vec<OwnedServerName>,
}

impl Invite {
    pub(super) fn of(event: &Forged) -> Self {
        let pdu = event.pdu();
        Self {
            server: "evil.test",
            room_id: pdu.room_id().to_owned(),
            event_id: pdu.event_id().clone(),
            room_version: event.version.as_str().to_owned(),
            event: pdu.json().clone(),
            stripped_state: Vec::new(),
            via: Vec::new(),
        }
    }

    /// With what the room's server tells of it.
    pub(super) async fn described(mut self, world: &World) -> Self {
        let view = world.rooms.room(&self.room_id).await.unwrap().unwrap();
        for kind in ["m.room.create", "m.room.name", "m.room.join_rules"] {
            let event = world.rooms.state_get(view.state, kind, "").await.unwrap();
            self.stripped_state.extend(event.map(|event| event.pdu.json().clone()));
        }
        self
    }

    pub(super) async fn send(&self, to: &World) -> Result<Bytes, Error> {
        let invite = IncomingInvite {
            room_id: &self.room_id,
            event_id: &self.event_id,
            room_version: &self.room_version,
            event: self.event.clone(),
            stripped_state: self.stripped_state.clone(),
            via: self.via.clone(),
        };
        // The edge looks whether the user exists in between.
        let user = to.rooms.peer_invited_user(&name(self.server), &invite).await?;
        assert_eq!(user.server_name().as_str(), to.server);
        to.rooms.peer_invite(&name(self.server), invite).await
    }
}

/// A room of evil.test, and its invite for @ada:one.test.
pub(super) async fn invitation(evil: &World, version: &str) -> Forged {
    let eve = evil.user("eve");
    let room = room_of(evil, &eve, version, json!({ "join_rule": "invite" })).await;
    evil.set(&eve, &room, "m.room.name", "", json!({ "name": "Trap" })).await.unwrap();
    let content = json!({ "membership": "invite", "reason": "come" });
    Forged::state(evil, &room, &eve, "m.room.member", "@ada:one.test", content).await
}

async fn shown(world: &World, room: &OwnedRoomId) -> Vec<Value> {
    let ada = world.user("ada");
    let user_room = world.rooms.user_room(&ada, room).await.unwrap().expect("she was told");
    let shown = world.rooms.stripped_state(&user_room, &ada).await.unwrap();
    shown.iter().map(|event| serde_json::from_slice(event).expect("JSON")).collect()
}

#[tokio::test]
async fn an_invite_is_signed_and_shown_to_the_user() {
    for version in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"] {
        let wire = Wire::default();
        let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
        let event = invitation(&evil, version).await;
        let mut invite = Invite::of(&event).described(&evil).await;
        invite.via = vec![name("via.test")];
        let signed = invite.send(&one).await.unwrap();
        let version = RoomVersion::parse(version).unwrap();
        let pdu = Pdu::from_json(signed.clone(), version).unwrap();
        assert_eq!(*pdu.event_id(), invite.event_id);
        let json: Value = serde_json::from_slice(&signed).unwrap();
        for server in ["one.test", "evil.test"] {
            assert!(json["signatures"][server].is_object(), "{server}, version {version:?}");
        }
        let ada = one.user("ada");
        let row = one.rooms.user_room(&ada, &invite.room_id).await.unwrap().unwrap();
        assert_eq!((row.membership, &row.event_id), (M::Invite, &invite.event_id));
        let shown = shown(&one, &invite.room_id).await;
        let content = |kind: &str| {
            let found = shown.iter().find(|event| event["type"] == kind);
            found.map(|event| event["content"].clone())
        };
        assert_eq!(content("m.room.name"), Some(json!({ "name": "Trap" })));
        assert_eq!(content("m.room.member").unwrap()["reason"], "come");
        assert!(content("m.room.create").is_some());
        // They accept through whoever is named.
        wire.take_calls();
        wire.set_down("evil.test", true);
        let _refused = one.join(&ada, &invite.room_id).await;
        let asked: Vec<_> = wire.take_calls().into_iter().map(|(_, server)| server).collect();
        assert!(asked.contains(&name("via.test")) && asked.contains(&name("evil.test")));
        wire.set_down("evil.test", false);
    }
}

#[tokio::test]
async fn an_invite_to_a_room_that_we_are_in_is_signed_and_changes_nothing_yet() {
    let wire = Wire::default();
    let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
    let eve = evil.user("eve");
    let room = public(&evil, &eve, "11").await;
    come_in(&one, &one.user("bob"), &room, &evil).await;
    wire.deliver(&[&one, &evil]).await;
    let content = json!({ "membership": "invite" });
    let event = Forged::state(&evil, &room, &eve, "m.room.member", "@ada:one.test", content).await;
    let before = snapshot(&one, &room).await;
    Invite::of(&event).described(&evil).await.send(&one).await.unwrap();
    assert_eq!(snapshot(&one, &room).await, before);
    assert_eq!(one.rooms.user_room(&one.user("ada"), &room).await.unwrap(), None);
    // Through the port, as servers do it: the event comes with the room's others.
    evil.invite(&eve, &room, &one.user("ada")).await.unwrap();
    wire.deliver(&[&evil, &one]).await;
    assert_eq!(one.membership(&one.user("ada"), &room).await, Some(M::Invite));
}

#[tokio::test]
async fn an_invite_that_comes_again_is_one_invite() {
    let wire = Wire::default();
    let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
    let event = invitation(&evil, "11").await;
    let invite = Invite::of(&event).described(&evil).await;
    let first = invite.send(&one).await.unwrap();
    let position = one.store.log().position();
    for _ in 0..5 {
        assert_eq!(invite.send(&one).await.unwrap(), first);
    }
    assert_eq!(one.store.log().position(), position, "nobody is told twice");
    // Nor does it come back once the user has said no.
    let ada = one.user("ada");
    one.rooms.leave(&invite.room_id, &ada, None).await.unwrap();
    let _ignored = invite.send(&one).await;
    let row = one.rooms.user_room(&ada, &invite.room_id).await.unwrap().unwrap();
    assert_eq!(row.membership, M::Leave);
}

/// The user joins while the same server invites them once more.
#[tokio::test]
async fn an_invite_takes_nobody_out_of_a_room() {
    let wire = Wire::default();
    let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
    let event = invitation(&evil, "11").await;
    let ada = one.user("ada");
    evil.invite(&evil.user("eve"), &event.room_id, &ada).await.unwrap();
    let invite = Invite::of(&event).described(&evil).await;
    come_in(&one, &ada, &event.room_id, &evil).await;
    invite.send(&one).await.unwrap();
    let row = one.rooms.user_room(&ada, &event.room_id).await.unwrap().unwrap();
    assert_eq!(row.membership, M::Join);
    one.send(&ada, &event.room_id, "still here").await.unwrap();
}

/// What strangers say of a room reaches clients as events only, and in bounds.
#[tokio::test]
async fn what_is_shown_of_a_room_is_made_of_events_and_kept_in_bounds() {
    let odd = [json!(null), json!(1), json!(1.5), json!([]), json!({}), json!(true), json!("")];
    let kinds = [
        "m.room.name",
        "m.room.topic",
        "m.room.avatar",
        "m.room.member",
        "m.room.join_rules",
        "m.room.canonical_alias",
        "m.room.encryption",
        "m.space.child",
    ];
    let wire = Wire::default();
    let (one, evil) = (wire.server("one.test"), wire.server("evil.test"));
    let event = |kind: &str, content: &Value| json!({ "type": kind, "state_key": "", "sender": "@eve:evil.test", "content": content });
    let mut cases: Vec<Vec<Bytes>> = Vec::new();
    for kind in kinds {
        for value in &odd {
            let field = kind.rsplit('.').next().unwrap();
            let good = event(kind, &json!({ field: value, "unsigned": value }));
            let bad = event(kind, value);
            cases.push([good, bad].map(|event| event.to_string().into()).into());
        }
    }
    for value in &odd {
        for field in ["type", "state_key", "sender", "content"] {
            let mut event = event("m.room.name", &json!({ "name": "x" }));
            event[field] = value.clone();
            cases.push(vec![event.to_string().into()]);
        }
        cases.push(vec![value.to_string().into()]);
    }
    let large = event("m.room.topic", &json!({ "topic": "x".repeat(60_000) }));
    cases.push(vec![large.to_string().into(); 100]);
    cases.push(vec![event("m.room.name", &json!({ "name": "x" })).to_string().into(); 10_000]);
    cases.push(vec!["{".into(), Bytes::new(), "{\"a\":".repeat(300).into(), "\u{0}".into()]);
    assert!(cases.len() > 90);
    for stripped_state in cases {
        let mut invite = Invite::of(&invitation(&evil, "10").await);
        invite.stripped_state = stripped_state;
        invite.via = (0..1000).map(|n| name(&format!("s{n}.test"))).collect();
        invite.send(&one).await.unwrap();
        let shown = shown(&one, &invite.room_id).await;
        assert!(shown.len() <= 51);
        let bytes: usize = shown.iter().map(|event| event.to_string().len()).sum();
        assert!(bytes < 400_000);
        for event in shown {
            assert!(event["type"].is_string() && event["state_key"].is_string());
            assert!(event["sender"].is_string() && event["content"].is_object());
        }
    }
    assert!(one.store.disk_bytes() < 100 << 20);
}
