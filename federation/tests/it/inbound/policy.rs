//! A region as the policy server of a room: what its rules allow arrives everywhere, and what they
//! deny reaches nobody, whoever sends it and to whom.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use events::{
    Pdu, PolicyLists, PolicyRules, SigningKey,
    canonical::{Numbers, canonicalise},
};
use rooms::{PolicyRate, PolicyServerConfig, Preset, ports::RemoteError};
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    Scene,
    hostile::{Draft, request},
    region::{Answer, Region},
    version,
};

const SIGN: &str = "/_matrix/policy/v1/sign";
const KEY_ID: &str = "ed25519:policy_server";

/// A room of ada, carl and mallory that takes `policy.test:1` for its policy server; pam is there.
struct Guarded {
    scene: Scene,
    policy: Region,
    pam: OwnedUserId,
}

fn policy_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32], "policy_server").expect("a key")
}

fn denying(lists: &PolicyLists) -> PolicyServerConfig {
    PolicyServerConfig {
        key: policy_key(),
        rooms: BTreeSet::new(),
        rules: Arc::new(PolicyRules::new(lists).expect("rules")),
        sender_rate: None,
        room_rate: None,
    }
}

fn no_casinos() -> PolicyServerConfig {
    denying(&PolicyLists { denied_text: vec!["casino".to_owned()], ..PolicyLists::default() })
}

impl Guarded {
    async fn new(version: &str, config: PolicyServerConfig) -> Self {
        let scene = Scene::new(version).await;
        let of_rooms = rooms::Config { policy_server: Some(config), ..rooms::Config::default() };
        let policy = Region::configured(&scene.net, "policy.test:1", of_rooms).await;
        let pam = policy.user("pam").await;
        policy.join(&pam, &scene.room, &scene.us).await;
        scene.us.has_member(&scene.room, &pam).await;
        let content = json!({
            "via": "policy.test:1",
            "public_keys": { "ed25519": policy.rooms.policy_key().expect("a key").to_base64() },
        });
        let Scene { us, ada, room, .. } = &scene;
        let set = us.send(ada, room, "m.room.policy", Some(""), content).await;
        for region in [&scene.third, &policy] {
            region.has_event(&scene.room, &set).await;
            region.has_member(&scene.room, &pam).await;
        }
        Self { scene, policy, pam }
    }

    /// What mallory's server is told of an event.
    async fn sign(&self, pdu: &Bytes) -> Answer {
        self.scene.evil.request(&self.policy, "POST", SIGN, Some(pdu.clone())).await
    }

    async fn message(&self, body: &str) -> Draft {
        self.scene.evil.message(&self.scene.us, &self.scene.room, body).await
    }

    async fn signed_message(&self, body: &str) -> Pdu {
        self.scene.evil.sign(&self.message(body).await)
    }

    fn regions(&self) -> [&Region; 3] {
        [&self.scene.us, &self.scene.third, &self.policy]
    }
}

fn said(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

#[tokio::test]
async fn what_the_policy_server_denies_reaches_nobody() {
    for version in ["6", "12"] {
        let guarded = Guarded::new(version, no_casinos()).await;
        let Guarded { scene, policy, pam } = &guarded;
        let Scene { us, third, evil, ada, carl, room, .. } = scene;
        for (region, user) in [(us, ada), (third, carl), (policy, pam)] {
            let good = region.say(user, room, "hello").await;
            for other in guarded.regions() {
                other.has_event(room, &good).await;
                let event = other.rooms.event_by_id(&good).await.expect("reads").expect("kept");
                let pdu: Value = serde_json::from_slice(event.pdu.json()).expect("JSON");
                assert!(pdu["signatures"]["policy.test:1"][KEY_ID].is_string(), "{pdu}");
            }
        }
        let before = [us.seen(room, ada).await, third.seen(room, carl).await];
        let at_policy = policy.seen(room, pam).await;
        for (region, user) in [(us, ada), (third, carl), (policy, pam)] {
            for (kind, key, content) in [
                ("m.room.message", None, said("come to the CASINO!")),
                ("org.example.note", None, json!({ "note": ["casino"] })),
            ] {
                let refused = region.try_send(user, room, kind, key, content).await;
                let Err(rooms::Error::Remote(RemoteError::Refused { status, errcode, .. })) =
                    refused
                else {
                    panic!("{user}, {kind}: {refused:?}");
                };
                assert_eq!((status, &*errcode), (400, "M_FORBIDDEN"), "{user}, {kind}");
            }
        }
        // Who does not ask is not heard either, and not through anybody's history.
        let bad = guarded.signed_message("casino").await;
        for (n, region) in guarded.regions().into_iter().enumerate() {
            let pdus = [bad.json().clone()];
            evil.send(region, &format!("bad{n}"), &pdus, &[]).await.ok("a transaction");
        }
        assert_eq!(policy.seen(room, pam).await.timeline, at_policy.timeline, "{version}");
        scene.assert_nothing_but_honest_traffic(&before, version).await;
        // Whoever just does not know that it has to ask is.
        let good = guarded.signed_message("fair and square").await;
        for (n, region) in guarded.regions().into_iter().enumerate() {
            let pdus = [good.json().clone()];
            evil.send(region, &format!("good{n}"), &pdus, &[]).await.ok("a transaction");
            region.has_event(room, good.event_id()).await;
        }
    }
}

/// A room gets rid of it without asking it.
#[tokio::test]
async fn a_room_can_do_without_its_policy_server() {
    let guarded = Guarded::new("11", no_casinos()).await;
    let Guarded { scene, policy, .. } = &guarded;
    let Scene { us, third, ada, room, .. } = scene;
    assert!(us.try_send(ada, room, "m.room.message", None, said("casino")).await.is_err());
    us.send(ada, room, "m.room.policy", Some(""), json!({})).await;
    let free = us.send(ada, room, "m.room.message", None, said("casino")).await;
    for region in [third, policy] {
        region.has_event(room, &free).await;
    }
}

#[tokio::test]
async fn only_what_can_be_judged_is_signed() {
    let guarded = Guarded::new("11", no_casinos()).await;
    let Scene { us, evil, ada, .. } = &guarded.scene;
    let good = guarded.signed_message("hello").await;
    let answer = guarded.sign(good.json()).await.ok("a good event");
    let signature = answer["policy.test:1"][KEY_ID].as_str().expect("a signature");
    let signatures = answer.as_object().expect("an object");
    assert_eq!(signatures.len(), 1, "the signatures of others are not repeated: {answer}");
    let expected = events::policy_signature(&good, &policy_key(), version("11"));
    assert_eq!(signature, expected);

    let changed = |change: &dyn Fn(&mut Value)| {
        let mut event: Value = serde_json::from_slice(good.json()).expect("JSON");
        change(&mut event);
        Bytes::from(event.to_string())
    };
    let elsewhere = us.room(ada, "11", Preset::PublicChat).await;
    let draft = guarded.message("casino").await;
    let of_ada = draft.clone().with(|event| {
        event.sender = ada.clone();
        event.content = said("hello");
    });
    let long = guarded.signed_message(&format!("{} casino", "word ".repeat(10_000))).await;
    let policy_event = draft.clone().with(|event| {
        (event.event_type, event.state_key) = ("m.room.policy".to_owned(), Some(String::new()));
    });
    for (case, body, status, errcode) in [
        ("denied", evil.sign(&draft).json().clone(), 400, "M_FORBIDDEN"),
        ("denied, and long", long.json().clone(), 400, "M_FORBIDDEN"),
        // The signature would hold for the hidden content too: it covers its hash.
        ("another content", changed(&|e| e["content"]["body"] = "bye".into()), 400, "M_FORBIDDEN"),
        (
            "a redacted copy",
            evil.sign(&draft).redacted(version("11")).json().clone(),
            400,
            "M_FORBIDDEN",
        ),
        ("unsigned", changed(&|e| e["signatures"] = json!({})), 400, "M_FORBIDDEN"),
        ("in another's name", evil.sign(&of_ada).json().clone(), 400, "M_FORBIDDEN"),
        (
            "the one that needs none",
            evil.sign(&policy_event).json().clone(),
            400,
            "M_INVALID_PARAM",
        ),
        ("no sender", changed(&|e| e["sender"] = Value::Null), 400, "M_BAD_JSON"),
        ("no depth", changed(&|e| e["depth"] = "deep".into()), 400, "M_BAD_JSON"),
        ("no event", Bytes::from("[]"), 400, "M_BAD_JSON"),
        ("another room", changed(&|e| e["room_id"] = json!(elsewhere)), 404, "M_NOT_FOUND"),
        ("no room", changed(&|e| e["room_id"] = "!none:us.test:1".into()), 404, "M_NOT_FOUND"),
    ] {
        let answer = guarded.sign(&body).await;
        assert_eq!((answer.status, answer.errcode()), (status, errcode), "{case}: {answer:?}");
    }
}

#[tokio::test]
async fn only_who_may_ask_is_answered() {
    let guarded = Guarded::new("11", no_casinos()).await;
    let Guarded { scene, policy, pam } = &guarded;
    let Scene { us, evil, room, ada, .. } = scene;
    let good = guarded.signed_message("hello").await;
    guarded.sign(good.json()).await.ok("a good event");
    let unsigned = policy.ask(request("POST", SIGN, &[], good.json().clone())).await;
    assert_eq!(unsigned.status, 401, "{unsigned:?}");
    let get = evil.request(policy, "GET", SIGN, None).await;
    assert_eq!((get.status, get.errcode()), (405, "M_UNRECOGNIZED"), "{get:?}");
    let none = evil.request(us, "POST", SIGN, Some(good.json().clone())).await;
    assert_eq!((none.status, none.errcode()), (404, "M_UNRECOGNIZED"), "{none:?}");
    // Rooms that its users have left, and servers that a room denies.
    let list = json!({ "allow": ["*"], "deny": ["evil.test"] });
    let listed = us.send(ada, room, "m.room.server_acl", Some(""), list).await;
    policy.has_event(room, &listed).await;
    let denied = guarded.sign(good.json()).await;
    assert_eq!((denied.status, denied.errcode()), (403, "M_FORBIDDEN"), "{denied:?}");
    let left = policy.rooms.leave(room, pam, None).await;
    left.expect("leaves");
    let gone = guarded.sign(good.json()).await;
    assert_eq!((gone.status, gone.errcode()), (404, "M_NOT_FOUND"), "{gone:?}");
}

/// In the first versions the sender chooses the id.
#[tokio::test]
async fn a_second_event_with_the_id_of_a_good_one_is_judged_by_itself() {
    let guarded = Guarded::new("1", no_casinos()).await;
    let evil = &guarded.scene.evil;
    let named = |draft: &Draft| {
        let mut event: Value = serde_json::from_slice(evil.sign(draft).json()).expect("JSON");
        event["event_id"] = "$same:evil.test:1".into();
        for key in ["signatures", "hashes"] {
            event.as_object_mut().expect("an object").remove(key);
        }
        let hashed = canonicalise(event.to_string().as_bytes(), Numbers::AsText).expect("JSON");
        event["hashes"] = json!({ "sha256": STANDARD_NO_PAD.encode(Sha256::digest(hashed)) });
        event["signatures"] = json!({});
        let pdu = Pdu::from_json(event.to_string().into(), version("1")).expect("well-formed");
        let signed = events::add_signature(&pdu, &evil.key, &evil.name, version("1"));
        signed.expect("it can be signed").json().clone()
    };
    let (good, bad) = (guarded.message("hello").await, guarded.message("casino").await);
    guarded.sign(&named(&good)).await.ok("the good one");
    let answer = guarded.sign(&named(&bad)).await;
    assert_eq!((answer.status, answer.errcode()), (400, "M_FORBIDDEN"), "{answer:?}");
}

#[tokio::test]
async fn nobody_is_recommended_more_often_than_the_rates_say() {
    let rate = |per_second, burst| Some(PolicyRate { per_second, burst });
    let trusting = PolicyLists {
        trusted_senders: vec!["@bot:evil.test:1".to_owned()],
        ..PolicyLists::default()
    };
    let config = PolicyServerConfig {
        sender_rate: rate(1.0, 2),
        room_rate: rate(1.0, 5),
        ..denying(&trusting)
    };
    let guarded = Guarded::new("11", config).await;
    let Guarded { scene, .. } = &guarded;
    // Whatever came in while the room was made has had its share.
    scene.net.clock.advance(60_000);
    let by = async |user: &str, n: u32| {
        let draft = guarded.message(&format!("{user} {n}")).await;
        let draft = draft.with(|event| event.sender = scene.evil.user(user));
        guarded.sign(scene.evil.sign(&draft).json()).await
    };
    let check = async |user: &str, n: u32, status: u16| {
        let answer = by(user, n).await;
        assert_eq!(answer.status, status, "{user} {n}: {answer:?}");
        let errcode = if status == 200 { "" } else { "M_FORBIDDEN" };
        assert_eq!(answer.errcode(), errcode, "{user} {n}");
    };
    check("mallory", 1, 200).await;
    check("mallory", 2, 200).await;
    check("mallory", 3, 400).await;
    // Asked about again, an event is what it was, and costs nothing.
    check("mallory", 1, 200).await;
    check("mallory", 3, 400).await;
    check("mike", 1, 200).await;
    check("mike", 2, 200).await;
    check("mona", 1, 200).await;
    check("mona", 2, 400).await;
    check("bot", 1, 200).await;
    scene.net.clock.advance(Duration::from_secs(1).as_millis().try_into().expect("few"));
    check("mallory", 4, 200).await;
    check("mona", 3, 400).await;
    check("mallory", 3, 400).await;
}

#[tokio::test]
async fn rooms_that_are_not_named_are_not_served() {
    let other: OwnedRoomId = "!other:us.test:1".try_into().expect("a room id");
    let guarded =
        Guarded::new("11", PolicyServerConfig { rooms: [other].into(), ..no_casinos() }).await;
    let Guarded { scene, policy, pam } = &guarded;
    let answer = guarded.sign(guarded.signed_message("hello").await.json()).await;
    assert_eq!((answer.status, answer.errcode()), (404, "M_NOT_FOUND"), "{answer:?}");
    // Nor are its own users given what others do not get.
    let own = policy.try_send(pam, &scene.room, "m.room.message", None, said("hello")).await;
    assert!(matches!(own, Err(rooms::Error::Remote(RemoteError::Refused { .. }))), "{own:?}");
}
