//! OpenID tokens: asked for by a user, shown by whoever they gave them to.

use http::Method;
use serde_json::{Value, json};

use crate::{
    server::{Answer, Server},
    user::{User, segment},
};

const HOUR_MS: u64 = 60 * 60 * 1000;

async fn request(user: &User<'_>, of: &str) -> Answer {
    user.post(&format!("/v3/user/{}/openid/request_token", segment(of)), json!({})).await
}

async fn userinfo(server: &Server, query: &str) -> Answer {
    let path = format!("/_matrix/federation/v1/openid/userinfo{query}");
    server.send(Method::GET, &path, None, "").await
}

fn token(answer: &Value) -> String {
    answer["access_token"].as_str().expect("a token").to_owned()
}

#[tokio::test]
async fn a_third_party_learns_who_a_user_is_for_an_hour() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let answer = request(&ada, &ada.id).await.ok();
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["matrix_server_name"], "x.test");
    assert_eq!(answer["expires_in"], 3600);
    let query = format!("?access_token={}", token(&answer));
    assert_eq!(userinfo(&server, &query).await.ok(), json!({ "sub": "@ada:x.test" }));
    server.clock.advance(HOUR_MS - 1);
    assert_eq!(userinfo(&server, &query).await.ok()["sub"], "@ada:x.test");
    server.clock.advance(1);
    userinfo(&server, &query).await.refused("an hour later", 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn an_openid_token_is_no_access_token_nor_the_other_way_round() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    request(&ada, &bob.id).await.refused("for another", 403, "M_FORBIDDEN");
    let openid = token(&request(&ada, &ada.id).await.ok());
    let thief = User { token: openid.clone(), ..ada.clone() };
    thief.get("/v3/account/whoami").await.refused("as an access token", 401, "M_UNKNOWN_TOKEN");
    userinfo(&server, "").await.refused("none", 401, "M_MISSING_TOKEN");
    let theirs = token(&request(&bob, &bob.id).await.ok());
    let signature = |token: &str| token.split_once('.').expect("two parts").1.to_owned();
    let grafted = openid.replace(&signature(&openid), &signature(&theirs));
    for token in [&ada.token, &grafted, "mro_e30.AAAA", "mro_", &"x".repeat(5000)] {
        let answer = userinfo(&server, &format!("?access_token={token}")).await;
        answer.refused(token, 401, "M_UNKNOWN_TOKEN");
    }
}

#[tokio::test]
async fn the_token_of_an_account_that_ended_ends_too() {
    let server = Server::start().await;
    let ada = server.user_with_password("ada", "correct horse").await;
    let query = format!("?access_token={}", token(&request(&ada, &ada.id).await.ok()));
    userinfo(&server, &query).await.ok();
    let auth = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "ada" },
        "password": "correct horse",
    });
    ada.post("/v3/account/deactivate", json!({ "auth": auth })).await.ok();
    userinfo(&server, &query).await.refused("deactivated", 401, "M_UNKNOWN_TOKEN");
}
