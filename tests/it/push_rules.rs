//! Push rules over HTTP: reading them by kind, and paths that name none.

use http::Method;
use serde_json::json;

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
