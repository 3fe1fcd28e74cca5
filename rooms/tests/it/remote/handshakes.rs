//! Invites, knocks and leaves across servers.

use rooms::{Error, KnockRequest, MembershipFact, Profile, UserRoom, ports::RemoteError, stream};
use ruma::{OwnedUserId, RoomId, events::room::member::MembershipState};
use serde_json::{Value, json};

use super::{JOIN, VERSIONS, altered, asked, join_via, public_room, with_bad_signature};
use crate::{
    wire::{Answer, Wire, name},
    world::{World, change},
};

const INVITE: Option<MembershipState> = Some(MembershipState::Invite);
const LEAVE: Option<MembershipState> = Some(MembershipState::Leave);
const KNOCK: Option<MembershipState> = Some(MembershipState::Knock);

async fn knock(world: &World, user: &OwnedUserId, room: &RoomId) -> Result<(), Error> {
    let (profile, via) = (Profile::default(), vec![name("one.test")]);
    let knock = KnockRequest { room_id: room, user, profile, reason: Some("please"), via };
    world.rooms.knock(knock).await
}

async fn user_room(world: &World, user: &OwnedUserId, room: &RoomId) -> UserRoom {
    world.rooms.user_room(user, room).await.unwrap().expect("the user has a membership")
}

/// What a client is shown of the room, by type.
async fn shown(world: &World, user: &OwnedUserId, room: &RoomId) -> Vec<String> {
    let row = user_room(world, user, room).await;
    let events = world.rooms.stripped_state(&row, user).await.unwrap();
    let types = events.iter().map(|event| {
        let event: Value = serde_json::from_slice(event).unwrap();
        event["type"].as_str().unwrap().to_owned()
    });
    types.collect()
}

async fn set_rule(world: &World, user: &OwnedUserId, room: &RoomId, rule: &str) {
    let rule = json!({ "join_rule": rule });
    world.set(user, room, "m.room.join_rules", "", rule).await.unwrap();
}

#[tokio::test]
async fn an_invite_to_another_server_is_shown_there_and_lets_its_user_in() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        set_rule(&one, &ada, &room, "invite").await;
        assert!(join_via(&two, &bob, &room, &["one.test"]).await.is_err());
        let before = two.store.log().position();
        one.invite(&ada, &room, &bob).await.unwrap_or_else(|error| {
            panic!("version {version}: {error}");
        });
        assert_eq!(one.membership(&bob, &room).await, INVITE);
        assert_eq!(two.membership_of(&bob, &room).await, INVITE, "version {version}");
        let facts = two.store.facts(before, u64::MAX, 10).await.unwrap();
        let told = facts.iter().find(|logged| logged.fact.stream == stream::MEMBERSHIP).unwrap();
        assert_eq!(&*told.fact.subject, bob.as_str());
        let fact = MembershipFact::from_fact(&told.fact).unwrap();
        assert_eq!(Some(fact.membership), INVITE);
        let types = shown(&two, &bob, &room).await;
        for wanted in ["m.room.create", "m.room.join_rules", "m.room.member"] {
            assert!(types.iter().any(|shown| shown == wanted), "version {version}, {wanted}");
        }
        // Neither the id nor the user says where the room is: the invite does.
        two.join(&bob, &room).await.unwrap_or_else(|error| panic!("version {version}: {error}"));
        assert_eq!(one.membership(&bob, &room).await, JOIN);
    }
}

#[tokio::test]
async fn an_invite_that_the_other_server_does_not_take_does_not_count() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    wire.set_down("two.test", true);
    let outcome = one.invite(&ada, &room, &bob).await;
    assert!(matches!(outcome, Err(Error::Remote(RemoteError::Unreachable { .. }))));
    wire.set_down("two.test", false);
    let alterations: [fn(&mut Vec<u8>); 5] = [
        |json| *json = b"{}".to_vec(),
        |json| *json = altered(&json.clone().into(), |pdu| pdu["depth"] = 77.into()).to_vec(),
        |json| *json = with_bad_signature(&json.clone().into()).to_vec(),
        |json| {
            let named = |pdu: &mut Value| pdu["content"]["displayname"] = "Mallory".into();
            *json = altered(&json.clone().into(), named).to_vec();
        },
        |json| {
            let banned = |pdu: &mut Value| pdu["content"]["membership"] = "ban".into();
            *json = altered(&json.clone().into(), banned).to_vec();
        },
    ];
    for (case, alter) in alterations.into_iter().enumerate() {
        wire.corrupt("two.test", move |answer| {
            if let Answer::Invited(json) = answer {
                let mut bytes = json.to_vec();
                alter(&mut bytes);
                *json = bytes.into();
            }
        });
        let named = Profile { displayname: Some("Bob".to_owned()), avatar_url: None };
        let outcome = one.rooms.invite(change(&ada, &room, &bob), named, false).await;
        assert!(matches!(outcome, Err(Error::Remote(_))), "case {case}: {outcome:?}");
        assert_eq!(one.membership(&bob, &room).await, None, "case {case}");
    }
    wire.corrupt("two.test", |answer| {
        if let Answer::Invited(json) = answer {
            *json = altered(json, |pdu| pdu["more"] = 1.5.into());
        }
    });
    let outcome = one.invite(&ada, &room, &bob).await;
    assert!(matches!(outcome, Err(Error::BadJson(_))), "a number of no event: {outcome:?}");
    assert_eq!(one.membership(&bob, &room).await, None);
}

#[tokio::test]
async fn only_who_may_invite_reaches_the_other_server() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, carl, bob) = (one.user("ada"), one.user("carl"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    assert!(one.invite(&carl, &room, &bob).await.is_err(), "who is not in the room");
    one.join(&carl, &room).await.unwrap();
    let levels = json!({ "users": { ada.as_str(): 100 }, "invite": 50 });
    one.set(&ada, &room, "m.room.power_levels", "", levels).await.unwrap();
    assert!(one.invite(&carl, &room, &bob).await.is_err(), "who has no right to");
    one.rooms.ban(change(&ada, &room, &bob)).await.unwrap();
    assert!(one.invite(&ada, &room, &bob).await.is_err(), "who is banned");
    assert_eq!(asked(&wire), []);
}

#[tokio::test]
async fn a_rejected_invite_is_known_to_the_room() {
    for version in VERSIONS {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        set_rule(&one, &ada, &room, "invite").await;
        one.invite(&ada, &room, &bob).await.unwrap();
        two.rooms.leave(&room, &bob, Some("no")).await.unwrap();
        for world in [&one, &two] {
            assert_eq!(world.membership_of(&bob, &room).await, LEAVE, "version {version}");
        }
        let content = one.current(&room, "m.room.member", bob.as_str()).await;
        assert_eq!(content, Some(json!({ "membership": "leave", "reason": "no" })));
        let view = two.rooms.room(&room).await.unwrap();
        assert!(view.is_none(), "two.test never was in the room");
        let position = two.store.log().position();
        two.rooms.leave(&room, &bob, None).await.expect("again changes nothing");
        assert_eq!(two.store.log().position(), position);
    }
}

#[tokio::test]
async fn an_invite_can_be_rejected_while_nobody_answers() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    one.invite(&ada, &room, &bob).await.unwrap();
    wire.set_down("one.test", true);
    two.rooms.leave(&room, &bob, None).await.unwrap();
    assert_eq!(two.membership_of(&bob, &room).await, LEAVE);
    let restarted = wire.restarted(&two);
    assert_eq!(restarted.membership_of(&bob, &room).await, LEAVE);
    wire.set_down("one.test", false);
    assert_eq!(one.membership(&bob, &room).await, INVITE, "it was not told");
    join_via(&restarted, &bob, &room, &[]).await.expect("the way there is still known");
}

#[tokio::test]
async fn a_knock_is_shown_to_the_room_answered_and_taken_back() {
    for version in ["7", "8", "9", "10", "11", "12"] {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        let refused = knock(&two, &bob, &room).await;
        assert!(matches!(refused, Err(Error::Remote(_))), "a public room needs no knock");
        set_rule(&one, &ada, &room, "knock").await;
        knock(&two, &bob, &room).await.unwrap_or_else(|e| panic!("version {version}: {e}"));
        for world in [&one, &two] {
            assert_eq!(world.membership_of(&bob, &room).await, KNOCK, "version {version}");
        }
        let types = shown(&two, &bob, &room).await;
        assert!(types.iter().any(|shown| shown == "m.room.join_rules"), "{types:?}");
        let content = one.current(&room, "m.room.member", bob.as_str()).await;
        assert_eq!(content, Some(json!({ "membership": "knock", "reason": "please" })));

        two.rooms.leave(&room, &bob, None).await.unwrap();
        for world in [&one, &two] {
            assert_eq!(world.membership_of(&bob, &room).await, LEAVE, "version {version}");
        }
        knock(&two, &bob, &room).await.unwrap();
        one.invite(&ada, &room, &bob).await.unwrap();
        assert_eq!(two.membership_of(&bob, &room).await, INVITE);
        two.join(&bob, &room).await.unwrap();
        for world in [&one, &two] {
            assert_eq!(world.membership(&bob, &room).await, JOIN, "version {version}");
        }
    }
}

#[tokio::test]
async fn an_invite_that_is_taken_back_and_a_knock_that_is_refused_are_told() {
    for (version, knocks, bans) in
        [("11", false, false), ("11", false, true), ("12", true, false), ("7", true, true)]
    {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public_room(&one, &ada, version).await;
        if knocks {
            set_rule(&one, &ada, &room, "knock").await;
            knock(&two, &bob, &room).await.unwrap();
        } else {
            one.invite(&ada, &room, &bob).await.unwrap();
        }
        let change = change(&ada, &room, &bob);
        if bans {
            one.rooms.ban(change).await.unwrap();
        } else {
            one.rooms.kick(change).await.unwrap();
        }
        wire.deliver(&[&one, &two]).await;
        let ended = if bans { Some(MembershipState::Ban) } else { LEAVE };
        assert_eq!(two.membership_of(&bob, &room).await, ended, "knocks: {knocks}");
        assert!(two.rooms.room(&room).await.unwrap().is_none(), "two.test is not in the room");
        let position = two.store.log().position();
        one.send(&ada, &room, "not for two.test").await.unwrap();
        wire.deliver(&[&one, &two]).await;
        assert_eq!(two.store.log().position(), position);
    }
}

/// Any server can send what looks like the end of an invite.
#[tokio::test]
async fn an_invite_is_not_taken_back_by_an_event_that_does_not_name_it() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    one.invite(&ada, &room, &bob).await.unwrap();
    let row = user_room(&two, &bob, &room).await;
    let end = |sender: &str, server: &str, membership: &str, invite: &ruma::EventId| {
        let content = serde_json::value::to_raw_value(&json!({ "membership": membership }));
        let template = events::EventTemplate {
            room_id: Some(&room),
            sender: sender.try_into().unwrap(),
            event_type: "m.room.member",
            state_key: Some(bob.as_str()),
            content: &content.unwrap(),
            prev_events: &[invite.to_owned()],
            auth_events: &[invite.to_owned()],
            depth: 20,
            origin_server_ts: crate::world::START,
            redacts: None,
        };
        let (key, version) = (crate::wire::key_of(server), events::RoomVersion::parse("11"));
        events::sign_and_build(&template, &key, &name(server), version.unwrap()).unwrap()
    };
    let other = ruma::EventId::parse(format!("${}", "A".repeat(43))).unwrap();
    let pdus = [
        end("@ada:one.test", "one.test", "leave", &other).json().clone(),
        end("@ada:one.test", "one.test", "invite", &row.event_id).json().clone(),
        // Signed by another server than its sender's.
        end("@ada:one.test", "evil.test", "leave", &row.event_id).json().clone(),
        with_bad_signature(end("@ada:one.test", "one.test", "leave", &row.event_id).json()),
        bytes::Bytes::from_static(b"{}"),
    ];
    let outcomes = two.rooms.receive(&name("one.test"), &room, pdus.to_vec()).await;
    assert_eq!(outcomes.len(), pdus.len());
    assert!(outcomes.iter().all(|outcome| outcome.result.is_err()), "{outcomes:?}");
    assert_eq!(two.membership_of(&bob, &room).await, INVITE);
    let real = end("@ada:one.test", "one.test", "leave", &row.event_id).json().clone();
    let outcomes = two.rooms.receive(&name("one.test"), &room, vec![real]).await;
    assert!(outcomes[0].result.is_ok(), "{outcomes:?}");
    assert_eq!(two.membership_of(&bob, &room).await, LEAVE);
}

#[tokio::test]
async fn what_strangers_say_about_a_room_is_kept_in_bounds() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "11").await;
    set_rule(&one, &ada, &room, "knock").await;
    wire.corrupt("one.test", |answer| {
        if let Answer::Knocked(shown) = answer {
            let name = |text: String| {
                let event = json!({
                    "type": "m.room.name", "state_key": "", "sender": "@ada:one.test",
                    "content": { "name": text },
                });
                serde_json::to_vec(&event).unwrap().into()
            };
            let junk = ["", "{}", "[", "1", "{\"type\":1}", "{\"type\":\"m.room.name\"}"];
            *shown = junk.map(|json| json.to_owned().into()).to_vec();
            shown.extend((0..5000).map(|_| name("x".repeat(60_000))));
        }
    });
    knock(&two, &bob, &room).await.unwrap();
    let row = user_room(&two, &bob, &room).await;
    let events = two.rooms.stripped_state(&row, &bob).await.unwrap();
    let bytes: usize = events.iter().map(bytes::Bytes::len).sum();
    assert!(bytes < 300 << 10, "{bytes} bytes");
    for event in &events {
        let event: Value = serde_json::from_slice(event).unwrap();
        assert!(event["content"].is_object() && event["sender"].is_string(), "{event}");
    }
}

#[tokio::test]
async fn leaving_a_shared_room_is_told_to_the_others() {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public_room(&one, &ada, "12").await;
    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    two.rooms.leave(&room, &bob, None).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    assert_eq!(one.membership(&bob, &room).await, LEAVE);
    assert!(
        !one.rooms.room(&room).await.unwrap().unwrap().servers.contains_key(&*name("two.test"))
    );

    join_via(&two, &bob, &room, &["one.test"]).await.unwrap();
    one.rooms.kick(change(&ada, &room, &bob)).await.unwrap();
    wire.deliver(&[&one, &two]).await;
    assert_eq!(two.membership(&bob, &room).await, LEAVE);
    assert!(two.send(&bob, &room, "still here?").await.is_err());
}
