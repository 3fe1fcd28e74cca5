//! Account data that is deleted (MSC3391).

use http::Method;
use serde_json::{Value, json};

use crate::{
    server::Server,
    user::{User, segment},
};

async fn delete(user: &User<'_>, path: &str) -> crate::server::Answer {
    user.call(Method::DELETE, path, String::new()).await
}

fn global(sync: &Value) -> Option<&Value> {
    let events = sync["account_data"]["events"].as_array()?;
    events.iter().find(|event| event["type"] == "org.example").map(|event| &event["content"])
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_told_once() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let versions = server.get("/versions").await.ok();
    assert_eq!(versions["unstable_features"]["org.matrix.msc3391"], true);
    let room = ada.room_with(&[]).await;
    let (id, room) = (segment(&ada.id), segment(&room));
    for base in ["/v3", "/unstable/org.matrix.msc3391"] {
        for place in ["account_data/".to_owned(), format!("rooms/{room}/account_data/")] {
            let path = format!("/v3/user/{id}/{place}org.example");
            let deleting = format!("{base}/user/{id}/{place}org.example");
            ada.put(&path, json!({ "a": 1 })).await.ok();
            let since = ada.token_now().await;
            delete(&bob, &deleting).await.refused("another's", 403, "M_FORBIDDEN");
            assert_eq!(ada.get(&path).await.ok(), json!({ "a": 1 }));
            // "For idempotency reasons, these endpoints always return 200 OK".
            for _ in 0..2 {
                assert_eq!(delete(&ada, &deleting).await.ok(), json!({}));
            }
            ada.get(&path).await.refused(&deleting, 404, "M_NOT_FOUND");
            let told = ada.sync(&since, 0).await;
            assert_eq!(told.to_string().matches("\"org.example\"").count(), 1, "{told}");
            if !place.starts_with("rooms") {
                assert_eq!(global(&told), Some(&json!({})));
            }
            let initial = ada.sync("", 0).await;
            assert!(!initial.to_string().contains("org.example"), "{initial}");
            let managed = format!("{base}/user/{id}/{place}m.fully_read");
            delete(&ada, &managed).await.refused(&managed, 405, "M_BAD_JSON");
        }
    }
}
