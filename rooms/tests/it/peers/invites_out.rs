//! Invites to users of other servers: what comes back must be the invite that was sent.

use bytes::Bytes;
use rooms::{Error, MembershipChange, Profile};
use ruma::{RoomId, UserId, events::room::member::MembershipState as M};
use serde_json::{Value, json};

use super::{edited, public, snapshot};
use crate::{
    wire::{Answer, Wire},
    world::{World, change},
};

fn tampered(how: &str, event: &Bytes) -> Bytes {
    match how {
        "nothing" => Bytes::new(),
        "null" => "null".into(),
        "no signatures" => edited(event, "signatures", None),
        "only theirs" => {
            let mut json: Value = serde_json::from_slice(event).unwrap();
            json["signatures"].as_object_mut().unwrap().remove("one.test");
            serde_json::to_vec(&json).unwrap().into()
        }
        "only ours" => {
            let mut json: Value = serde_json::from_slice(event).unwrap();
            json["signatures"].as_object_mut().unwrap().remove("two.test");
            serde_json::to_vec(&json).unwrap().into()
        }
        "nonsense for theirs" => {
            let mut json: Value = serde_json::from_slice(event).unwrap();
            json["signatures"]["two.test"] = json!({ "ed25519:wire": "AAAA" });
            serde_json::to_vec(&json).unwrap().into()
        }
        "another reason" => {
            let content = json!({ "membership": "invite", "reason": "forged" });
            edited(event, "content", Some(content))
        }
        "another membership" => edited(event, "content", Some(json!({ "membership": "ban" }))),
        "another user" => edited(event, "state_key", Some(json!("@eve:two.test"))),
        "another depth" => edited(event, "depth", Some(json!(1))),
        "one more key" => edited(event, "extra", Some(json!(1))),
        other => panic!("nobody knows how to do {other}"),
    }
}

/// With a reason, which the id of the event does not cover.
async fn invite(
    world: &World,
    sender: &UserId,
    room: &RoomId,
    target: &UserId,
) -> Result<(), Error> {
    let change = MembershipChange { reason: Some("come"), ..change(sender, room, target) };
    world.rooms.invite(change, Profile::default(), false).await
}

#[tokio::test]
async fn an_answer_that_is_not_the_signed_invite_invites_nobody() {
    let ways = [
        "nothing",
        "null",
        "no signatures",
        "only theirs",
        "only ours",
        "nonsense for theirs",
        "another reason",
        "another membership",
        "another user",
        "another depth",
        "one more key",
    ];
    for version in ["1", "6", "11", "12"] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public(&one, &ada, version).await;
        let before = snapshot(&one, &room).await;
        for how in ways {
            wire.corrupt("two.test", move |answer| {
                if let Answer::Invited(event) = answer {
                    *event = tampered(how, event);
                }
            });
            let outcome = invite(&one, &ada, &room, &bob).await;
            assert!(matches!(outcome, Err(Error::Remote(_))), "{how}, {version}: {outcome:?}");
            assert_eq!(snapshot(&one, &room).await, before, "{how}, {version}");
            assert_eq!(one.membership(&bob, &room).await, None, "{how}, {version}");
        }
        wire.mend("two.test");
        invite(&one, &ada, &room, &bob).await.unwrap();
        assert_eq!(one.membership(&bob, &room).await, Some(M::Invite));
        let view = one.rooms.room(&room).await.unwrap().unwrap();
        let invite = one.rooms.state_get(view.state, "m.room.member", bob.as_str()).await.unwrap();
        let json: Value = serde_json::from_slice(invite.unwrap().pdu.json()).unwrap();
        assert!(json["signatures"]["one.test"].is_object());
        assert!(json["signatures"]["two.test"].is_object());
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_says_no_leaves_the_user_uninvited() {
    let wire = Wire::default();
    let (one, _two) = (wire.server("one.test"), wire.server("two.test"));
    let ada = one.user("ada");
    let bob = ruma::user_id!("@bob:two.test").to_owned();
    let room = public(&one, &ada, "11").await;
    let before = snapshot(&one, &room).await;
    wire.set_down("two.test", true);
    assert!(matches!(one.invite(&ada, &room, &bob).await, Err(Error::Remote(_))));
    assert_eq!(snapshot(&one, &room).await, before);
}

/// Nothing remote happens under the room's writer.
#[tokio::test]
async fn the_room_goes_on_while_another_server_thinks_about_an_invite() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public(&one, &ada, "11").await;
    let gate = wire.gate("invite");
    let invite = one.invite(&ada, &room, &bob);
    tokio::pin!(invite);
    tokio::select! {
        outcome = &mut invite => panic!("{outcome:?}"),
        reached = gate.reached.acquire() => reached.unwrap().forget(),
    }
    for n in 0..5 {
        one.send(&ada, &room, &format!("meanwhile {n}")).await.unwrap();
    }
    wire.lift_gates();
    invite.await.unwrap();
    assert_eq!(one.membership(&bob, &room).await, Some(M::Invite));
}
