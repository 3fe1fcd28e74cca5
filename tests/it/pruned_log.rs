//! The log is pruned behind those who follow it, and nobody who holds a token notices.

use storage::{Batch, Fact};

use crate::{
    server::{PATIENCE, Server},
    user::{messages, segment},
};

/// Facts that mean nothing to anybody, far more than are kept.
async fn fill(server: &Server) {
    for _ in 0..45 {
        let mut batch = Batch::new();
        for _ in 0..1000 {
            batch.fact(Fact { stream: 250, subject: "x".into(), payload: bytes::Bytes::new() });
        }
        server.store.commit(batch).await.expect("there is space");
    }
}

#[tokio::test]
async fn a_token_from_before_what_was_pruned_still_works() {
    let server = Server::start().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let room = ada.room_with(&[&bob]).await;
    let since = bob.token_now().await;
    let older = server.store.log().position();
    ada.say(&room, "t1", "before").await;
    ada.put(
        &format!("/v3/rooms/{}/typing/{}", segment(&room), segment(&ada.id)),
        serde_json::json!({ "typing": true, "timeout": 10_000 }),
    )
    .await
    .ok();
    bob.set_account_data("org.test", serde_json::json!({ "n": 1 })).await.ok();
    fill(&server).await;
    let pruned = async {
        loop {
            let oldest = server.store.facts(0, u64::MAX - 1, 1).await.expect("the log is read");
            if oldest[0].position > older + 1000 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, pruned).await.expect("nobody holds the log");

    let seen = bob.sync(&since, 0).await;
    assert_eq!(messages(&seen, &room), ["before"], "what was told by facts that are gone");
    assert_eq!(seen["account_data"]["events"][0]["content"]["n"], 1, "{seen}");
    ada.say(&room, "t2", "after").await;
    assert_eq!(messages(&bob.sync(&since, 0).await, &room), ["before", "after"]);
    let next = seen["next_batch"].as_str().expect("a token");
    assert_eq!(messages(&bob.sync(next, 0).await, &room), ["after"]);
}
