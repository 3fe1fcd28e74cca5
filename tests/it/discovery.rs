//! What clients are told of the region before and besides its rooms.

use http::Method;
use serde_json::json;

use crate::server::{START_MS, Server};

const SUPPORT: &str = "/.well-known/matrix/support";

#[tokio::test]
async fn whoever_needs_help_is_told_whom_to_ask() {
    let silent = Server::start().await;
    let answer = silent.send(Method::GET, SUPPORT, None, "").await;
    answer.refused("nobody", 404, "M_NOT_FOUND");
    let page = "page = \"https://x.test/help\"\n";
    let contacts = "admin = \"@ada:x.test\"\nadmin_email = \"ada@x.test\"\n\
                    security_email = \"eve@x.test\"\n";
    let by_role = json!([
        { "role": "m.role.admin", "matrix_id": "@ada:x.test", "email_address": "ada@x.test" },
        { "role": "m.role.security", "email_address": "eve@x.test" },
    ]);
    for (section, expected) in [
        (page.to_owned(), json!({ "support_page": "https://x.test/help" })),
        (contacts.to_owned(), json!({ "contacts": by_role })),
        (
            format!("{page}{contacts}"),
            json!({ "support_page": "https://x.test/help", "contacts": by_role }),
        ),
    ] {
        let server = Server::with(&format!("[support]\n{section}")).await;
        let answer = server.send(Method::GET, SUPPORT, None, "").await;
        assert_eq!(answer.headers["Access-Control-Allow-Origin"], "*");
        assert_eq!(answer.ok(), expected);
    }
}

#[tokio::test]
async fn calls_find_the_turn_servers() {
    let path = "/v3/voip/turnServer";
    let without = Server::start().await;
    let ada = without.user("ada").await;
    assert_eq!(ada.get(path).await.ok(), json!({}));
    let section = "[turn]\nuris = [\"turn:t.test?transport=udp\", \"turns:t.test\"]\n\
                   shared_secret = \"n0t4ctuAllymatr1Xd0TorgSshar3d5ecret4obvIousreAsons\"\n\
                   lifetime_minutes = 90\n";
    let server = Server::with(section).await;
    server.get(path).await.refused("a stranger", 401, "M_MISSING_TOKEN");
    let ada = server.user("ada").await;
    let answer = ada.get(path).await.ok();
    assert_eq!(answer["uris"], json!(["turn:t.test?transport=udp", "turns:t.test"]));
    assert_eq!(answer["ttl"], 90 * 60);
    let username = format!("{}:@ada:x.test", START_MS / 1000 + 90 * 60);
    assert_eq!(answer["username"], username);
    // By another implementation of HMAC-SHA1, from that name and the secret.
    assert_eq!(answer["password"], "aBYrbiyhIO6lLw0KjWp/0SBcU28=");
}
