//! End-to-end keys: what is stored, what is refused, and who wins a claim.

use std::{collections::BTreeMap, time::Duration};

use devices::keys::{
    ClaimedKeys, KeysAnswer, KeysClaim, KeysError, KeysQuery, KeysUpload, SignatureFailure,
    SignaturesUpload, SignedJson, SigningKeysUpload,
};
use devices::{DeviceError, stream};
use events::SigningKey;
use ruma::{CanonicalJsonValue, DeviceId, OwnedUserId, UserId, device_id, user_id};
use serde_json::{Value, json};

use crate::Server;

const WAIT: Duration = Duration::from_secs(5);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32], "x").expect("a key")
}

fn public(key: &SigningKey) -> String {
    key.public_key().to_base64()
}

fn object(value: Value) -> SignedJson {
    match CanonicalJsonValue::try_from(value).expect("canonical") {
        CanonicalJsonValue::Object(object) => object,
        _ => panic!("not an object"),
    }
}

fn value(json: Value) -> CanonicalJsonValue {
    CanonicalJsonValue::try_from(json).expect("canonical")
}

/// Adds a signature as a client makes it.
fn signed(mut object: SignedJson, user: &UserId, key_id: &str, key: &SigningKey) -> SignedJson {
    let mut part = object.clone();
    part.remove("signatures");
    part.remove("unsigned");
    let signature = key.sign(&serde_json::to_vec(&part).expect("serialises"));
    let mut signatures = match object.remove("signatures") {
        Some(CanonicalJsonValue::Object(signatures)) => signatures,
        _ => SignedJson::new(),
    };
    let entry = value(json!({ key_id: signature }));
    match (signatures.get_mut(user.as_str()), entry) {
        (Some(CanonicalJsonValue::Object(there)), CanonicalJsonValue::Object(new)) => {
            there.extend(new);
        }
        (_, entry) => drop(signatures.insert(user.as_str().to_owned(), entry)),
    }
    object.insert("signatures".to_owned(), CanonicalJsonValue::Object(signatures));
    object
}

fn unsigned_device_keys(user: &UserId, device: &str, seed: u8) -> SignedJson {
    object(json!({
        "user_id": user,
        "device_id": device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": { format!("ed25519:{device}"): public(&key(seed)) },
        "signatures": {},
    }))
}

pub(crate) fn device_keys(user: &UserId, device: &str, seed: u8) -> SignedJson {
    let keys = unsigned_device_keys(user, device, seed);
    signed(keys, user, &format!("ed25519:{device}"), &key(seed))
}

fn cross_key(user: &UserId, usage: &str, seed: u8) -> SignedJson {
    let public = public(&key(seed));
    object(json!({
        "user_id": user, "usage": [usage], "keys": { format!("ed25519:{public}"): public },
    }))
}

fn by_master(object: SignedJson, user: &UserId, master: u8) -> SignedJson {
    signed(object, user, &format!("ed25519:{}", public(&key(master))), &key(master))
}

/// Master, self-signing and user-signing keys from three seeds.
fn cross_keys(user: &UserId, [master, own, others]: [u8; 3]) -> SigningKeysUpload {
    SigningKeysUpload {
        master: Some(cross_key(user, "master", master)),
        self_signing: Some(by_master(cross_key(user, "self_signing", own), user, master)),
        user_signing: Some(by_master(cross_key(user, "user_signing", others), user, master)),
    }
}

fn one_time(names: &[&str]) -> BTreeMap<String, CanonicalJsonValue> {
    names.iter().map(|name| ((*name).to_owned(), value(json!({ "key": name })))).collect()
}

fn claim(user: &UserId, device: &str, algorithm: &str) -> KeysClaim {
    let of_user = BTreeMap::from([(device.into(), algorithm.to_owned())]);
    KeysClaim::from([(user.to_owned(), of_user)])
}

fn ids(claimed: &ClaimedKeys) -> Vec<&str> {
    let devices = claimed.values().flat_map(BTreeMap::values);
    devices.flat_map(BTreeMap::keys).map(String::as_str).collect()
}

impl Server {
    async fn upload(
        &self,
        user: &UserId,
        device: &str,
        upload: KeysUpload,
    ) -> Result<(), KeysError> {
        self.devices.upload_keys(user, device.into(), upload).await.map(drop)
    }

    async fn upload_one_time(&self, user: &UserId, device: &str, names: &[&str]) {
        let upload = KeysUpload { one_time_keys: one_time(names), ..KeysUpload::default() };
        self.upload(user, device, upload).await.expect("uploaded");
    }

    async fn with_keys(&self, user: &UserId, device: &str, seed: u8) {
        self.device(user, device).await;
        let device_keys = Some(device_keys(user, device, seed));
        let upload = KeysUpload { device_keys, ..KeysUpload::default() };
        self.upload(user, device, upload).await.expect("uploaded");
    }

    pub(crate) async fn keys_of(&self, asker: &UserId, user: &UserId) -> KeysAnswer {
        let query = KeysQuery::from([(user.to_owned(), Vec::new())]);
        self.devices.query_keys(asker, query, WAIT).await.expect("answered")
    }

    pub(crate) async fn changed_since(&self, after: u64) -> Vec<OwnedUserId> {
        let changed = self.devices.changed_device_lists(after, u64::MAX, 100).await;
        changed.expect("read").into_iter().map(|(_, user)| user).collect()
    }
}

#[tokio::test]
async fn device_keys_are_told_as_they_were_signed() {
    let mut server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    server.devices.ensure(ada, Some(device_id!("PHONE")), Some("Phone")).await.expect("created");
    let keys = device_keys(ada, "PHONE", 1);
    let before = server.store.log().position();
    let upload = || KeysUpload { device_keys: Some(keys.clone()), ..KeysUpload::default() };
    server.upload(ada, "PHONE", upload()).await.expect("uploaded");
    server.reopen();
    let mut told = server.keys_of(bob, ada).await.device_keys[ada][device_id!("PHONE")].clone();
    let unsigned = told.remove("unsigned").expect("unsigned");
    assert_eq!(unsigned, value(json!({ "device_display_name": "Phone" })));
    assert_eq!(told, keys);
    assert_eq!(server.changed_since(before).await, [ada]);

    // The same again changes nothing for anybody.
    let before = server.store.log().position();
    server.upload(ada, "PHONE", upload()).await.expect("uploaded");
    assert_eq!(server.store.log().position(), before);

    assert!(server.devices.delete(ada, device_id!("PHONE")).await.expect("deleted"));
    assert!(server.keys_of(bob, ada).await.device_keys[ada].is_empty());
    assert_eq!(server.changed_since(before).await, [ada]);
    server.device(ada, "PHONE").await;
    assert!(server.keys_of(bob, ada).await.device_keys[ada].is_empty(), "a new one of the name");
}

#[tokio::test]
async fn keys_that_are_not_the_devices_are_refused() {
    let server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    server.device(ada, "PHONE").await;
    let mut huge = device_keys(ada, "PHONE", 1);
    huge.insert("x".to_owned(), value(json!("x".repeat(70_000))));
    let mut without = device_keys(ada, "PHONE", 1);
    without.remove("algorithms");
    let many: SignedJson = (0..300).map(|n| (format!("ed25519:{n}"), value(json!("x")))).collect();
    let mut crowded = device_keys(ada, "PHONE", 1);
    let crowd = SignedJson::from([(ada.as_str().to_owned(), CanonicalJsonValue::Object(many))]);
    crowded.insert("signatures".to_owned(), CanonicalJsonValue::Object(crowd));
    let cases = [
        ("another user's", device_keys(bob, "PHONE", 1), "Malformed"),
        ("another device's", device_keys(ada, "LAPTOP", 1), "Malformed"),
        ("without algorithms", without, "Malformed"),
        ("too large", huge, "TooLarge"),
        ("too many signatures", crowded, "TooLarge"),
    ];
    for (what, keys, reason) in cases {
        let upload = KeysUpload { device_keys: Some(keys), ..KeysUpload::default() };
        let refused = server.upload(ada, "PHONE", upload).await.expect_err(what);
        assert!(format!("{refused:?}").starts_with(reason), "{what}: {refused:?}");
    }
    let upload =
        KeysUpload { device_keys: Some(device_keys(ada, "X", 1)), ..KeysUpload::default() };
    let refused = server.upload(ada, "X", upload).await;
    assert!(matches!(refused, Err(KeysError::NoSuchDevice)));
    assert!(server.keys_of(ada, ada).await.device_keys[ada].is_empty());
}

/// Whoever encrypts for the device checks that, as deployed servers leave it to them.
#[tokio::test]
async fn device_keys_with_a_text_for_a_signature_are_given_as_they_came() {
    let server = Server::new();
    let ada = user_id!("@ada:example.org");
    server.device(ada, "PHONE").await;
    let forged = signed(unsigned_device_keys(ada, "PHONE", 1), ada, "ed25519:PHONE", &key(2));
    let upload = KeysUpload { device_keys: Some(forged.clone()), ..KeysUpload::default() };
    server.upload(ada, "PHONE", upload).await.expect("uploaded");
    let found = server.keys_of(ada, ada).await.device_keys[ada].values().next().cloned();
    let signatures = found.expect("it is given").get("signatures").cloned();
    assert_eq!(signatures, forged.get("signatures").cloned());
}

#[tokio::test]
async fn one_time_keys_go_in_the_order_they_came_and_then_the_fallback() {
    let mut server = Server::new();
    let ada = user_id!("@ada:example.org");
    server.device(ada, "PHONE").await;
    server.upload_one_time(ada, "PHONE", &["a:z"]).await;
    server.upload_one_time(ada, "PHONE", &["a:b", "other:x"]).await;
    let fallback_keys = one_time(&["a:fall"]);
    let upload = KeysUpload { fallback_keys: fallback_keys.clone(), ..KeysUpload::default() };
    server.upload(ada, "PHONE", upload.clone()).await.expect("uploaded");
    let counts = server.devices.key_counts(ada, device_id!("PHONE")).await.expect("read");
    assert_eq!(counts.one_time, BTreeMap::from([("a".to_owned(), 2), ("other".to_owned(), 1)]));
    assert_eq!(counts.unused_fallback, ["a"]);

    let take = claim(ada, "PHONE", "a");
    let mut taken = Vec::new();
    for _ in 0..4 {
        let claimed = server.devices.claim_local_keys(&take).await.expect("claimed");
        taken.extend(ids(&claimed).into_iter().map(str::to_owned));
        server.reopen();
    }
    assert_eq!(taken, ["a:z", "a:b", "a:fall", "a:fall"]);
    let counts = server.devices.key_counts(ada, device_id!("PHONE")).await.expect("read");
    assert_eq!(counts.one_time, BTreeMap::from([("other".to_owned(), 1)]));
    assert!(counts.unused_fallback.is_empty(), "it was used");
    // The same fallback key again is still a used one; another one is not.
    server.upload(ada, "PHONE", upload).await.expect("uploaded");
    let counts = server.devices.key_counts(ada, device_id!("PHONE")).await.expect("read");
    assert!(counts.unused_fallback.is_empty());
    let upload = KeysUpload { fallback_keys: one_time(&["a:next"]), ..KeysUpload::default() };
    server.upload(ada, "PHONE", upload).await.expect("uploaded");
    let counts = server.devices.key_counts(ada, device_id!("PHONE")).await.expect("read");
    assert_eq!(counts.unused_fallback, ["a"]);
    for (device, algorithm) in [("PHONE", "none"), ("X", "a")] {
        let none = server.devices.claim_local_keys(&claim(ada, device, algorithm)).await;
        assert!(none.expect("answered").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_has_one_winner() {
    let mut server = Server::new();
    let ada = user_id!("@ada:example.org");
    server.device(ada, "PHONE").await;
    let names: Vec<String> = (0..40).map(|n| format!("a:{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    server.upload_one_time(ada, "PHONE", &names).await;
    let mut set = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let devices = server.devices.clone();
        set.spawn(async move {
            devices.claim_local_keys(&claim(ada, "PHONE", "a")).await.expect("answered")
        });
    }
    let all = set.join_all().await;
    let mut won: Vec<_> = all.iter().flat_map(ids).collect();
    won.sort_unstable();
    let mut expected = names.clone();
    expected.sort_unstable();
    assert_eq!(won, expected, "each key once, and none is lost");
    server.reopen();
    let none = server.devices.claim_local_keys(&claim(ada, "PHONE", "a")).await;
    assert!(none.expect("answered").is_empty());
}

#[tokio::test]
async fn a_one_time_key_does_not_change() {
    let server = Server::new();
    let ada = user_id!("@ada:example.org");
    server.device(ada, "PHONE").await;
    server.upload_one_time(ada, "PHONE", &["a:1"]).await;
    server.upload_one_time(ada, "PHONE", &["a:1", "a:2"]).await;
    let other = BTreeMap::from([
        ("a:1".to_owned(), value(json!({ "key": "other" }))),
        ("a:3".to_owned(), value(json!("three"))),
    ]);
    let upload = KeysUpload { one_time_keys: other, ..KeysUpload::default() };
    let refused = server.upload(ada, "PHONE", upload).await;
    assert!(matches!(refused, Err(KeysError::KeyExists(name)) if name == "a:1"));
    let counts = server.devices.key_counts(ada, device_id!("PHONE")).await.expect("read");
    assert_eq!(counts.one_time["a"], 2, "nothing of a refused upload is stored");

    let many: Vec<String> = (0..501).map(|n| format!("b:{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let odd = [one_time(&many), one_time(&["nocolon"]), one_time(&["a:"]), one_time(&[":a"])];
    let large = BTreeMap::from([("a:9".to_owned(), value(json!("x".repeat(9000))))]);
    let number = BTreeMap::from([("a:9".to_owned(), value(json!(9)))]);
    for one_time_keys in odd.into_iter().chain([large, number]) {
        let upload = KeysUpload { one_time_keys, ..KeysUpload::default() };
        assert!(server.upload(ada, "PHONE", upload).await.is_err());
    }
    let counts = server.devices.key_counts(ada, device_id!("PHONE")).await.expect("read");
    assert_eq!(counts.one_time, BTreeMap::from([("a".to_owned(), 2)]));
}

#[tokio::test]
async fn cross_signing_keys_are_verified_and_replaced_only_with_authentication() {
    let mut server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    server.with_keys(ada, "PHONE", 1).await;
    let orphan = SigningKeysUpload { master: None, ..cross_keys(ada, [10, 11, 12]) };
    let refused = server.devices.upload_signing_keys(ada, orphan, true).await;
    assert!(matches!(refused, Err(KeysError::NoMasterKey)));
    let mut forged = cross_keys(ada, [10, 11, 12]);
    forged.self_signing = Some(by_master(cross_key(ada, "self_signing", 11), ada, 99));
    let refused = server.devices.upload_signing_keys(ada, forged, true).await;
    assert!(matches!(refused, Err(KeysError::BadSignature(_))));
    let mut foreign = cross_keys(ada, [10, 11, 12]);
    foreign.master = Some(cross_key(bob, "master", 10));
    let refused = server.devices.upload_signing_keys(ada, foreign, true).await;
    assert!(matches!(refused, Err(KeysError::Invalid(_))));
    assert_eq!(server.keys_of(ada, ada).await.master_keys, BTreeMap::new());

    let first = cross_keys(ada, [10, 11, 12]);
    let before = server.store.log().position();
    server.devices.upload_signing_keys(ada, first.clone(), false).await.expect("the first ones");
    assert_eq!(server.changed_since(before).await, [ada]);
    server.devices.upload_signing_keys(ada, first.clone(), false).await.expect("the same again");
    let other = cross_keys(ada, [20, 21, 22]);
    assert!(server.devices.signing_keys_want_authentication(ada, &other).await.expect("read"));
    let refused = server.devices.upload_signing_keys(ada, other.clone(), false).await;
    assert!(matches!(refused, Err(KeysError::NeedsAuthentication)));
    server.reopen();
    let answer = server.keys_of(bob, ada).await;
    assert_eq!(answer.master_keys[ada], first.master.expect("there"));
    assert_eq!(answer.self_signing_keys[ada], first.self_signing.expect("there"));
    assert!(answer.user_signing_keys.is_empty(), "nobody else's business");
    assert_eq!(server.keys_of(ada, ada).await.user_signing_keys.len(), 1);

    // A new master key takes those with it that it did not sign.
    let only = SigningKeysUpload { master: other.master, ..SigningKeysUpload::default() };
    server.devices.upload_signing_keys(ada, only, true).await.expect("replaced");
    assert!(server.keys_of(ada, ada).await.self_signing_keys.is_empty());
}

/// "The public key of one of the keys is the same as one of the user's device IDs", and the other
/// way round.
#[tokio::test]
async fn no_device_and_signing_key_have_one_name() {
    let server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    for (seed, usage) in [(30, "master"), (31, "self_signing"), (32, "user_signing")] {
        let device = public(&key(seed));
        server.device(ada, &device).await;
        let upload = cross_keys(ada, [30, 31, 32]);
        let refused = server.devices.upload_signing_keys(ada, upload, true).await;
        assert!(matches!(refused, Err(KeysError::IsDevice)), "{usage}: {refused:?}");
        let device = ruma::OwnedDeviceId::from(device);
        server.devices.delete(ada, &device).await.expect("deleted");
    }
    let upload = cross_keys(ada, [30, 31, 32]);
    server.devices.upload_signing_keys(ada, upload, true).await.expect("no such device any more");
    for seed in [30, 31, 32] {
        let device = ruma::OwnedDeviceId::from(public(&key(seed)));
        let refused = server.devices.ensure(ada, Some(&device), None).await;
        assert!(matches!(refused, Err(DeviceError::IsSigningKey)), "{seed}: {refused:?}");
        server.devices.ensure(bob, Some(&device), None).await.expect("another user's key");
    }
}

#[tokio::test]
async fn signatures_are_shown_to_whom_they_are_for() {
    let server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    server.with_keys(ada, "PHONE", 1).await;
    server
        .devices
        .upload_signing_keys(ada, cross_keys(ada, [10, 11, 12]), false)
        .await
        .expect("ok");
    server
        .devices
        .upload_signing_keys(bob, cross_keys(bob, [20, 21, 22]), false)
        .await
        .expect("ok");
    let by = |object: SignedJson, seed: u8| {
        signed(object, ada, &format!("ed25519:{}", public(&key(seed))), &key(seed))
    };
    let bobs = public(&key(20));
    let upload = SignaturesUpload::from([
        (
            ada.to_owned(),
            BTreeMap::from([
                ("PHONE".to_owned(), by(unsigned_device_keys(ada, "PHONE", 1), 11)),
                ("LAPTOP".to_owned(), by(unsigned_device_keys(ada, "LAPTOP", 1), 11)),
            ]),
        ),
        (bob.to_owned(), BTreeMap::from([(bobs.clone(), by(cross_key(bob, "master", 20), 12))])),
    ]);
    let before = server.store.log().position();
    let failures = server.devices.upload_signatures(ada, upload).await.expect("answered");
    let only = BTreeMap::from([("LAPTOP".to_owned(), SignatureFailure::NotFound)]);
    assert_eq!(failures, BTreeMap::from([(ada.to_owned(), only)]));

    let device = server.keys_of(bob, ada).await.device_keys[ada][device_id!("PHONE")].clone();
    let of_ada = &serde_json::to_value(&device).expect("JSON")["signatures"][ada.as_str()];
    assert_eq!(of_ada.as_object().expect("signatures").len(), 2, "its own and the new one");
    let seen = |answer: &KeysAnswer| {
        serde_json::to_value(&answer.master_keys[bob]).expect("JSON")["signatures"].clone()
    };
    assert!(seen(&server.keys_of(ada, bob).await)[ada.as_str()].is_object());
    assert!(seen(&server.keys_of(bob, bob).await)[ada.as_str()].is_null(), "only Ada sees it");
    assert_eq!(server.devices.changed_for(ada, before).await.expect("read"), [bob]);
    assert!(server.devices.changed_for(bob, before).await.expect("read").is_empty());
}

#[tokio::test]
async fn signatures_that_are_wrong_are_refused() {
    let server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    server.with_keys(ada, "PHONE", 1).await;
    server
        .devices
        .upload_signing_keys(ada, cross_keys(ada, [10, 11, 12]), false)
        .await
        .expect("ok");
    server
        .devices
        .upload_signing_keys(bob, cross_keys(bob, [20, 21, 22]), false)
        .await
        .expect("ok");
    let by = |object: SignedJson, seed: u8| {
        signed(object, ada, &format!("ed25519:{}", public(&key(seed))), &key(seed))
    };
    let bobs = public(&key(20));
    let mut changed = unsigned_device_keys(ada, "PHONE", 1);
    changed.insert("algorithms".to_owned(), value(json!([])));
    let forged = signed(
        unsigned_device_keys(ada, "PHONE", 1),
        ada,
        &format!("ed25519:{}", public(&key(11))),
        &key(99),
    );
    let cases = [
        (ada, "PHONE", by(changed, 11), SignatureFailure::Differs),
        (ada, "PHONE", forged, SignatureFailure::BadSignature),
        (
            ada,
            "PHONE",
            by(unsigned_device_keys(ada, "PHONE", 1), 12),
            SignatureFailure::BadSignature,
        ),
        (bob, bobs.as_str(), by(cross_key(bob, "master", 20), 11), SignatureFailure::BadSignature),
        (bob, "PHONE", by(cross_key(bob, "master", 20), 12), SignatureFailure::NotFound),
    ];
    for (n, (target, name, object, expected)) in cases.into_iter().enumerate() {
        let of_target = BTreeMap::from([(name.to_owned(), object)]);
        let upload = SignaturesUpload::from([(target.to_owned(), of_target)]);
        let failures = server.devices.upload_signatures(ada, upload).await.expect("answered");
        assert_eq!(failures[target][name], expected, "case {n}");
    }
}

#[tokio::test]
async fn a_user_is_in_the_order_of_changes_once() {
    let server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    for n in 0..20 {
        server.device(ada, &format!("A{n}")).await;
        server.device(bob, &format!("B{n}")).await;
    }
    server.device(ada, "LAST").await;
    assert_eq!(server.changed_since(0).await, [bob, ada]);
    let list = server.devices.device_list(ada).await.expect("read");
    let facts = server.store.facts(0, u64::MAX, 1000).await.expect("read");
    let last = facts.iter().rfind(|logged| {
        logged.fact.stream == stream::DEVICE_LIST && &*logged.fact.subject == ada.as_str()
    });
    assert_eq!(list.stream_id, last.expect("a fact").position);
    assert_eq!(list.devices.len(), 21);
    let named: &DeviceId = device_id!("LAST");
    assert!(list.devices.iter().any(|device| device.device_id == named));
}
