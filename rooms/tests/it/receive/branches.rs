//! Hazard H5: events that all stand beside each other, in a room where no local user may join their
//! branches.

use rooms::{ReceiveError, Received};
use serde_json::json;

use super::{Scene, view};
use crate::{
    peers::{Forged, come_in, public, receive},
    wire::{Wire, name},
};

/// A room of bob's, in which ada may say nothing.
async fn silent(version: &str) -> Scene {
    let wire = Wire::default();
    let (one, two) = (wire.server("one.test"), wire.server("two.test"));
    let (ada, bob) = (one.user("ada"), two.user("bob"));
    let room = public(&two, &bob, version).await;
    let mut levels = two.current(&room, "m.room.power_levels", "").await.unwrap();
    levels["events_default"] = json!(50);
    two.set(&bob, &room, "m.room.power_levels", "", levels).await.unwrap();
    come_in(&one, &ada, &room, &two).await;
    wire.deliver(&[&one, &two]).await;
    Scene { wire, one, two, ada, bob, room }
}

/// There is a number beyond which no branch is added, however many are sent; what the first of them
/// did stays in force, and an event that joins some is taken in and makes room.
#[tokio::test]
async fn branches_without_end_are_not_taken_in() {
    for version in ["11", "12"] {
        let scene = silent(version).await;
        let Scene { one, two, bob, room, .. } = &scene;
        let ban = json!({ "membership": "ban" });
        let first = Forged::state(two, room, bob, "m.room.member", "@eve:x.test", ban).await;
        assert_eq!(
            receive(one, "two.test", &first.pdu()).await.result.ok(),
            Some(Received::Accepted)
        );
        let (mut pdus, mut last) = (Vec::new(), Vec::new());
        for n in 0..600 {
            let mark = Forged::state(two, room, bob, "mark", &n.to_string(), json!({})).await;
            pdus.push(mark.pdu());
        }
        let mut refused = 0;
        for pdus in pdus.chunks(50) {
            let json = pdus.iter().map(|pdu| pdu.json().clone()).collect();
            for outcome in one.rooms.receive(&name("two.test"), room, json).await {
                match outcome.result {
                    Ok(Received::Accepted) => last.push(outcome.event_id.unwrap()),
                    Err(ReceiveError::Dropped(_)) => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        let before = view(one, room).await.extremities.len();
        assert!(refused > 0 && before <= 500, "{before} branches, {refused} refused");
        let eve = one.current(room, "m.room.member", "@eve:x.test").await;
        assert_eq!(eve.unwrap()["membership"], "ban", "version {version}");
        for n in ["0", "1", "100"] {
            assert!(one.current(room, "mark", n).await.is_some(), "mark {n}, version {version}");
        }

        let joined: Vec<_> = last.into_iter().take(20).collect();
        let together = Forged::state(two, room, bob, "mark", "together", json!({})).await;
        let join = together.with(|event| {
            event.depth += 1;
            event.prev_events = joined;
        });
        assert_eq!(
            receive(one, "two.test", &join.pdu()).await.result.ok(),
            Some(Received::Accepted)
        );
        assert_eq!(view(one, room).await.extremities.len(), before - 19, "version {version}");
    }
}
