//! Tokens, filters, paths and queries that no client should use.

use http::Method;
use serde_json::json;

use crate::{server::Server, user::segment};

#[tokio::test]
async fn positions_and_filters_are_checked() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let now = ada.token_now().await;
    let future =
        now.replacen(&format!("_{}_", now.split('_').nth(2).expect("a position")), "_99999999_", 1);
    let tokens = ["junk", "s72594_4483_1934", "m1_", "m1_1_2_3_4.5", "t1_1", "-1", "%00", &future];
    for token in tokens {
        let answer = ada.get(&format!("/v3/sync?since={token}")).await;
        answer.refused(&format!("since {token}"), 400, "M_INVALID_PARAM");
    }
    let queries = [
        ("an unknown filter", "filter=77".to_owned()),
        (
            "a filter of wrong types",
            format!("filter={}", segment(r#"{"room":{"timeline":{"limit":"x"}}}"#)),
        ),
        ("a filter that is a list", format!("filter={}", segment("[]"))),
        ("a broken filter", format!("filter={}", segment("{\"room\":"))),
        ("presence", "set_presence=busyish".to_owned()),
        ("presence without a value", "set_presence=".to_owned()),
        ("a timeout in words", "timeout=soon".to_owned()),
        ("a negative timeout", "timeout=-1".to_owned()),
        ("full_state", "full_state=7".to_owned()),
    ];
    for (row, query) in queries {
        let answer = ada.get(&format!("/v3/sync?{query}")).await;
        answer.refused(row, 400, "M_INVALID_PARAM");
    }
}

#[tokio::test]
async fn filters_of_the_wrong_form_are_not_kept() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let path = format!("/v3/user/{}/filter", segment(&ada.id));
    let rows = [
        json!([]),
        json!(7),
        json!(null),
        json!({ "room": 7 }),
        json!({ "room": { "rooms": "x" } }),
        json!({ "room": { "timeline": { "limit": "ten" } } }),
        json!({ "presence": { "types": [7] } }),
    ];
    for filter in rows {
        ada.post(&path, filter.clone()).await.refused(&filter.to_string(), 400, "M_BAD_JSON");
    }
    let first = ada.post(&path, json!({})).await.ok();
    let kept = format!("{path}/{}", first["filter_id"].as_str().expect("an id"));
    assert_eq!(ada.get(&kept).await.ok(), json!({}));
    ada.get(&format!("{path}/none")).await.refused("an unknown filter", 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_unrecognized() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    for path in
        ["/v3/nothing", "/v3/sync/x", "/v99/sync", "//v3/sync", "/v3/login/../sync", "/v3/sync/"]
    {
        ada.get(path).await.refused(path, 404, "M_UNRECOGNIZED");
        server.get(path).await.refused(path, 404, "M_UNRECOGNIZED");
    }
    for (method, path) in [
        (Method::DELETE, "/v3/sync"),
        (Method::PATCH, "/v3/createRoom"),
        (Method::GET, "/v3/createRoom"),
        (Method::POST, "/versions"),
        (Method::PUT, "/v3/login"),
    ] {
        let answer = ada.call(method.clone(), path, "{}".to_owned()).await;
        answer.refused(&format!("{method} {path}"), 405, "M_UNRECOGNIZED");
    }
}

#[tokio::test]
async fn tokens_are_asked_for_and_checked() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let paths =
        ["/v3/sync", "/v3/account/whoami", "/v3/joined_rooms", "/v3/devices", "/v3/pushrules/"];
    let tampered = format!("{}x", ada.token);
    for path in paths {
        server.get(path).await.refused(path, 401, "M_MISSING_TOKEN");
        let full = format!("/_matrix/client{path}");
        for token in ["junk", "mrd_", "mrd_a.b.c", " ", &tampered] {
            let answer = server.send(Method::GET, &full, Some(token), "").await;
            let errcode = answer.body["errcode"].clone();
            assert_eq!(answer.status, 401, "{path} {token:?}: {}", answer.body);
            assert!(errcode == "M_UNKNOWN_TOKEN" || errcode == "M_MISSING_TOKEN", "{errcode}");
        }
    }
    let query = format!("/v3/account/whoami?access_token={}", ada.token);
    assert_eq!(server.get(&query).await.ok()["user_id"], ada.id);
    let strict = Server::unlimited_with("[http]\nquery_tokens = false\n").await;
    let bob = strict.user("bob").await;
    let query = format!("/v3/account/whoami?access_token={}", bob.token);
    strict.get(&query).await.refused("a token in the query", 401, "M_MISSING_TOKEN");
}
