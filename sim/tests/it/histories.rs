//! Random histories, few: `cargo run -p sim` makes many.

use serde_json::json;
use sim::{History, World, run};

fn history(seed: u64, version: &str) -> History {
    History { seed, version: version.to_owned(), trace: false }
}

#[test]
fn every_version_ends_in_agreement() {
    for version in ["3", "6", "9", "10", "11", "12"] {
        for seed in 0..6 {
            let outcome = run(&history(seed, version)).unwrap();
            assert_eq!(outcome.report, Vec::<String>::new(), "version {version}, seed {seed}");
        }
    }
}

/// A server that misses one of four branches must not resolve the other three twice.
#[test]
fn a_gap_among_known_branches_is_filled_with_its_own_state() {
    let outcome = run(&history(489, "1")).unwrap();
    assert_eq!(outcome.report, Vec::<String>::new());
}

#[test]
fn histories_are_worth_their_name() {
    let mut received = sim::Counts::default();
    let mut compared = 0;
    for seed in 20..40 {
        let outcome = run(&history(seed, "11")).unwrap();
        received += outcome.counts;
        compared += outcome.converged.compared;
    }
    assert!(received.accepted > 500 && received.soft_failed > 5, "{received:?}");
    assert!(received.known > 50, "nothing came twice: {received:?}");
    assert!(compared > 40, "{compared}");
}

#[test]
fn a_seed_is_a_history() {
    for (seed, version) in [(3, "10"), (4, "11"), (7, "12")] {
        let [one, other] = [(); 2].map(|()| run(&history(seed, version)).unwrap());
        assert_eq!(one.converged.states, other.converged.states);
        assert!(!one.converged.states.is_empty());
    }
    let [one, other] = [3, 4].map(|seed| run(&history(seed, "11")).unwrap());
    assert_ne!(one.converged.states, other.converged.states);
}

#[tokio::test]
async fn servers_that_were_not_told_are_found_to_disagree() {
    let mut world = World::new(1, "11", 2, 1).await.unwrap();
    let users = [0, 1].map(|server: usize| world.servers[server].users[0].clone());
    world.join(1, &users[1], 0).await.unwrap();
    world.collect().await.unwrap();
    world.deliver_all().await.unwrap();
    assert!(world.compare().await.unwrap().differences.is_empty());
    world.network.split(vec![0, 1]);
    let topic = json!({ "topic": "secret" });
    assert!(world.set(0, &users[0], "m.room.topic", &topic).await.unwrap());
    world.collect().await.unwrap();
    world.deliver_all().await.unwrap();
    let found = world.compare().await.unwrap();
    assert_eq!(found.compared, 2);
    let keys: Vec<_> = found.differences.iter().map(|difference| &*difference.key.0).collect();
    assert_eq!(keys, ["m.room.topic"]);
    let report = world.describe(&found.differences[0]).await.unwrap();
    assert!(report.contains("s0 has") && report.contains("s1 has nothing"), "{report}");
    assert!(world.converge().await.unwrap().differences.is_empty());
}
