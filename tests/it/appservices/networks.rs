//! The directories of the networks that a bridge connects.

use http::Method;
use serde_json::{Value, json};

use super::{AS_TOKEN, bridge, holder, region_with};
use crate::user::{User, segment};

async fn listed(user: &User<'_>, query: Value) -> Vec<String> {
    let page = user.post("/v3/publicRooms", query).await.ok();
    let rooms = page["chunk"].as_array().expect("a list").iter();
    rooms.map(|room| room["room_id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_network_has_a_list_of_its_own() {
    let (server, _dir) = region_with(&[&bridge()], "").await;
    let (token, ada) = (holder(&server, AS_TOKEN), server.user("ada").await);
    let room = ada.room_with(&[]).await;
    let path = format!("/v3/directory/list/appservice/irc/{}", segment(&room));
    let public = json!({ "visibility": "public" });
    ada.put(&path, public.clone()).await.refused("a person", 403, "M_FORBIDDEN");
    token.put(&path, public.clone()).await.ok();
    let of_network = json!({ "third_party_instance_id": "bridge|irc" });
    let cases = [
        (json!({}), 0),
        (of_network.clone(), 1),
        (json!({ "third_party_instance_id": "bridge|xmpp" }), 0),
        (json!({ "include_all_networks": true }), 1),
    ];
    for (query, rooms) in cases {
        assert_eq!(listed(&ada, query.clone()).await, vec![room.clone(); rooms], "{query}");
    }
    // In both lists it is one room, and each list is changed by itself.
    let own = format!("/v3/directory/list/room/{}", segment(&room));
    ada.put(&own, public).await.ok();
    let all = json!({ "include_all_networks": true });
    assert_eq!(listed(&ada, all.clone()).await, [room.as_str()]);
    token.call(Method::DELETE, &path, String::new()).await.ok();
    assert_eq!(listed(&ada, of_network).await, [""; 0]);
    assert_eq!(listed(&ada, all).await, [room.as_str()]);
    assert_eq!(listed(&ada, json!({})).await, [room.as_str()]);
}
