//! Questions about users, aliases, the directory and this server itself; and what is no question.

use axum::body::Body;
use futures_util::stream;
use http::Request;
use ruma::RoomAliasId;
use serde_json::{Value, json};

use super::{event::segment, home::Home, peer::Peer};

async fn unsigned(home: &Home, method: &str, uri: &str) -> super::home::Answer {
    let request = Request::builder().method(method).uri(uri).body(Body::empty());
    home.ask(request.expect("a request")).await
}

#[tokio::test]
async fn every_endpoint_but_keys_and_version_asks_who_is_there() {
    let home = Home::start().await;
    let open =
        ["/_matrix/federation/v1/version", "/_matrix/key/v2/server", "/_matrix/key/v2/server/x"];
    for path in open {
        unsigned(&home, "GET", path).await.ok();
    }
    let closed = [
        ("GET", "v1/backfill/!r:home.test"),
        ("GET", "v1/event/$e"),
        ("GET", "v1/event_auth/!r:home.test/$e"),
        ("GET", "v1/hierarchy/!r:home.test"),
        ("GET", "v1/make_join/!r:home.test/@u:evil.test"),
        ("GET", "v1/make_knock/!r:home.test/@u:evil.test"),
        ("GET", "v1/make_leave/!r:home.test/@u:evil.test"),
        ("GET", "v1/publicRooms"),
        ("GET", "v1/query/directory"),
        ("GET", "v1/query/profile"),
        ("GET", "v1/state/!r:home.test"),
        ("GET", "v1/state_ids/!r:home.test"),
        ("GET", "v1/timestamp_to_event/!r:home.test"),
        ("GET", "v1/user/devices/@ada:home.test"),
        ("POST", "v1/get_missing_events/!r:home.test"),
        ("POST", "v1/publicRooms"),
        ("PUT", "v1/invite/!r:home.test/$e"),
        ("PUT", "v1/send/t"),
        ("PUT", "v1/send_join/!r:home.test/$e"),
        ("PUT", "v1/send_knock/!r:home.test/$e"),
        ("PUT", "v1/send_leave/!r:home.test/$e"),
        ("PUT", "v2/invite/!r:home.test/$e"),
        ("PUT", "v2/send_join/!r:home.test/$e"),
        ("PUT", "v2/send_leave/!r:home.test/$e"),
    ];
    for (method, path) in closed {
        let path = format!("/_matrix/federation/{path}");
        unsigned(&home, method, &path).await.refused(&path, 401, "M_UNAUTHORIZED");
        unsigned(&home, "DELETE", &path).await.refused(&path, 405, "M_UNRECOGNIZED");
    }
}

#[tokio::test]
async fn profiles_and_devices_of_local_users_are_told() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let ada = home.user("ada").await;
    let name = serde_json::value::to_raw_value("Ada").expect("JSON");
    home.accounts.set_profile_field(&ada, "displayname", &name).await.expect("sets");
    let ask = async |query: &str| {
        peer.get(&home, &format!("/_matrix/federation/v1/query/profile?{query}")).await
    };
    assert_eq!(ask("user_id=@ada:home.test").await.ok(), json!({ "displayname": "Ada" }));
    let one = ask("user_id=@ada:home.test&field=displayname").await.ok();
    assert_eq!(one, json!({ "displayname": "Ada" }));
    assert_eq!(ask("user_id=@ada:home.test&field=avatar_url").await.ok(), json!({}));
    ask("user_id=@nobody:home.test").await.refused("nobody", 404, "M_NOT_FOUND");
    for query in ["", "user_id=", "user_id=ada", "user_id=@eve:evil.test"] {
        ask(query).await.refused(query, 400, "M_INVALID_PARAM");
    }
    let ask = async |user: &str| {
        peer.get(&home, &format!("/_matrix/federation/v1/user/devices/{}", segment(user))).await
    };
    let found = ask("@ada:home.test").await.ok();
    assert_eq!(found["user_id"], "@ada:home.test");
    // A device without keys is nobody else's business.
    assert_eq!(found["devices"], json!([]));
    assert!(found["stream_id"].is_u64());
    ask("@eve:evil.test").await.refused("theirs", 400, "M_INVALID_PARAM");
    ask("ada").await.refused("no id", 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn aliases_and_the_directory_are_told() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let ada = home.user("ada").await;
    let listed = home.room(&ada, "11").await;
    home.room(&ada, "11").await;
    home.rooms.set_published(&ada, &listed, true).await.expect("lists");
    let alias = RoomAliasId::parse("#here:home.test").expect("an alias");
    home.rooms.create_alias(&ada, &alias, &listed).await.expect("creates");
    let ask = async |alias: &str| {
        let alias = segment(alias);
        let path = format!("/_matrix/federation/v1/query/directory?room_alias={alias}");
        peer.get(&home, &path).await
    };
    let found = ask("#here:home.test").await.ok();
    assert_eq!(found, json!({ "room_id": listed, "servers": ["home.test"] }));
    ask("#none:home.test").await.refused("no such alias", 404, "M_NOT_FOUND");
    ask("#there:evil.test").await.refused("theirs", 400, "M_INVALID_PARAM");
    ask("here").await.refused("no alias", 400, "M_INVALID_PARAM");
    let path = "/_matrix/federation/v1/publicRooms";
    let ids = |page: &Value| -> Vec<String> {
        let rooms = page["chunk"].as_array().expect("a list").iter();
        rooms.map(|room| room["room_id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    for query in ["", "?limit=1", "?limit=1000000&since=", "?include_all_networks=true"] {
        let answer = peer.get(&home, &format!("{path}{query}")).await;
        assert_eq!(ids(&answer.ok()), [listed.to_string()], "{query}");
    }
    let filtered = json!({ "filter": { "generic_search_term": "none" }, "limit": 5 });
    let answer = peer.post(&home, path, &filtered).await.ok();
    assert_eq!(ids(&answer), [""; 0], "{answer}");
    for body in [json!({ "limit": -1 }), json!({ "filter": 5 }), json!({ "since": {} })] {
        let answer = peer.post(&home, path, &body).await;
        answer.refused(&body.to_string(), 400, "M_BAD_JSON");
    }
}

#[tokio::test]
async fn bodies_have_a_bound() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let body = |bytes: usize| json!({ "x": "y".repeat(bytes) }).to_string();
    let path = "/_matrix/federation/v2/send_join/!r:home.test/$e";
    peer.put(&home, path, body(2 << 20)).await.refused("a join", 413, "M_TOO_LARGE");
    let path = "/_matrix/federation/v1/send/large";
    peer.put(&home, path, body(15 << 20)).await.ok();
    peer.put(&home, path, body(17 << 20)).await.refused("a transaction", 413, "M_TOO_LARGE");
    // Nothing is read of who does not even say who they are.
    let body = stream::repeat_with(|| -> std::io::Result<Vec<u8>> { panic!("it was read") });
    let body = Body::from_stream(body);
    let request = Request::put(path).body(body).expect("a request");
    home.ask(request).await.refused("nobody", 401, "M_UNAUTHORIZED");
}

#[tokio::test]
async fn whoever_asks_too_much_is_told_when_to_come_again() {
    let home = Home::start().await;
    let peer = Peer::start(&home, "evil.test").await;
    let other = Peer::start(&home, "other.test").await;
    let path = "/_matrix/federation/v1/publicRooms";
    let mut refused = None;
    for _ in 0..100_000 {
        let answer = peer.get(&home, path).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.expect("nobody asks for so much").refused("", 429, "M_LIMIT_EXCEEDED");
    assert!(answer.body["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0));
    assert!(answer.headers.contains_key(http::header::RETRY_AFTER));
    other.get(&home, path).await.ok();
}
