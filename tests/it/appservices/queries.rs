//! What an application service is asked.

use http::Method;
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use super::{AS_TOKEN, bridge::Bridge, ghost, holder, region_with, registration};
use crate::user::segment;

#[tokio::test]
async fn an_unknown_user_or_alias_of_its_namespace_is_asked_for_and_then_there() {
    let bridge = Bridge::start().await;
    let yaml = registration("bridge", AS_TOKEN, &bridge.url(), "_bridge_");
    let (server, _dir) = region_with(&[&yaml], "").await;
    let ada = server.user("ada").await;
    let room = ada.room_with(&[]).await;
    // While it is asked, the answer waits; what it is asked for is made meanwhile.
    let (asked, mut questions) = unbounded_channel();
    bridge.answer(move |sent| {
        if sent.method == Method::GET {
            let _the_test_ended = asked.send(sent.path.clone());
        }
        match sent.path.contains("nobody") {
            true => (404, json!({ "errcode": "M_NOT_FOUND" })),
            false => (200, json!({})),
        }
    });
    let token = holder(&server, AS_TOKEN);
    let alias = segment("#_bridge_nobody:x.test");
    let none = server.get(&format!("/v3/directory/room/{alias}")).await;
    none.refused("nobody", 404, "M_NOT_FOUND");
    assert_eq!(questions.recv().await, Some(format!("/as/_matrix/app/v1/rooms/{alias}")));
    let outside = segment("#bridge:x.test");
    let none = server.get(&format!("/v3/directory/room/{outside}")).await;
    none.refused("not its own", 404, "M_NOT_FOUND");

    let bea = "@_bridge_bea:x.test";
    ghost(&token, "_bridge_cleo").await.ok();
    let invite = format!("/v3/rooms/{}/invite", segment(&room));
    for user in ["@_bridge_cleo:x.test", bea] {
        ada.post(&invite, json!({ "user_id": user })).await.ok();
    }
    let path = format!("/as/_matrix/app/v1/users/{}", segment(bea));
    assert_eq!(questions.recv().await, Some(path), "who is there is not asked for");
    let named = json!({ "invite": ["@_bridge_dora:x.test"] });
    ada.create_room(named).await;
    let path = format!("/as/_matrix/app/v1/users/{}", segment("@_bridge_dora:x.test"));
    assert_eq!(questions.recv().await, Some(path));
    assert!(questions.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_room_is_joined_by_an_alias_that_is_made_while_it_is_asked_for() {
    let bridge = Bridge::start().await;
    let yaml = registration("bridge", AS_TOKEN, &bridge.url(), "_bridge_");
    let (server, _dir) = region_with(&[&yaml], "").await;
    let (token, ada) = (holder(&server, AS_TOKEN), server.user("ada").await);
    let room = token.post("/v3/createRoom", json!({ "preset": "public_chat" })).await.ok();
    let room = room["room_id"].as_str().expect("a room").to_owned();
    // The bridge is asked, and its answer is late until the alias is made.
    let (asked, mut questions) = unbounded_channel();
    let (make, made) = std::sync::mpsc::channel::<()>();
    bridge.answer(move |sent| {
        if sent.path.contains("/rooms/") {
            let _the_test_ended = asked.send(());
            tokio::task::block_in_place(|| made.recv()).expect("the alias is made");
        }
        (200, json!({}))
    });
    let alias = segment("#_bridge_tea:x.test");
    let join = async {
        let path = format!("/v3/join/{alias}");
        ada.post(&path, json!({})).await.ok()
    };
    let make = async {
        questions.recv().await.expect("it is asked");
        let path = format!("/v3/directory/room/{alias}");
        token.put(&path, json!({ "room_id": room })).await.ok();
        make.send(()).expect("it is awaited");
    };
    let (joined, ()) = tokio::join!(join, make);
    assert_eq!(joined["room_id"], json!(room));
}

#[tokio::test]
async fn a_bridge_is_pinged_when_it_asks_for_it() {
    let (up, down) = (Bridge::start().await, Bridge::start().await);
    let yaml = registration("up", AS_TOKEN, &up.url(), "_up_");
    let gone = registration("down", "down-token", &down.url(), "_down_");
    let silent = registration("silent", "silent-token", "null", "_silent_");
    let (server, _dir) = region_with(&[&yaml, &gone, &silent], "").await;
    down.stop().await;
    let ping = |id: &str| format!("/v1/appservice/{id}/ping");
    let body = json!({ "transaction_id": "meow" });
    let token = holder(&server, AS_TOKEN);
    let answer = token.post(&ping("up"), body.clone()).await.ok();
    assert!(answer["duration_ms"].is_u64(), "{answer}");
    let seen = up.seen();
    assert_eq!(seen[0].path, "/as/_matrix/app/v1/ping");
    assert_eq!(seen[0].body, body.to_string());

    token.post(&ping("down"), json!({})).await.refused("another's", 403, "M_FORBIDDEN");
    let ada = server.user("ada").await;
    ada.post(&ping("up"), json!({})).await.refused("a person", 403, "M_FORBIDDEN");
    let down = holder(&server, "down-token");
    down.post(&ping("down"), json!({})).await.refused("down", 502, "M_CONNECTION_FAILED");
    let silent = holder(&server, "silent-token");
    silent.post(&ping("silent"), json!({})).await.refused("no URL", 400, "M_URL_NOT_SET");
    up.answer(|_| (403, json!({ "errcode": "M_FORBIDDEN" })));
    let answer = token.post(&ping("up"), json!({})).await.refused("403", 502, "M_BAD_STATUS");
    assert_eq!(answer["status"], 403);
    assert_eq!(answer["body"], r#"{"errcode":"M_FORBIDDEN"}"#);
}

#[tokio::test]
async fn other_networks_are_what_bridges_say_of_them() {
    let (one, two) = (Bridge::start().await, Bridge::start().await);
    let yaml = |bridge: &Bridge, id: &str, protocols: &str| {
        let yaml = registration(id, &format!("{id}-token"), &bridge.url(), &format!("_{id}_"));
        format!("{yaml}protocols: {protocols}\n")
    };
    let instance = |network: &str| json!({ "desc": network, "network_id": network });
    let answer = |networks: &'static [&str]| {
        let instances: Vec<_> = networks.iter().map(|network| instance(network)).collect();
        move |sent: &super::bridge::Sent| match sent.path.contains("/protocol/irc") {
            true => (200, json!({ "user_fields": ["nick"], "instances": instances })),
            false if sent.path.contains("/user/irc") => (200, json!([{ "userid": sent.path }])),
            false => (404, json!({ "errcode": "M_NOT_FOUND" })),
        }
    };
    one.answer(answer(&["libera"]));
    two.answer(answer(&["oftc"]));
    let registrations = [yaml(&one, "one", "[irc]"), yaml(&two, "two", "[irc, xmpp]")];
    let (server, _dir) = region_with(&[&registrations[0], &registrations[1]], "").await;
    let ada = server.user("ada").await;
    let protocols = ada.get("/v3/thirdparty/protocols").await.ok();
    let with_id = |id: &str, network: &str| {
        let mut instance = instance(network);
        instance["instance_id"] = json!(id);
        instance
    };
    let instances = [with_id("one|libera", "libera"), with_id("two|oftc", "oftc")];
    let irc = json!({ "user_fields": ["nick"], "instances": instances });
    assert_eq!(protocols, json!({ "irc": irc }), "nobody knows anything of xmpp");
    assert_eq!(ada.get("/v3/thirdparty/protocol/irc").await.ok(), irc);
    ada.get("/v3/thirdparty/protocol/xmpp").await.refused("xmpp", 404, "M_NOT_FOUND");

    let found = ada.get("/v3/thirdparty/user/irc?nick=a%20b&access_token=x").await.ok();
    let asked = "/as/_matrix/app/v1/thirdparty/user/irc?nick=a%20b";
    assert_eq!(found, json!([{ "userid": asked }, { "userid": asked }]));
    let nothing = ada.get("/v3/thirdparty/location/irc?x=1").await;
    nothing.refused("nothing", 404, "M_NOT_FOUND");
}
