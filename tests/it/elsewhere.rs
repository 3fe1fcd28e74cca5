//! What a client is told about rooms, aliases and lists of servers that cannot be reached.

use http::Method;
use serde_json::json;

use crate::{server::Server, user::segment};

const NOWHERE: &str = "!AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn what_is_elsewhere_and_cannot_be_reached_is_a_bad_gateway() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let room = ada.create_room(json!({})).await;
    let there = segment("!room:elsewhere.test");
    let alias = segment("#alias:elsewhere.test");
    let via = format!("/v3/join/{}?via=elsewhere.test", segment(NOWHERE));
    let old = format!("/v3/join/{}?server_name=elsewhere.test", segment(NOWHERE));
    let invite = format!("/v3/rooms/{}/invite", segment(&room));
    for (path, body) in [
        (format!("/v3/rooms/{there}/join"), json!({})),
        (format!("/v3/join/{there}"), json!({})),
        (format!("/v3/join/{alias}"), json!({})),
        (format!("/v3/knock/{there}"), json!({})),
        (format!("/v3/knock/{alias}"), json!({})),
        (via, json!({})),
        (old, json!({})),
        ("/v3/publicRooms?server=elsewhere.test".to_owned(), json!({})),
        (invite, json!({ "user_id": "@bob:elsewhere.test" })),
    ] {
        ada.post(&path, body).await.refused(&path, 502, "M_UNKNOWN");
    }
    for path in
        [format!("/v3/directory/room/{alias}"), "/v3/publicRooms?server=elsewhere.test".to_owned()]
    {
        ada.call(Method::GET, &path, String::new()).await.refused(&path, 502, "M_UNKNOWN");
    }
    let joined = ada.get("/v3/joined_rooms").await.ok();
    assert_eq!(joined["joined_rooms"], json!([room]));
}

#[tokio::test]
async fn a_room_of_which_nobody_says_where_it_is_cannot_be_joined() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    for verb in ["join", "knock"] {
        for query in ["", "?via=x.test"] {
            let path = format!("/v3/{verb}/{}{query}", segment(NOWHERE));
            ada.post(&path, json!({})).await.refused(&path, 404, "M_UNKNOWN");
        }
    }
    let path = format!("/v3/rooms/{}/join", segment("!unknown:x.test"));
    ada.post(&path, json!({})).await.refused(&path, 404, "M_UNKNOWN");
}
