//! Hazards A1 and B5 where an invite comes through a third party: another server names the user,
//! an identity server has signed it, and a user of ours is made the one who invites.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use events::{RequestToSign, SigningKey};
use http::StatusCode;
use rooms::peers::SignedThirdParty;
use ruma::{
    CanonicalJsonObject, OwnedUserId, RoomId, UserId, events::room::member::MembershipState,
};
use serde_json::{Value, json};

use super::{
    Scene, change,
    hostile::{path, request},
    join_request,
    region::{Answer, Region},
};
use crate::{
    keys::key,
    net::{Canary, Peer, name},
};

const KIND: &str = "m.room.third_party_invite";

/// A scene, and a server that is not in the room, whose user dora ada has invited by mail.
struct Exchange {
    scene: Scene,
    fourth: Region,
    dora: OwnedUserId,
    identity: Identity,
}

/// An identity server.
struct Identity {
    key: SigningKey,
    says_valid: Arc<AtomicBool>,
    peer: Peer,
}

impl Identity {
    async fn start(scene: &Scene) -> Self {
        let (key, says_valid) = (key(9, "0"), Arc::new(AtomicBool::new(true)));
        let (says, public) = (Arc::clone(&says_valid), key.public_key().to_base64());
        let answer = move |seen: &crate::net::Seen| {
            let query = seen.uri.strip_prefix("/isvalid?public_key=");
            match query.map(|key| key.replace("%2B", "+").replace("%2F", "/")) {
                Some(key) if key == public => {
                    crate::net::json(json!({ "valid": says.load(Ordering::Relaxed) }))
                }
                _ => crate::net::status(StatusCode::NOT_FOUND),
            }
        };
        let peer = scene.net.peer("id.test", 443, answer).await;
        Self { key, says_valid, peer }
    }

    /// What it puts into the room through the inviter's client.
    fn content(&self) -> Value {
        let key = self.key.public_key().to_base64();
        let url = "https://id.test/isvalid";
        json!({
            "display_name": "d...@mail.test",
            "key_validity_url": url,
            "public_key": key,
            "public_keys": [{ "public_key": key, "key_validity_url": url }],
        })
    }

    fn signed(&self, mxid: &str, token: &str) -> Value {
        signed_by(&self.key, json!({ "mxid": mxid, "token": token }))
    }
}

fn signed_by(key: &SigningKey, object: Value) -> Value {
    let mut object: CanonicalJsonObject = serde_json::from_value(object).expect("an object");
    events::sign_json(&mut object, key, &name("id.test")).expect("signs");
    json!(object)
}

/// As the specification has it.
fn body(room: &RoomId, sender: &UserId, target: &UserId, signed: Value) -> Value {
    json!({
        "type": "m.room.member",
        "room_id": room,
        "sender": sender,
        "state_key": target,
        "content": {
            "membership": "invite",
            "third_party_invite": { "display_name": "dora", "signed": signed },
        },
    })
}

/// A region asks, with its own key.
async fn ask(from: &Region, us: &Region, room: &str, body: &Value) -> Answer {
    let uri = path("v1/exchange_third_party_invite", &[room]);
    let content = body.to_string();
    let to_sign = RequestToSign {
        method: "PUT",
        uri: &uri,
        origin: &from.name,
        destination: Some(&us.name),
        content: Some(content.as_bytes()),
    };
    let key = key(7, "home");
    let sig = events::sign_request(&to_sign, &key).expect("signs");
    let (origin, destination, key) = (&from.name, &us.name, key.key_id());
    let header = format!(
        "X-Matrix origin=\"{origin}\",destination=\"{destination}\",key=\"{key}\",sig=\"{sig}\""
    );
    us.ask(request("PUT", &uri, &[&header], content.into())).await
}

impl Exchange {
    async fn new(version: &str) -> Self {
        let scene = Scene::without_mallory(version).await;
        let fourth = Region::start(&scene.net, "fourth.test:1").await;
        let dora = fourth.user("dora").await;
        let identity = Identity::start(&scene).await;
        let this = Self { scene, fourth, dora, identity };
        this.invite_by_mail("T", this.identity.content()).await;
        this
    }

    /// By ada; known on the third server too.
    async fn invite_by_mail(&self, token: &str, content: Value) {
        let Scene { us, third, ada, room, .. } = &self.scene;
        let event = us.send(ada, room, KIND, Some(token), content).await;
        third.has_event(room, &event).await;
    }

    fn honest(&self, token: &str) -> Value {
        let signed = self.identity.signed(self.dora.as_str(), token);
        body(&self.scene.room, &self.scene.ada, &self.dora, signed)
    }

    async fn ask(&self, body: &Value) -> Answer {
        ask(&self.fourth, &self.scene.us, self.scene.room.as_str(), body).await
    }

    /// What dora is in the room, as the third server has it.
    async fn until_invited(&self) {
        let invited = Some(MembershipState::Invite);
        let Scene { us, third, room, .. } = &self.scene;
        let root = us.view(room).await.state;
        let event = us.rooms.state_get(root, "m.room.member", self.dora.as_str()).await;
        let event = event.expect("reads").expect("dora is in the state");
        third.has_event(room, event.event_id()).await;
        for region in [us, third] {
            assert_eq!(region.membership(room, &self.dora).await, invited);
        }
        assert_eq!(self.fourth.told(room, &self.dora).await, invited);
    }

    async fn member_content(&self) -> Value {
        let Scene { third, room, .. } = &self.scene;
        let root = third.view(room).await.state;
        let event = third.rooms.state_get(root, "m.room.member", self.dora.as_str()).await;
        let event = event.expect("reads").expect("dora is in the state");
        serde_json::from_str(event.pdu.content_str()).expect("JSON")
    }

    async fn refused(&self, case: &str, body: &Value) {
        let before = self.scene.seen().await;
        self.ask(body).await.refused(case);
        assert_eq!(self.fourth.told(&self.scene.room, &self.dora).await, None, "{case}");
        self.scene.assert_nothing_but_honest_traffic(&before, case).await;
    }
}

#[tokio::test]
async fn whom_an_identity_server_names_is_invited_for_everybody_and_comes_in() {
    for version in ["1", "6", "11", "12"] {
        let exchange = Exchange::new(version).await;
        let Exchange { scene, fourth, dora, identity } = &exchange;
        // None of this is what the room or the identity server says.
        let mut body = exchange.honest("T");
        body["content"]["reason"] = json!("advertisement");
        body["content"]["displayname"] = json!("ada");
        body["content"]["third_party_invite"]["display_name"] = json!("somebody else");
        body["content"]["third_party_invite"]["signed"]["extra"] = json!("x");
        body["content"]["third_party_invite"]["signed"]["signatures"]["evil.test"] =
            json!({ "ed25519:x": "advertisement" });
        exchange.ask(&body).await.ok(version);
        exchange.until_invited().await;
        let expected = json!({
            "membership": "invite",
            "third_party_invite": {
                "display_name": "d...@mail.test",
                "signed": identity.signed(dora.as_str(), "T"),
            },
        });
        assert_eq!(exchange.member_content().await, expected, "version {version}");
        assert_eq!(identity.peer.count(), 1);

        // The answer was lost.
        let before = scene.seen().await;
        exchange.ask(&body).await.ok("once more");
        scene.assert_nothing_but_honest_traffic(&before, "once more").await;

        fourth.join(dora, &scene.room, &scene.us).await;
        for region in [&scene.us, &scene.third] {
            region.has_member(&scene.room, dora).await;
        }
        let before = scene.seen().await;
        exchange.ask(&body).await.refused("who is in the room already");
        scene.assert_nothing_but_honest_traffic(&before, "who is in the room already").await;
    }
}

/// `/sign-ed25519` has the inviter in what it signs.
#[tokio::test]
async fn the_inviter_may_be_part_of_what_is_signed() {
    let exchange = Exchange::new("11").await;
    let (ada, dora) = (exchange.scene.ada.as_str(), exchange.dora.as_str());
    let key = &exchange.identity.key;
    let body = |sender: &str| {
        let signed = signed_by(key, json!({ "mxid": dora, "sender": sender, "token": "T" }));
        body(&exchange.scene.room, &exchange.scene.ada, &exchange.dora, signed)
    };
    exchange.refused("another inviter", &body("@bob:us.test:1")).await;
    exchange.ask(&body(ada)).await.ok("signed");
    exchange.until_invited().await;
}

impl Exchange {
    fn signed_for(&self, user: &UserId, token: &str) -> SignedThirdParty {
        let signed = json!({ "mxid": user, "sender": self.scene.ada, "token": token });
        serde_json::from_value(signed_by(&self.identity.key, signed)).expect("it is one")
    }

    async fn join(
        &self,
        region: &Region,
        user: &UserId,
        signed: &SignedThirdParty,
    ) -> Result<(), rooms::Error> {
        let request = join_request(user, &self.scene.room);
        region.rooms.join_by_third_party(request, signed).await
    }
}

/// `third_party_signed` of a join, on a server that is not in the room, on the inviter's, and on
/// one that is in the room too.
#[tokio::test]
async fn whoever_was_invited_by_mail_joins_by_what_was_signed() {
    for version in ["1", "11", "12"] {
        let exchange = Exchange::new(version).await;
        let Exchange { scene, fourth, dora, identity } = &exchange;
        let Scene { us, third, ada, carl: _, room, .. } = scene;
        let rules = json!({ "join_rule": "invite" });
        let event = us.send(ada, room, "m.room.join_rules", Some(""), rules).await;
        third.has_event(room, &event).await;
        let (bob, erin) = (us.user("bob").await, third.user("erin").await);
        for (region, user, token) in [(fourth, dora, "T"), (us, &bob, "U"), (third, &erin, "W")] {
            if token != "T" {
                exchange.invite_by_mail(token, identity.content()).await;
            }
            let eve = UserId::parse(format!("@eve:{}", region.name)).expect("a user id");
            let mut without = exchange.signed_for(user, token);
            without.sender = None;
            let mut other_key = exchange.signed_for(user, token);
            for signatures in other_key.signatures.values_mut() {
                signatures.values_mut().for_each(|signature| *signature = "A".repeat(86));
            }
            for (case, signed) in [
                ("of another user", exchange.signed_for(&eve, token)),
                ("of no inviter", without),
                ("of another key", other_key),
                ("of no invite", exchange.signed_for(user, "none")),
            ] {
                let joined = exchange.join(region, user, &signed).await;
                assert!(joined.is_err(), "{user}: {case}, version {version}");
                assert_eq!(us.membership(room, user).await, None, "{user}: {case}");
            }
            let signed = exchange.signed_for(user, token);
            exchange.join(region, user, &signed).await.expect("is let in");
            for other in [us, third] {
                other.has_member(room, user).await;
            }
            // Once more changes nothing.
            exchange.join(region, user, &signed).await.expect("is in");
        }
    }
}

type Change = fn(&mut Value);

/// Of a request that is right otherwise.
const CHANGES: [(&str, Change); 20] = [
    ("another type", |body| body["type"] = json!("m.room.topic")),
    ("no type", |body| body["type"] = Value::Null),
    ("another room", |body| body["room_id"] = json!("!other:us.test:1")),
    ("no room", |body| body["room_id"] = Value::Null),
    ("an inviter of a third server", |body| body["sender"] = json!("@carl:third.test:1")),
    ("an inviter of their own", |body| body["sender"] = json!("@dora:fourth.test:1")),
    ("somebody of ours who did not invite", |body| body["sender"] = json!("@bob:us.test:1")),
    ("somebody of ours who does not exist", |body| body["sender"] = json!("@ghost:us.test:1")),
    ("a join", |body| body["content"]["membership"] = json!("join")),
    ("a ban", |body| body["content"]["membership"] = json!("ban")),
    ("no membership", |body| body["content"]["membership"] = Value::Null),
    ("for a user of ours", |body| body["state_key"] = json!("@bob:us.test:1")),
    ("for a user of a third server", |body| body["state_key"] = json!("@carl:third.test:1")),
    ("for another of their users", |body| body["state_key"] = json!("@eve:fourth.test:1")),
    ("for nobody", |body| body["state_key"] = json!("")),
    ("no third party", |body| body["content"]["third_party_invite"] = Value::Null),
    ("nothing signed", |body| body["content"]["third_party_invite"]["signed"] = json!({})),
    ("no signatures", |body| signed(body)["signatures"] = json!({})),
    ("a token of another invite", |body| signed(body)["token"] = json!("U")),
    ("a token that nobody knows", |body| signed(body)["token"] = json!("V")),
];

fn signed(body: &mut Value) -> &mut Value {
    &mut body["content"]["third_party_invite"]["signed"]
}

#[tokio::test]
async fn an_exchange_that_does_not_fit_together_changes_nothing_anywhere() {
    let exchange = Exchange::new("11").await;
    let Exchange { scene, fourth, dora, identity } = &exchange;
    let Scene { us, third, ada, room, .. } = scene;
    let bob = us.user("bob").await;
    us.join(&bob, room, us).await;
    third.has_member(room, &bob).await;
    exchange.invite_by_mail("U", identity.content()).await;
    let before = scene.seen().await;
    for (case, change) in CHANGES {
        let mut body = exchange.honest("T");
        change(&mut body);
        exchange.ask(&body).await.refused(case);
    }
    let of_dora = json!({ "mxid": dora, "token": "T" });
    for (case, signed) in [
        ("signed with another key", signed_by(&key(10, "0"), of_dora)),
        ("signed for another", identity.signed("@eve:fourth.test:1", "T")),
    ] {
        exchange.ask(&body(room, ada, dora, signed)).await.refused(case);
    }
    // Another server, with what was signed for dora.
    ask(third, us, room.as_str(), &exchange.honest("T")).await.refused("a server that is not hers");
    for path in ["!none:us.test:1", "none"] {
        ask(fourth, us, path, &exchange.honest("T")).await.refused(path);
    }
    assert_eq!(fourth.told(room, dora).await, None);
    assert_eq!(identity.peer.count(), 0, "nobody was asked for what is wrong anyway");
    scene.assert_nothing_but_honest_traffic(&before, "exchanges").await;

    exchange.ask(&exchange.honest("T")).await.ok("the honest one");
    exchange.until_invited().await;
}

/// Whom the room does not want any more, and what it does not stand by any more.
#[tokio::test]
async fn what_was_signed_once_does_not_count_against_the_room() {
    let exchange = Exchange::new("11").await;
    let Exchange { scene, fourth, dora, identity } = &exchange;
    let Scene { us, third, ada, room, .. } = scene;
    exchange.invite_by_mail("U", identity.content()).await;
    exchange.invite_by_mail("U", json!({})).await;
    exchange.refused("an invite that was taken back", &exchange.honest("U")).await;

    exchange.ask(&exchange.honest("T")).await.ok("the first time");
    fourth.join(dora, room, us).await;
    third.has_member(room, dora).await;
    us.rooms.kick(change(ada, room, dora)).await.expect("kicks");
    let said = us.say(ada, room, "gone").await;
    third.has_event(room, &said).await;
    let before = scene.seen().await;
    exchange.ask(&exchange.honest("T")).await.refused("who was sent away");
    scene.assert_nothing_but_honest_traffic(&before, "who was sent away").await;
    exchange.invite_by_mail("W", identity.content()).await;
    exchange.ask(&exchange.honest("W")).await.ok("invited anew");
    exchange.until_invited().await;

    us.rooms.ban(change(ada, room, dora)).await.expect("bans");
    third.until_banned(room, dora).await;
    exchange.invite_by_mail("X", identity.content()).await;
    let before = scene.seen().await;
    exchange.ask(&exchange.honest("X")).await.refused("who is banned");
    scene.assert_nothing_but_honest_traffic(&before, "who is banned").await;
}

/// No other server has to have signed such an invite, so nobody else would notice.
#[tokio::test]
async fn nobody_is_made_to_invite_who_is_not_ours_or_not_there() {
    for version in ["6", "11", "12"] {
        let exchange = Exchange::new(version).await;
        let Exchange { scene, dora, identity, .. } = &exchange;
        let Scene { us, third, ada, carl, room, .. } = scene;
        let root = us.view(room).await.state;
        let levels = us.rooms.state_get(root, "m.room.power_levels", "").await.expect("reads");
        let levels = levels.expect("the room has levels");
        let mut levels: Value = serde_json::from_str(levels.pdu.content_str()).expect("JSON");
        levels["invite"] = json!(0);
        let event = us.send(ada, room, "m.room.power_levels", Some(""), levels).await;
        third.has_event(room, &event).await;
        let content = identity.content();
        let event = third.send(carl, room, KIND, Some("C"), content.clone()).await;
        us.has_event(room, &event).await;
        let bob = us.user("bob").await;
        us.join(&bob, room, us).await;
        us.send(&bob, room, KIND, Some("B"), content).await;
        us.rooms.leave(room, &bob, None).await.expect("leaves");
        let said = us.say(ada, room, "bob has gone").await;
        third.has_event(room, &said).await;
        for (inviter, token) in [(carl, "C"), (&bob, "B")] {
            let signed = identity.signed(dora.as_str(), token);
            let body = body(room, inviter, dora, signed);
            exchange.refused(&format!("{inviter}, version {version}"), &body).await;
        }
        assert_eq!(identity.peer.count(), 0);
    }
}

#[tokio::test]
async fn a_denied_server_exchanges_nothing() {
    let exchange = Exchange::new("11").await;
    let Scene { us, third, ada, room, .. } = &exchange.scene;
    let list = json!({ "allow": ["*"], "deny": ["fourth.test"] });
    let event = us.send(ada, room, "m.room.server_acl", Some(""), list).await;
    third.has_event(room, &event).await;
    exchange.refused("denied", &exchange.honest("T")).await;
}

/// "MUST validate that the public key used for signing is still valid", and no way to make us ask
/// where nobody may.
#[tokio::test]
async fn a_key_counts_as_long_as_its_identity_server_says() {
    let exchange = Exchange::new("11").await;
    let Exchange { scene, identity, .. } = &exchange;
    identity.says_valid.store(false, Ordering::Relaxed);
    exchange.refused("revoked", &exchange.honest("T")).await;
    assert_eq!(identity.peer.count(), 1);
    identity.says_valid.store(true, Ordering::Relaxed);

    let canary = Canary::new();
    scene.net.names.lead("inside.test", 443, canary.address());
    let urls = [
        format!("https://{}/isvalid", canary.address()),
        "https://inside.test/isvalid".to_owned(),
        "http://id.test/isvalid".to_owned(),
        "https://id.test/other".to_owned(),
        "https://nobody.test/isvalid".to_owned(),
        "isvalid".to_owned(),
        String::new(),
    ];
    let key = identity.key.public_key().to_base64();
    for (number, url) in urls.iter().enumerate() {
        let token = format!("url{number}");
        let content = json!({ "display_name": "d", "public_key": key, "key_validity_url": url });
        exchange.invite_by_mail(&token, content).await;
        exchange.refused(url, &exchange.honest(&token)).await;
    }
    assert!(canary.is_alone());

    // "If this URL is absent, the key must be considered valid indefinitely."
    let content = json!({ "display_name": "d", "public_keys": [{ "public_key": key }] });
    exchange.invite_by_mail("listed", content).await;
    exchange.ask(&exchange.honest("listed")).await.ok("no URL");
    exchange.until_invited().await;
}

impl Exchange {
    /// An identity server tells a region of a pending invite; whether it was taken up.
    async fn on_bind(&self, region: &Region, user: &UserId, token: &str, signed: Value) -> bool {
        let Scene { ada, room, .. } = &self.scene;
        let invite = json!({ "medium": "email", "address": "d@mail.test", "mxid": user,
            "room_id": room, "sender": ada, "signed": signed, "token": token });
        let body = json!({ "medium": "email", "address": "d@mail.test", "mxid": user,
            "invites": [invite] });
        let uri = path("v1/3pid/onbind", &[]);
        let mut taken = Vec::new();
        for method in ["PUT", "POST"] {
            let body = body.to_string();
            let answer = region.ask(request(method, &uri, &[], body.into())).await;
            assert!(answer.status == 200 || answer.errcode() == "M_FORBIDDEN", "{answer:?}");
            taken.push(answer.status == 200);
        }
        assert_eq!(taken[0], taken[1], "{user}");
        taken[0]
    }
}

/// On a server that is not in the room, on the inviter's, and on one that is in the room too.
#[tokio::test]
async fn whoever_has_an_address_now_is_invited_where_it_was() {
    for version in ["1", "11", "12"] {
        let exchange = Exchange::new(version).await;
        let Exchange { scene, fourth, dora, identity } = &exchange;
        let Scene { us, third, room, .. } = scene;
        let (bob, erin) = (us.user("bob").await, third.user("erin").await);
        for (region, user, token) in [(fourth, dora, "T"), (us, &bob, "U"), (third, &erin, "W")] {
            if token != "T" {
                exchange.invite_by_mail(token, identity.content()).await;
            }
            let forged = signed_by(&key(8, "0"), json!({ "mxid": user, "token": token }));
            assert!(!exchange.on_bind(region, user, token, forged).await);
            assert_eq!(us.membership(room, user).await, None, "{user}: forged");
            let of_nobody = UserId::parse(format!("@nobody:{}", region.name)).expect("an id");
            let signed = identity.signed(of_nobody.as_str(), token);
            assert!(!exchange.on_bind(region, &of_nobody, token, signed).await);
            assert_eq!(us.membership(room, &of_nobody).await, None, "who does not exist");
            let signed = identity.signed(user.as_str(), token);
            assert!(exchange.on_bind(region, user, token, signed).await);
            let told = region.told(room, user).await;
            assert_eq!(told, Some(MembershipState::Invite), "{user}, version {version}");
            if region.name == third.name {
                let root = third.view(room).await.state;
                let event = third.rooms.state_get(root, "m.room.member", user.as_str()).await;
                let event = event.expect("reads").expect("erin is in the state");
                us.has_event(room, event.event_id()).await;
            }
            assert_eq!(us.membership(room, user).await, told, "{user}, version {version}");
        }
    }
}

/// The rules of authorisation let the invite of who has left stand; who was sent away is another
/// matter.
#[tokio::test]
async fn an_invite_outlives_the_stay_of_whoever_made_it() {
    let exchange = Exchange::new("11").await;
    let Exchange { scene, identity, .. } = &exchange;
    let Scene { us, ada, room, .. } = scene;
    let (bob, eve) = (us.user("bob").await, us.user("eve").await);
    let (ben, eva) = (us.user("ben").await, us.user("eva").await);
    let levels = json!({ "users": { ada: 100, &bob: 50, &eve: 50 } });
    us.send(ada, room, "m.room.power_levels", Some(""), levels).await;
    for (inviter, token) in [(&bob, "B"), (&eve, "E")] {
        us.join(inviter, room, us).await;
        us.send(inviter, room, KIND, Some(token), identity.content()).await;
    }
    us.rooms.leave(room, &bob, None).await.expect("leaves");
    let kick = rooms::MembershipChange { room_id: room, sender: ada, target: &eve, reason: None };
    us.rooms.kick(kick).await.expect("sends eve away");
    for (inviter, target, token, stands) in [(&bob, &ben, "B", true), (&eve, &eva, "E", false)] {
        let signed = identity.signed(target.as_str(), token);
        let invite = json!({ "room_id": room, "sender": inviter, "signed": signed });
        let body = json!({ "mxid": target, "invites": [{ "room_id": 1 }, invite] });
        let uri = path("v1/3pid/onbind", &[]);
        let answer = us.ask(request("PUT", &uri, &[], body.to_string().into())).await;
        answer.refused("one of them says nothing");
        let expected = stands.then_some(MembershipState::Invite);
        assert_eq!(us.membership(room, target).await, expected, "{inviter}");
    }
}
