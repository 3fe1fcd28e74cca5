//! Pushers over HTTP: set, listed, switched off, removed, and gone with the session that set them.

use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

const PASSWORD: &str = "correct horse";

pub(crate) fn pusher(key: &str) -> Value {
    json!({
        "kind": "http",
        "app_id": "org.example.app",
        "pushkey": key,
        "app_display_name": "App",
        "device_display_name": "Phone",
        "profile_tag": "tag",
        "lang": "en",
        "data": {
            "url": "https://push.example/_matrix/push/v1/notify",
            "format": "event_id_only",
            "own": [1],
        },
    })
}

async fn set(user: &User<'_>, pusher: Value) {
    user.post("/v3/pushers/set", pusher).await.ok();
}

async fn keys(user: &User<'_>) -> Vec<String> {
    let answer = user.get("/v3/pushers").await.ok();
    let pushers = answer["pushers"].as_array().expect("a list").iter();
    pushers.map(|pusher| pusher["pushkey"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test]
async fn a_pusher_is_shown_as_it_was_set_until_it_is_deleted() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    assert_eq!(keys(&ada).await, [""; 0]);
    set(&ada, pusher("one")).await;
    set(&ada, pusher("two")).await;
    let answer = ada.get("/v3/pushers").await.ok();
    let mut shown = answer["pushers"][0].clone();
    for field in ["enabled", "org.matrix.msc3881.enabled"] {
        assert_eq!(shown.as_object_mut().expect("an object").remove(field), Some(json!(true)));
    }
    for field in ["device_id", "org.matrix.msc3881.device_id"] {
        let device = shown.as_object_mut().expect("an object").remove(field);
        assert_eq!(device, Some(json!(ada.device)));
    }
    assert_eq!(shown, pusher("one"));

    let mut changed = pusher("one");
    changed["lang"] = json!("de");
    set(&ada, changed).await;
    assert_eq!(ada.get("/v3/pushers").await.ok()["pushers"][0]["lang"], "de");
    assert_eq!(keys(&ada).await, ["one", "two"]);

    let gone = json!({ "kind": null, "app_id": "org.example.app", "pushkey": "one" });
    set(&ada, gone.clone()).await;
    set(&ada, gone).await;
    assert_eq!(keys(&ada).await, ["two"]);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_said() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let without = |field: &str| {
        let mut pusher = pusher("key");
        pusher.as_object_mut().expect("an object").remove(field);
        pusher
    };
    for field in
        ["kind", "app_id", "pushkey", "app_display_name", "device_display_name", "lang", "data"]
    {
        let answer = ada.post("/v3/pushers/set", without(field)).await;
        let body = answer.refused(field, 400, "M_MISSING_PARAM");
        assert!(body["error"].as_str().is_some_and(|text| text.contains(field)), "{body}");
    }
    let with = |pointer: &str, value: Value| {
        let mut pusher = pusher("key");
        *pusher.pointer_mut(pointer).expect("a field") = value;
        pusher
    };
    for (pointer, value) in [
        ("/data/url", json!("http://push.example/_matrix/push/v1/notify")),
        ("/data/url", json!("https://push.example/elsewhere")),
        ("/data/url", json!(7)),
        ("/data", json!({})),
        ("/data/own", json!("x".repeat(20_000))),
        ("/kind", json!("carrier pigeon")),
        ("/app_id", json!("a".repeat(65))),
        ("/pushkey", json!("k".repeat(513))),
        ("/pushkey", json!("")),
        ("/lang", json!("l".repeat(1025))),
    ] {
        let answer = ada.post("/v3/pushers/set", with(pointer, value.clone())).await;
        answer.refused(&format!("{pointer} {value}"), 400, "M_INVALID_PARAM");
    }
    for (pointer, value) in [("/data", json!("text")), ("/kind", json!(1)), ("/lang", json!([]))] {
        let answer = ada.post("/v3/pushers/set", with(pointer, value)).await;
        answer.refused(pointer, 400, "M_BAD_JSON");
    }
    assert_eq!(keys(&ada).await, [""; 0]);
    server.get("/v3/pushers").await.refused("nobody", 401, "M_MISSING_TOKEN");
}

#[tokio::test]
async fn a_key_belongs_to_one_user_unless_it_is_appended() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    set(&ada, pusher("shared")).await;
    let mut appended = pusher("shared");
    appended["append"] = json!(true);
    set(&bob, appended).await;
    assert_eq!((keys(&ada).await.len(), keys(&bob).await.len()), (1, 1));
    set(&bob, pusher("shared")).await;
    assert_eq!((keys(&ada).await.len(), keys(&bob).await.len()), (0, 1));
    // Deleting one's own leaves that of another alone.
    set(&ada, json!({ "kind": null, "app_id": "org.example.app", "pushkey": "shared" })).await;
    assert_eq!(keys(&bob).await.len(), 1);
}

#[tokio::test]
async fn a_pusher_ends_with_the_session_that_set_it() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let phone = server.log_in("ada", PASSWORD, "PHONE").await;
    let tablet = server.log_in("ada", PASSWORD, "TABLET").await;
    set(&ada, pusher("ada")).await;
    set(&phone, pusher("phone")).await;
    set(&tablet, pusher("tablet")).await;
    assert_eq!(keys(&ada).await, ["ada", "phone", "tablet"]);
    phone.post("/v3/logout", json!({})).await.ok();
    assert_eq!(keys(&ada).await, ["ada", "tablet"]);
    // The same key on a new session is a new pusher.
    let phone = server.log_in("ada", PASSWORD, "PHONE").await;
    assert_eq!(keys(&ada).await, ["ada", "tablet"]);
    set(&phone, pusher("phone")).await;

    let auth = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "ada" },
        "password": PASSWORD,
    });
    let mut change = json!({ "new_password": "battery staple", "auth": auth });
    change["logout_devices"] = json!(false);
    ada.post("/v3/account/password", change.clone()).await.ok();
    assert_eq!(keys(&ada).await, ["ada", "phone", "tablet"]);
    change["auth"]["password"] = json!("battery staple");
    change["logout_devices"] = json!(true);
    ada.post("/v3/account/password", change).await.ok();
    assert_eq!(keys(&ada).await, ["ada"]);
}

#[tokio::test]
async fn another_device_switches_a_pusher_off_and_it_stays_where_it_was() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let phone = server.log_in("ada", PASSWORD, "PHONE").await;
    let versions = server.get("/versions").await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.msc3881"], true);
    set(&phone, pusher("phone")).await;
    for (field, enabled) in [("org.matrix.msc3881.enabled", false), ("enabled", true)] {
        let mut toggled = pusher("phone");
        toggled[field] = json!(enabled);
        set(&ada, toggled).await;
        let shown = phone.get("/v3/pushers").await.ok()["pushers"][0].clone();
        let found = (&shown["enabled"], &shown["org.matrix.msc3881.enabled"], &shown["device_id"]);
        assert_eq!(found, (&json!(enabled), &json!(enabled), &json!("PHONE")));
    }
    phone.post("/v3/logout", json!({})).await.ok();
    assert_eq!(keys(&ada).await, [""; 0]);
}

#[tokio::test]
async fn local_notification_settings_go_with_the_device() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", PASSWORD).await;
    let types = |device: &str| {
        ["m.local_notification_settings", "org.matrix.msc3890.local_notification_settings"]
            .map(|prefix| format!("{prefix}.{device}"))
    };
    let is_set = async |event_type: &str| {
        let path = format!("/v3/user/{}/account_data/{event_type}", segment(&ada.id));
        ada.get(&path).await.status == 200
    };
    for device in ["PHONE", "TABLET", "WEB"] {
        server.log_in("ada", PASSWORD, device).await;
        for event_type in types(device) {
            ada.set_account_data(&event_type, json!({ "is_silenced": true })).await.ok();
        }
    }
    let since = ada.token_now().await;
    let phone = server.log_in("ada", PASSWORD, "PHONE").await;
    phone.post("/v3/logout", json!({})).await.ok();
    for event_type in types("PHONE") {
        assert!(!is_set(&event_type).await, "{event_type}");
    }
    let told = ada.sync(&since, 0).await["account_data"]["events"].to_string();
    assert!(told.contains("msc3890.local_notification_settings.PHONE"), "{told}");
    for event_type in types("TABLET") {
        assert!(is_set(&event_type).await, "{event_type}");
    }
    let web = server.log_in("ada", PASSWORD, "WEB").await;
    let auth = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "ada" },
        "password": PASSWORD,
    });
    let change = json!({ "new_password": "battery staple", "auth": auth });
    web.post("/v3/account/password", change).await.ok();
    let path =
        |event_type: &str| format!("/v3/user/{}/account_data/{event_type}", segment(&web.id));
    for (device, remains) in [("TABLET", false), ("WEB", true)] {
        for event_type in types(device) {
            let found = web.get(&path(&event_type)).await.status == 200;
            assert_eq!(found, remains, "{event_type}");
        }
    }
}
