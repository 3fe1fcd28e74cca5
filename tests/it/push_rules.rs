//! Push rules over HTTP: reading them by kind, and paths that name none.

use http::Method;
use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn the_rules_of_a_kind_are_read_by_its_name() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let rule = json!({ "actions": ["notify"] });
    ada.put("/v3/pushrules/global/room/!spam:x.test", rule).await.ok();
    let rules = ada.get("/v3/pushrules/global/room/").await.ok();
    assert_eq!(rules[0]["rule_id"], "!spam:x.test");
    let all = ada.get("/v3/pushrules/global/").await.ok();
    assert_eq!(all["room"], rules);
    assert_eq!(ada.get("/v3/pushrules/").await.ok()["global"], all);
}

/// As Synapse has it, from which clients come.
#[tokio::test]
async fn a_room_rule_whose_id_is_no_room_is_kept_as_it_is_called() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let base = "/v3/pushrules/global/room";
    let rule = json!({ "actions": ["notify"] });
    let put = async |path: &str| ada.put(&format!("{base}/{path}"), rule.clone()).await.ok();
    put("%23b:x.test").await;
    put("!c:x.test").await;
    put("%23a:x.test").await;
    put("%23d:x.test?after=%23b:x.test").await;
    let ids = |rules: &Value| -> Vec<String> {
        let rules = rules["room"].as_array().expect("a list");
        rules.iter().map(|rule| rule["rule_id"].as_str().expect("an id").to_owned()).collect()
    };
    let expected = ["#a:x.test", "!c:x.test", "#b:x.test", "#d:x.test"];
    assert_eq!(ids(&ada.get("/v3/pushrules/global/").await.ok()), expected);
    assert_eq!(ids(&ada.get("/v3/pushrules/").await.ok()["global"]), expected);
    let synced = ada.get("/v3/sync").await.ok();
    let account_data = synced["account_data"]["events"].as_array().expect("a list");
    let synced = account_data.iter().find(|event| event["type"] == "m.push_rules");
    assert_eq!(ids(&synced.expect("the push rules")["content"]["global"]), expected);
    let one = format!("{base}/%23a:x.test");
    assert_eq!(ada.get(&one).await.ok()["rule_id"], "#a:x.test");
    ada.put(&format!("{one}/actions"), json!({ "actions": [] })).await.ok();
    ada.put(&format!("{one}/enabled"), json!({ "enabled": false })).await.ok();
    let changed = ada.get(&one).await.ok();
    assert_eq!((&changed["actions"], &changed["enabled"]), (&json!([]), &json!(false)));
    ada.call(Method::DELETE, &one, String::new()).await.ok();
    assert_eq!(ids(&ada.get("/v3/pushrules/global/").await.ok()), expected[1..]);
    let own = format!("{base}/.m.rule.mine");
    ada.put(&own, rule.clone()).await.refused("a name of the server's", 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn actions_that_nobody_knows_are_refused() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let path = "/v3/pushrules/global/room/!spam:x.test";
    let attribute = format!("{path}/actions");
    let sound = json!({ "set_tweak": "sound", "value": "default" });
    let known = json!({ "actions": ["notify", "dont_notify", sound] });
    ada.put(path, known.clone()).await.ok();
    ada.put(&attribute, known).await.ok();
    let rule = ada.get(path).await.ok();
    let unknown = json!({ "actions": ["notify", "ring"] });
    for path in [path, &attribute] {
        ada.put(path, unknown.clone()).await.refused(path, 400, "M_INVALID_PARAM");
    }
    assert_eq!(ada.get(path).await.ok(), rule);
}

#[tokio::test]
async fn a_path_that_names_no_rule_is_a_wrong_request() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let rules = ada.get("/v3/pushrules/global/").await.ok();
    let attribute = "/v3/pushrules/global/override/.m.rule.master/not_an_attr";
    for (method, path) in [
        (Method::PUT, "/v3/pushrules/"),
        (Method::PUT, "/v3/pushrules/not_a_scope/room/x"),
        (Method::PUT, "/v3/pushrules/global"),
        (Method::PUT, "/v3/pushrules/global/room"),
        (Method::PUT, "/v3/pushrules/global/room/"),
        (Method::PUT, attribute),
        (Method::GET, "/v3/pushrules/global"),
        (Method::GET, "/v3/pushrules/global/room"),
        (Method::GET, "/v3/pushrules/not_a_scope/"),
        (Method::GET, "/v3/pushrules/global/not_a_kind/"),
        (Method::GET, attribute),
    ] {
        let body = json!({ "actions": ["notify"] }).to_string();
        ada.call(method, path, body).await.refused(path, 400, "M_UNRECOGNIZED");
    }
    assert_eq!(ada.get("/v3/pushrules/global/").await.ok(), rules);
    ada.get("/v3/pushrules/global/override/unknown").await.refused("rule", 404, "M_NOT_FOUND");
    ada.get("/v3/pushrules").await.refused("no slash", 404, "M_UNRECOGNIZED");
}
