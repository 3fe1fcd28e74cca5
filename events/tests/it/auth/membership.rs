//! Joining, inviting, leaving, kicking, banning and knocking.

use events::SigningKey;
use ruma::{CanonicalJsonObject, server_name};
use serde_json::{Value, json};

use super::{ALWAYS, Case, NEVER, join_rule, member, run};
use crate::room::{ALICE, BOB, CAROL, DAVE, TestRoom};

type Entry = (&'static str, &'static str, &'static str, Value);

fn change(
    sender: &'static str,
    target: &'static str,
    membership: &'static str,
) -> (&'static str, &'static str, Option<&'static str>, Value) {
    (sender, "m.room.member", Some(target), json!({ "membership": membership }))
}

fn case(
    name: &'static str,
    state: Vec<Entry>,
    event: (&'static str, &'static str, Option<&'static str>, Value),
    allowed: fn(u8) -> bool,
) -> Case {
    Case { name, state, event, allowed }
}

#[test]
fn joins() {
    let join = || change(CAROL, CAROL, "join");
    let via = |user: &'static str| {
        let content = json!({ "membership": "join", "join_authorised_via_users_server": user });
        (CAROL, "m.room.member", Some(CAROL), content)
    };
    let invited = || member(CAROL, "invite");
    let hard_to_invite = || {
        (
            ALICE,
            "m.room.power_levels",
            "",
            json!({ "invite": 60, "users": { ALICE: 100, BOB: 50 } }),
        )
    };
    run(vec![
        case("public", vec![], join(), ALWAYS),
        case("public, again", vec![member(CAROL, "join")], join(), ALWAYS),
        case("public, banned", vec![member(CAROL, "ban")], join(), NEVER),
        case("public, for another", vec![], change(BOB, CAROL, "join"), NEVER),
        case("invite only", vec![join_rule("invite")], join(), NEVER),
        case("invite only, invited", vec![join_rule("invite"), invited()], join(), ALWAYS),
        case("private, invited", vec![join_rule("private"), invited()], join(), NEVER),
        case(
            "no rule, invited",
            vec![(ALICE, "m.room.join_rules", "", json!({})), invited()],
            join(),
            NEVER,
        ),
        case("knock", vec![join_rule("knock")], join(), NEVER),
        case("knock, invited", vec![join_rule("knock"), invited()], join(), |n| n >= 7),
        case("knock, knocked", vec![join_rule("knock"), member(CAROL, "knock")], join(), NEVER),
        case("restricted", vec![join_rule("restricted")], join(), NEVER),
        case("restricted, invited", vec![join_rule("restricted"), invited()], join(), |n| n >= 8),
        case("restricted, authorised", vec![join_rule("restricted")], via(BOB), |n| n >= 8),
        case("restricted, by a stranger", vec![join_rule("restricted")], via(DAVE), NEVER),
        case("restricted, by nonsense", vec![join_rule("restricted")], via("x"), NEVER),
        case(
            "restricted, by the weak",
            vec![join_rule("restricted"), hard_to_invite()],
            via(BOB),
            NEVER,
        ),
        case(
            "restricted, by the strong",
            vec![join_rule("restricted"), hard_to_invite()],
            via(ALICE),
            |n| n >= 8,
        ),
        case(
            "restricted, banned",
            vec![join_rule("restricted"), member(CAROL, "ban")],
            via(BOB),
            NEVER,
        ),
        case("knock_restricted", vec![join_rule("knock_restricted")], join(), NEVER),
        case("knock_restricted, authorised", vec![join_rule("knock_restricted")], via(BOB), |n| {
            n >= 10
        }),
        case(
            "knock_restricted, invited",
            vec![join_rule("knock_restricted"), invited()],
            join(),
            |n| n >= 10,
        ),
        case("invite only, authorised", vec![join_rule("invite")], via(BOB), NEVER),
    ]);
}

#[test]
fn invites() {
    let invite = |sender| change(sender, CAROL, "invite");
    let level = |level: i64| {
        (
            ALICE,
            "m.room.power_levels",
            "",
            json!({ "invite": level, "users": { ALICE: 100, BOB: 50 } }),
        )
    };
    run(vec![
        case("by a member", vec![], invite(BOB), ALWAYS),
        case("by a stranger", vec![], invite(DAVE), NEVER),
        case("again", vec![member(CAROL, "invite")], invite(BOB), ALWAYS),
        case("of a member", vec![member(CAROL, "join")], invite(BOB), NEVER),
        case("of a banned user", vec![member(CAROL, "ban")], invite(ALICE), NEVER),
        case("of one who knocks", vec![member(CAROL, "knock")], invite(BOB), ALWAYS),
        case("with just enough power", vec![level(50)], invite(BOB), ALWAYS),
        case("without enough power", vec![level(51)], invite(BOB), NEVER),
    ]);
}

#[test]
fn leaving() {
    let leave = |state| {
        let state = if state == "none" { vec![] } else { vec![member(CAROL, state)] };
        (state, change(CAROL, CAROL, "leave"))
    };
    let mut cases = Vec::new();
    for (name, state, allowed) in [
        ("leave", "join", ALWAYS),
        ("reject an invite", "invite", ALWAYS),
        ("retract a knock", "knock", |n| n >= 7),
        ("leave without being there", "none", NEVER),
        ("leave a ban", "ban", NEVER),
        ("leave twice", "leave", NEVER),
    ] {
        let (state, event) = leave(state);
        cases.push(case(name, state, event, allowed));
    }
    run(cases);
}

#[test]
fn kicking_and_banning() {
    let joined = || vec![member(CAROL, "join")];
    let banned = || vec![member(CAROL, "ban")];
    let levels = |content: Value| (ALICE, "m.room.power_levels", "", content);
    let high_ban = || levels(json!({ "ban": 60, "users": { ALICE: 100, BOB: 50 } }));
    let high_kick = || levels(json!({ "kick": 60, "users": { ALICE: 100, BOB: 50 } }));
    let equal = || levels(json!({ "users": { ALICE: 100, BOB: 50, CAROL: 50 } }));
    let with = |mut state: Vec<Entry>, entry| {
        state.push(entry);
        state
    };
    run(vec![
        case("kick by power", joined(), change(BOB, CAROL, "leave"), ALWAYS),
        case("kick by the weak", joined(), change(CAROL, BOB, "leave"), NEVER),
        case("kick of an equal", with(joined(), equal()), change(BOB, CAROL, "leave"), NEVER),
        case("kick of a superior", vec![], change(BOB, ALICE, "leave"), NEVER),
        case("kick by a stranger", joined(), change(DAVE, CAROL, "leave"), NEVER),
        case(
            "kick below the level",
            with(joined(), high_kick()),
            change(BOB, CAROL, "leave"),
            NEVER,
        ),
        case(
            "retracting an invite",
            vec![member(CAROL, "invite")],
            change(BOB, CAROL, "leave"),
            ALWAYS,
        ),
        case("ban by power", joined(), change(BOB, CAROL, "ban"), ALWAYS),
        case("ban of a stranger", vec![], change(BOB, CAROL, "ban"), ALWAYS),
        case("ban by the weak", joined(), change(CAROL, BOB, "ban"), NEVER),
        case("ban of an equal", with(joined(), equal()), change(BOB, CAROL, "ban"), NEVER),
        case("ban of oneself", vec![], change(BOB, BOB, "ban"), NEVER),
        case("ban below the level", with(joined(), high_ban()), change(BOB, CAROL, "ban"), NEVER),
        case("ban by a stranger", joined(), change(DAVE, CAROL, "ban"), NEVER),
        case("unban by power", banned(), change(BOB, CAROL, "leave"), ALWAYS),
        case(
            "unban below the level",
            with(banned(), high_ban()),
            change(BOB, CAROL, "leave"),
            NEVER,
        ),
        case(
            "unban below the kick level",
            with(banned(), high_kick()),
            change(BOB, CAROL, "leave"),
            NEVER,
        ),
    ]);
}

#[test]
fn malformed_memberships() {
    let joined = || vec![member(CAROL, "join")];
    run(vec![
        case("unknown membership", joined(), change(CAROL, CAROL, "gone"), NEVER),
        case("no membership", joined(), (CAROL, "m.room.member", Some(CAROL), json!({})), NEVER),
        case(
            "no state key",
            joined(),
            (CAROL, "m.room.member", None, json!({ "membership": "join" })),
            NEVER,
        ),
        case(
            "authorised by nonsense",
            joined(),
            (
                CAROL,
                "m.room.member",
                Some(CAROL),
                json!({ "membership": "leave", "join_authorised_via_users_server": 1 }),
            ),
            |n| n < 8,
        ),
        case("state key is no user", vec![], change(BOB, "carol", "invite"), NEVER),
    ]);
}

#[test]
fn knocks() {
    let knock = || change(CAROL, CAROL, "knock");
    run(vec![
        case("on a public room", vec![], knock(), NEVER),
        case("on an invite-only room", vec![join_rule("invite")], knock(), NEVER),
        case("on a knock room", vec![join_rule("knock")], knock(), |n| n >= 7),
        case("on a knock_restricted room", vec![join_rule("knock_restricted")], knock(), |n| {
            n >= 10
        }),
        case("for another", vec![join_rule("knock")], change(BOB, CAROL, "knock"), NEVER),
        case("again", vec![join_rule("knock"), member(CAROL, "knock")], knock(), |n| n >= 7),
        case("invited", vec![join_rule("knock"), member(CAROL, "invite")], knock(), NEVER),
        case("joined", vec![join_rule("knock"), member(CAROL, "join")], knock(), NEVER),
        case("banned", vec![join_rule("knock"), member(CAROL, "ban")], knock(), NEVER),
    ]);
}

/// ruma lets nobody in here; deployed servers take `invite` for granted.
#[test]
fn a_room_without_join_rules_is_for_the_invited() {
    for number in 1..=12 {
        let mut room = TestRoom::empty(number, json!({}));
        room.join(ALICE);
        let tip = room.tip.clone();
        let join = json!({ "membership": "join" });
        let uninvited = room.event_at(&tip, BOB, "m.room.member", Some(BOB), join.clone(), 1);
        assert!(room.verdict(&uninvited).is_err());
        room.send(ALICE, "m.room.member", Some(BOB), json!({ "membership": "invite" }));
        let tip = room.tip.clone();
        let invited = room.event_at(&tip, BOB, "m.room.member", Some(BOB), join, 2);
        assert_eq!(room.verdict(&invited), Ok(()));
    }
}

#[test]
fn third_party_invites() {
    let key = SigningKey::from_seed(&[7; 32], "0").unwrap();
    let other = SigningKey::from_seed(&[8; 32], "0").unwrap();
    let signed = |key: &SigningKey, mxid: &str| {
        let object = json!({ "mxid": mxid, "token": "T", "sender": BOB });
        let mut object: CanonicalJsonObject = serde_json::from_value(object).unwrap();
        events::sign_json(&mut object, key, server_name!("id.test")).unwrap();
        json!({ "membership": "invite", "third_party_invite": { "signed": object } })
    };
    let public = key.public_key().to_base64();
    let single = json!({ "public_key": public });
    let listed = json!({ "public_key": "junk", "public_keys": [{}, { "public_key": public }] });
    let url_safe = json!({ "public_key": public.replace('+', "-").replace('/', "_") });
    for number in 1..=12 {
        let verdict = |source: (&str, &Value), sender: &str, content: Value, membership: &str| {
            let mut room = TestRoom::public(number);
            room.join(BOB);
            room.send(source.0, "m.room.third_party_invite", Some("T"), source.1.clone());
            room.send(CAROL, "m.room.member", Some(CAROL), json!({ "membership": membership }));
            let tip = room.tip.clone();
            let event = room.event_at(&tip, sender, "m.room.member", Some(CAROL), content, 9);
            room.verdict(&event).is_ok()
        };
        let good = signed(&key, CAROL);
        for keys in [&single, &listed, &url_safe] {
            assert!(verdict((BOB, keys), BOB, good.clone(), "leave"));
        }
        assert!(!verdict((BOB, &single), BOB, good.clone(), "ban"));
        assert!(!verdict((ALICE, &single), BOB, good.clone(), "leave"), "another's invite");
        assert!(!verdict((BOB, &single), BOB, signed(&other, CAROL), "leave"), "wrong key");
        assert!(!verdict((BOB, &single), BOB, signed(&key, DAVE), "leave"), "wrong user");
        for field in ["signatures", "mxid", "token"] {
            let mut content = good.clone();
            let signed = &mut content["third_party_invite"]["signed"];
            signed.as_object_mut().unwrap().remove(field);
            assert!(!verdict((BOB, &single), BOB, content, "leave"), "without {field}");
        }
        let mut unsigned = good.clone();
        unsigned["third_party_invite"] = json!({ "display_name": "x" });
        assert!(!verdict((BOB, &single), BOB, unsigned, "leave"));
    }
}
