//! What a user with ten thousand devices may do to others, and to the disk.

use devices::{DeviceError, SendToDeviceError, keys::DEVICES_MAX};
use ruma::{DeviceId, UserId, device_id, user_id};

use crate::{Server, messages};

async fn log_in(server: &Server, user: &UserId, device: &str) -> Result<(), DeviceError> {
    server.devices.ensure(user, Some(<&DeviceId>::from(device)), None).await.map(drop)
}

#[tokio::test]
async fn ten_thousand_devices_are_enough() {
    let mut server = Server::new();
    let (ada, bob) = (user_id!("@ada:example.org"), user_id!("@bob:example.org"));
    for number in 0..DEVICES_MAX {
        log_in(&server, ada, &format!("D{number}")).await.expect("created");
    }
    for round in ["at once", "after a restart"] {
        let before = server.store.log().position();
        let refused = log_in(&server, ada, "MORE").await;
        assert!(matches!(refused, Err(DeviceError::TooMany)), "{round}: {refused:?}");
        let drawn = server.devices.ensure(ada, None, None).await;
        assert!(matches!(drawn, Err(DeviceError::TooMany)), "{round}: {drawn:?}");
        assert_eq!(server.store.log().position(), before, "{round}: nobody is told of anything");
        log_in(&server, ada, "D7").await.expect("it is there already");
        server.reopen();
    }
    log_in(&server, bob, "FIRST").await.expect("it is nobody else's matter");
    assert_eq!(server.devices.list(ada).await.expect("read").len(), DEVICES_MAX);
    assert_eq!(server.keys_of(bob, ada).await.device_keys.len(), 1, "all are asked for at once");

    // A short message to all of them arrives; a long one would be the disk's.
    server.send("short", &messages(&[(ada, "*", r#"{"n":1}"#)])).await.expect("sent");
    for device in ["D0", "D9999"] {
        assert_eq!(server.inbox(ada, device).await.len(), 1, "{device}");
    }
    let content = format!(r#"{{"x":{:?}}}"#, "x".repeat(10_000));
    let before = server.store.log().position();
    let long = server.send("long", &messages(&[(ada, "*", &content), (bob, "FIRST", "{}")])).await;
    assert!(matches!(long, Err(SendToDeviceError::TooMany)), "{long:?}");
    assert_eq!(server.store.log().position(), before, "nobody gets a part of it");
    server.send("named", &messages(&[(ada, "D7", &content)])).await.expect("sent");

    assert!(server.devices.delete(ada, device_id!("D7")).await.expect("deleted"));
    log_in(&server, ada, "MORE").await.expect("there is space again");
    assert!(matches!(log_in(&server, ada, "D7").await, Err(DeviceError::TooMany)));
}
