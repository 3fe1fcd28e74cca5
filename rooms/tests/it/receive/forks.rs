//! Servers that did not hear each other for a while, and hear each other again.

use std::sync::Arc;

use events::Pdu;
use rooms::Received;
use ruma::OwnedEventId;
use serde_json::json;

use super::{KINDS, Scene, VERSIONS, history, is_shown, messages, pdu_of, say, state, view};
use crate::{
    peers::{Forged, come_in, receive},
    wire::name,
    world::{change, join_request},
};

/// ada gives bob half of her power.
async fn share_power(scene: &Scene) {
    let Scene { one, ada, room, .. } = scene;
    let mut levels = one.current(room, "m.room.power_levels", "").await.unwrap();
    levels["users"]["@bob:two.test"] = json!(50);
    one.set(ada, room, "m.room.power_levels", "", levels).await.unwrap();
    scene.deliver().await;
}

/// Who hears of whom first makes no difference, and the next event joins the branches.
#[tokio::test]
async fn two_branches_become_one_state_on_both_sides() {
    for version in VERSIONS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        share_power(&scene).await;
        let mut by_ada = Vec::new();
        let mut by_bob = Vec::new();
        for n in 0..3 {
            one.clock.advance(1000);
            let topic = json!({ "topic": format!("ada's {n}") });
            by_ada.push(one.set(ada, room, "m.room.topic", "", topic).await.unwrap());
            by_ada.push(one.send(ada, room, "one").await.unwrap());
            let topic = json!({ "topic": format!("bob's {n}") });
            by_bob.push(two.set(bob, room, "m.room.topic", "", topic).await.unwrap());
            by_bob.push(two.send(bob, room, "two").await.unwrap());
        }
        let name = json!({ "name": "by ada" });
        by_ada.push(one.set(ada, room, "m.room.name", "", name).await.unwrap());
        scene.lose().await;
        scene.hand_to_two(&by_ada).await;
        scene.hand_to_one(&by_bob).await;
        for id in by_ada.iter().chain(&by_bob) {
            assert!(event_is_there(&scene, id).await, "{id}, version {version}");
        }
        scene.assert_same_state(version).await;
        assert_eq!(view(one, room).await.extremities.len(), 2, "version {version}");
        assert_eq!(view(two, room).await.extremities.len(), 2, "version {version}");
        assert_eq!(two.current(room, "m.room.name", "").await.unwrap()["name"], "by ada");

        let join = one.send(ada, room, "together").await.unwrap();
        scene.deliver().await;
        assert_eq!(pdu_of(two, &join).await.prev_events().len(), 2, "version {version}");
        let joined = vec![join];
        assert_eq!(view(two, room).await.extremities, joined, "version {version}");
        assert_eq!(view(one, room).await.extremities, joined, "version {version}");
        scene.assert_same_state(version).await;
    }
}

async fn event_is_there(scene: &Scene, id: &OwnedEventId) -> bool {
    let Scene { one, two, ada, bob, room, .. } = scene;
    one.rooms.event(ada, room, id).await.is_ok() && two.rooms.event(bob, room, id).await.is_ok()
}

/// While bob's server was away, bob was banned: what he did meanwhile does not count, and on his own
/// server he is out.
#[tokio::test]
async fn a_ban_that_was_not_heard_of_takes_effect_when_it_is() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        share_power(&scene).await;
        let dora = two.user("dora");
        two.join(&dora, room).await.unwrap();
        scene.deliver().await;
        one.rooms.ban(change(ada, room, bob)).await.unwrap();
        let ban = view(one, room).await.extremities[0].clone();
        let topic = two.set(bob, room, "m.room.topic", "", json!({ "topic": "b" })).await.unwrap();
        let said = two.send(bob, room, "still here").await.unwrap();
        scene.lose().await;

        for outcome in scene.hand_to_one(&[topic.clone(), said.clone()]).await {
            assert!(matches!(outcome.result, Ok(Received::SoftFailed(_))), "{outcome:?}");
        }
        let outcomes = scene.hand_to_two(&[ban]).await;
        assert_eq!(*outcomes[0].result.as_ref().unwrap(), Received::Accepted);
        assert_eq!(two.membership_of(bob, room).await, Some("ban".into()), "version {version}");
        let at_two = view(two, room).await;
        assert_eq!(at_two.local_joined.iter().collect::<Vec<_>>(), [&dora], "version {version}");
        assert_eq!(at_two.joined_members, 2, "version {version}");
        assert!(two.send(bob, room, "no?").await.is_err(), "version {version}");
        assert!(!is_shown(one, ada, room, &said).await, "version {version}");

        let after = two.send(&dora, room, "what happened?").await.unwrap();
        scene.deliver().await;
        assert!(is_shown(one, ada, room, &after).await, "version {version}");
        scene.assert_same_state(version).await;
    }
}

/// A user comes in on one branch while the other makes the room private: both servers must agree.
#[tokio::test]
async fn a_join_that_the_other_branch_forbids_ends_the_same_on_both_sides() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { one, two, ada, bob, room, .. } = &scene;
        let dora = two.user("dora");
        one.clock.advance(1000);
        let rule = json!({ "join_rule": "invite" });
        let private = one.set(ada, room, "m.room.join_rules", "", rule).await.unwrap();
        two.join(&dora, room).await.unwrap();
        let join = view(two, room).await.extremities[0].clone();
        scene.lose().await;
        let outcome = &scene.hand_to_two(&[private]).await[0];
        assert!(super::accepted(outcome), "version {version}: {outcome:?}");
        let outcome = &scene.hand_to_one(&[join]).await[0];
        assert!(matches!(outcome.result, Ok(Received::SoftFailed(_))), "{outcome:?}");
        // Whatever resolution says of dora, both have to say it once they know of each other.
        two.send(bob, room, "one").await.unwrap();
        scene.deliver().await;
        one.send(ada, room, "two").await.unwrap();
        scene.deliver().await;
        scene.assert_same_state(version).await;
        let (at_one, at_two) = (view(one, room).await, view(two, room).await);
        assert_eq!(at_one.joined_members, at_two.joined_members, "version {version}");
        assert_eq!(at_one.servers, at_two.servers, "version {version}");
        let row = two.membership_of(&dora, room).await;
        let in_state = state(two, room).await;
        let key = ("m.room.member".to_owned(), dora.to_string());
        let member = match in_state.get(&key) {
            Some(id) => pdu_of(two, id).await.membership(),
            None => Some("leave".into()),
        };
        assert_eq!(row, member, "the row follows the state, version {version}");
        assert_eq!(at_two.local_joined.contains(&dora), row == Some("join".into()));
    }
}

/// What a member of the room may not see of a branch on which they had not come in yet.
#[tokio::test]
async fn who_joined_on_another_branch_does_not_see_what_was_said_before_they_came() {
    for version in ["6", "12"] {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        let joined = json!({ "history_visibility": "joined" });
        one.set(ada, room, "m.room.history_visibility", "", joined).await.unwrap();
        scene.deliver().await;
        let dora = two.user("dora");
        let secret = one.send(ada, room, "before dora").await.unwrap();
        two.join(&dora, room).await.unwrap();
        scene.lose().await;
        wire.take_calls();
        assert!(super::accepted(&scene.hand_to_two(std::slice::from_ref(&secret)).await[0]));
        assert!(is_shown(two, bob, room, &secret).await, "version {version}");
        let hidden = two.rooms.event(&dora, room, &secret).await;
        assert!(hidden.is_err(), "dora was not there on that branch, version {version}");
        assert_eq!(messages(two, &dora, room).await, [] as [OwnedEventId; 0]);
        // More on the same branch, where dora still has not come in.
        let more = one.send(ada, room, "still before dora").await.unwrap();
        scene.lose().await;
        assert!(super::accepted(&scene.hand_to_two(std::slice::from_ref(&more)).await[0]));
        assert_eq!(messages(two, &dora, room).await, [] as [OwnedEventId; 0]);
        assert_eq!(messages(two, bob, room).await, [secret, more], "version {version}");
        let after = two.send(bob, room, "after dora").await.unwrap();
        assert_eq!(messages(two, &dora, room).await, [after], "version {version}");
    }
}

/// Messages of bob's that all go on from the same event.
async fn branches(scene: &Scene, count: usize) -> Vec<Arc<Pdu>> {
    let Scene { one, bob, room, .. } = scene;
    let mut branches = Vec::new();
    for n in 0..count {
        let branch = Forged::state(one, room, bob, "m.room.message", "", json!({ "n": n })).await;
        branches.push(branch.with(|event| event.state_key = None).pdu());
    }
    branches
}

/// Whoever speaks joins the branches, and where nobody does, the server does.
#[tokio::test]
async fn many_branches_do_not_stay_many() {
    let scene = Scene::new("11").await;
    let Scene { one, two, ada, bob, room, .. } = &scene;
    let pdus = branches(&scene, 50).await;
    for branch in &pdus {
        let outcome = receive(one, "two.test", branch).await;
        assert_eq!(outcome.result.unwrap(), Received::Accepted);
        assert!(view(one, room).await.extremities.len() <= 10);
    }
    let together = one.send(ada, room, "together").await.unwrap();
    assert!(pdu_of(one, &together).await.prev_events().len() <= 20);
    assert_eq!(view(one, room).await.extremities, [together]);
    let shown = history(one, ada, room).await;
    assert!(shown.iter().all(|event| event.pdu.event_type() != "org.matrix.dummy_event"));

    // bob's server never saw most of that, and gets on.
    scene.deliver().await;
    scene.assert_same_state("after 50 branches").await;
    let said = two.send(bob, room, "hm").await.unwrap();
    scene.deliver().await;
    assert!(is_shown(one, ada, room, &said).await);
}

/// Events are never made without power.
#[tokio::test]
async fn branches_stay_where_nobody_may_join_them() {
    let scene = Scene::new("11").await;
    let Scene { wire, one, two, ada, bob, room } = &scene;
    let mut levels = one.current(room, "m.room.power_levels", "").await.unwrap();
    levels["events_default"] = json!(50);
    levels["users"]["@bob:two.test"] = json!(50);
    one.set(ada, room, "m.room.power_levels", "", levels).await.unwrap();
    let three = wire.server("three.test");
    let cleo = three.user("cleo");
    come_in(&three, &cleo, room, one).await;
    wire.deliver(&[one, two, &three]).await;
    for branch in branches(&scene, 15).await {
        let outcome = receive(&three, "two.test", &branch).await;
        assert_eq!(outcome.result.unwrap(), Received::Accepted);
    }
    assert_eq!(view(&three, room).await.extremities.len(), 15);
    assert_eq!(messages(&three, &cleo, room).await.len(), 15);
    let by_ada = one.send(ada, room, "on another branch").await.unwrap();
    wire.deliver(&[one, &three]).await;
    assert!(is_shown(&three, &cleo, room, &by_ada).await);
    let said = two.send(bob, room, "and on one more").await.unwrap();
    wire.deliver(&[two, &three]).await;
    assert!(is_shown(&three, &cleo, room, &said).await);
}

/// Three servers, and each hears of the others' branches in another order.
#[tokio::test]
async fn three_branches_end_in_one_state_whatever_the_order() {
    for version in KINDS {
        let scene = Scene::new(version).await;
        let Scene { wire, one, two, ada, bob, room } = &scene;
        share_power(&scene).await;
        let three = wire.server("three.test");
        let cleo = three.user("cleo");
        come_in(&three, &cleo, room, one).await;
        wire.deliver(&[one, two, &three]).await;
        let worlds = [one, two, &three];
        let mut branches: Vec<Vec<OwnedEventId>> = Vec::new();
        for (world, user) in worlds.iter().zip([ada, bob, &cleo]) {
            world.clock.advance(1000 * branches.len() as u64);
            let mut ids = say(world, user, room, 2).await;
            if user != &cleo {
                let topic = json!({ "topic": user });
                ids.push(world.set(user, room, "m.room.topic", "", topic).await.unwrap());
            }
            branches.push(ids);
        }
        one.rooms.kick(change(ada, room, &cleo)).await.unwrap();
        branches[0].extend(view(one, room).await.extremities.clone());
        for world in worlds {
            wire.set_down(&world.server, true);
        }
        wire.deliver(&worlds).await;
        for world in worlds {
            wire.set_down(&world.server, false);
        }
        for (at, order) in [(0, [1, 2]), (1, [0, 2]), (2, [1, 0])] {
            for from in order {
                for id in &branches[from] {
                    let pdus = vec![pdu_of(worlds[from], id).await.json().clone()];
                    let from = name(&worlds[from].server);
                    worlds[at].rooms.receive(&from, room, pdus).await;
                }
            }
        }
        let joined = one.send(ada, room, "together").await.unwrap();
        wire.deliver(&worlds).await;
        assert!(is_shown(two, bob, room, &joined).await, "version {version}");
        scene.assert_same_state(version).await;
        let cleos = three.membership_of(&cleo, room).await;
        assert_eq!(cleos, Some("leave".into()), "version {version}");
        // Who was kicked may come back.
        let via = vec![name("one.test")];
        three.rooms.join(rooms::JoinRequest { via, ..join_request(&cleo, room) }).await.unwrap();
        wire.deliver(&worlds).await;
        scene.assert_same_state(version).await;
    }
}
