//! Rejected and soft-failed events: kept, shown to nobody, and built upon by nobody here.

use std::sync::Arc;

use events::Pdu;
use rooms::Received;
use serde_json::json;

use super::{
    KINDS, Scene,
    hostile::{Fate, fate, message},
    is_shown, messages, pdu_of, state, view,
};
use crate::{
    peers::{Forged, come_in, receive},
    wire::name,
    world::change,
};

/// "by creating events which reference old parts of the DAG": soft failure.
#[tokio::test]
async fn what_a_banned_user_says_on_an_old_branch_is_shown_to_nobody() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let evasion = message(one, &scene).await;
        one.rooms.ban(change(ada, room, bob)).await.unwrap();
        scene.lose().await;
        let evasion = evasion.pdu();
        let outcome = receive(one, "two.test", &evasion).await;
        assert_eq!(fate(&outcome), Fate::SoftFailed, "version {version}: {outcome:?}");
        assert!(!is_shown(one, ada, room, evasion.event_id()).await, "version {version}");
        let again = receive(one, "two.test", &evasion).await;
        assert_eq!(again.result.unwrap(), Received::Known);
        assert!(!is_shown(one, ada, room, evasion.event_id()).await, "version {version}");

        let next = one.send(ada, room, "peace").await.unwrap();
        let next = pdu_of(one, &next).await;
        assert!(!next.prev_events().contains(evasion.event_id()), "nothing builds on it");

        // Somebody honest, who has not heard of the ban, goes on from it.
        let dora = two.user("dora");
        two.join(&dora, room).await.unwrap();
        let join = pdu_of(two, &view(two, room).await.extremities[0]).await;
        let result = receive(one, "two.test", &join).await;
        assert_eq!(fate(&result), Fate::Accepted, "version {version}");
        let answer = Forged::state(two, room, &dora, "m.room.message", "", json!({})).await;
        let answer = answer.with(|event| {
            event.state_key = None;
            event.prev_events.push(evasion.event_id().clone());
        });
        let answer = answer.pdu();
        let outcome = receive(one, "two.test", &answer).await;
        assert_eq!(fate(&outcome), Fate::Accepted, "version {version}: {outcome:?}");
        assert!(is_shown(one, ada, room, answer.event_id()).await, "version {version}");
        assert!(!is_shown(one, ada, room, evasion.event_id()).await, "version {version}");
        assert_eq!(
            one.membership(bob, room).await,
            Some("ban".into()),
            "the ban stands, version {version}"
        );
    }
}

/// Hazard B3: nor when the ban is gone and the event comes again, here or after a restart.
#[tokio::test]
async fn what_soft_failed_does_not_come_back_with_whoever_said_it() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let evasion = message(one, &scene).await;
        let topic = json!({ "topic": "bob's" });
        let coup = Forged::state(one, room, bob, "m.room.topic", "", topic).await.pdu();
        one.rooms.ban(change(ada, room, bob)).await.unwrap();
        scene.deliver().await;
        let evasion = evasion.pdu();
        let outcome = receive(one, "two.test", &evasion).await;
        assert_eq!(fate(&outcome), Fate::SoftFailed, "version {version}: {outcome:?}");
        assert_eq!(fate(&receive(one, "two.test", &coup).await), Fate::Rejected, "{version}");

        one.rooms.unban(change(ada, room, bob)).await.unwrap();
        scene.deliver().await;
        come_in(two, bob, room, one).await;
        scene.deliver().await;
        let back = two.send(bob, room, "back").await.unwrap();
        scene.deliver().await;
        let reopened = wire.restarted(one);
        for world in [one, &reopened] {
            assert!(is_shown(world, ada, room, &back).await, "version {version}");
            for pdu in [&evasion, &coup] {
                let again = receive(world, "two.test", pdu).await;
                assert_eq!(again.result.unwrap(), Received::Known, "version {version}");
                assert!(!is_shown(world, ada, room, pdu.event_id()).await, "version {version}");
            }
            let next = world.send(ada, room, "peace").await.unwrap();
            let next = pdu_of(world, &next).await;
            assert!(!next.prev_events().contains(evasion.event_id()), "version {version}");
        }
    }
}

#[tokio::test]
async fn a_rejected_event_changes_no_state_for_those_that_come_after_it() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { one, ada, bob, room, .. } = &scene;
        let topic = json!({ "topic": "bob's" });
        let rejected = Forged::state(one, room, bob, "m.room.topic", "", topic).await.pdu();
        assert_eq!(fate(&receive(one, "two.test", &rejected).await), Fate::Rejected);
        let after = message(one, &scene).await.with(|event| {
            event.prev_events = vec![rejected.event_id().clone()];
            event.depth += 1;
        });
        let after = after.pdu();
        let outcome = receive(one, "two.test", &after).await;
        assert_eq!(fate(&outcome), Fate::Accepted, "version {version}: {outcome:?}");
        assert!(is_shown(one, ada, room, after.event_id()).await, "version {version}");
        assert!(!is_shown(one, ada, room, rejected.event_id()).await, "version {version}");
        assert_eq!(one.current(room, "m.room.topic", "").await, None, "version {version}");
    }
}

/// Hazard B3: as an auth event or before another, a rejected event never becomes a good one.
#[tokio::test]
async fn an_event_that_was_rejected_stays_so() {
    let scene = Scene::new("11").await;
    let Scene { one, ada, bob, room, .. } = &scene;
    let levels = json!({ "users": { "@bob:two.test": 100 } });
    let coup = Forged::state(one, room, bob, "m.room.power_levels", "", levels).await.pdu();
    assert_eq!(fate(&receive(one, "two.test", &coup).await), Fate::Rejected);
    for _ in 0..3 {
        let again = receive(one, "two.test", &coup).await;
        assert_eq!(again.result.unwrap(), Received::Known);
    }
    let topic = Forged::state(one, room, bob, "m.room.topic", "", json!({ "topic": "x" })).await;
    let levels = pdu_of(one, &state(one, room).await[&levels_key()]).await;
    let topic = topic.with(|event| {
        event.auth_events.retain(|id| id != levels.event_id());
        event.auth_events.push(coup.event_id().clone());
        event.prev_events = vec![coup.event_id().clone()];
    });
    let outcome = receive(one, "two.test", &topic.pdu()).await;
    assert_eq!(fate(&outcome), Fate::Rejected, "{outcome:?}");
    let reopened = scene.wire.restarted(one);
    let again = receive(&reopened, "two.test", &coup).await;
    assert_eq!(again.result.unwrap(), Received::Known);
    assert!(!is_shown(&reopened, ada, room, coup.event_id()).await);
}

fn levels_key() -> (String, String) {
    ("m.room.power_levels".to_owned(), String::new())
}

/// Rejected events in a row: hazard B7.
#[tokio::test]
async fn many_rejected_events_do_not_end_the_history() {
    let scene = Scene::new("11").await;
    let Scene { one, ada, bob, room, .. } = &scene;
    let first = one.send(ada, room, "before").await.unwrap();
    let mut pdus: Vec<Arc<Pdu>> = Vec::new();
    for n in 0..300 {
        let topic = json!({ "topic": n });
        pdus.push(Forged::state(one, room, bob, "m.room.topic", "", topic).await.pdu());
    }
    let jsons = pdus.iter().map(|pdu| pdu.json().clone()).collect();
    let outcomes = one.rooms.receive(&name("two.test"), room, jsons).await;
    assert!(outcomes.iter().all(|outcome| fate(outcome) == Fate::Rejected));
    let last = one.send(ada, room, "after").await.unwrap();
    assert_eq!(messages(one, ada, room).await, [first, last]);
}
