//! Messages to devices.

use serde_json::json;

use super::{Scene, edu, messages, notify, scene};
use crate::server_api::peer::Peer;

#[tokio::test]
async fn messages_to_devices_arrive_once() {
    let scene = scene().await;
    let Scene { home, peer, ada, eve, .. } = &scene;
    let message = scene.message(eve, "one");
    scene.notify(&[message.clone(), message.clone()]).await;
    scene.notify(std::slice::from_ref(&message)).await;
    let restarted = home.restarted().await;
    notify(peer, &restarted, &[message]).await;
    let expected = json!({ "type": "m.test", "sender": eve, "content": { "id": "one" } });
    assert_eq!(scene.messages(ada).await, [expected]);
    // Ids belong to the server that made them.
    let other = Peer::start(home, "third.test").await;
    notify(&other, home, &[scene.message(&other.user("tim"), "one")]).await;
    assert_eq!(scene.messages(ada).await.len(), 2);
}

#[tokio::test]
async fn messages_reach_the_devices_that_are_named_and_no_others() {
    let scene = scene().await;
    let Scene { home, peer, ada, eve, .. } = &scene;
    let bob = home.user("bob").await;
    home.devices.ensure(ada, Some("SECOND".into()), None).await.expect("creates");
    let content = json!({
        "sender": eve, "type": "m.test", "message_id": "all",
        "messages": {
            ada: { "*": { "to": "ada" }, "NONE": { "to": "none" } },
            "@nobody:home.test": { "*": {} },
            peer.user("mallory"): { "*": {} },
            &scene.olga: { "*": {} },
        },
    });
    scene.notify(&[edu("m.direct_to_device", content)]).await;
    for device in ["DEVICE", "SECOND"] {
        let found = messages(home, ada, device).await;
        assert_eq!(found.len(), 1, "{device}: {found:?}");
        assert_eq!(found[0]["content"]["to"], "ada");
    }
    for (user, device) in [(&bob, "DEVICE"), (ada, "NONE"), (&scene.olga, "DEVICE")] {
        assert!(messages(home, user, device).await.is_empty(), "{user}");
    }
}
