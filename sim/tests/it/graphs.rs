//! The state resets of MSC4297.

use sim::graphs::{Ending, problem_a, problem_b};

#[tokio::test]
async fn join_rules_outlive_an_outdated_state_in_version_12_only() {
    for version in ["2", "6", "10", "11"] {
        assert_eq!(problem_a(version, 1).await.unwrap(), Ending::Lost, "version {version}");
    }
    for seed in 0..8 {
        assert_eq!(problem_a("12", seed).await.unwrap(), Ending::Current, "seed {seed}");
    }
}

#[tokio::test]
async fn power_levels_outlive_an_outdated_state_in_version_12_only() {
    for version in ["2", "6", "10", "11"] {
        assert_eq!(problem_b(version, 1).await.unwrap(), Ending::Outdated, "version {version}");
    }
    for seed in 0..8 {
        assert_eq!(problem_b("12", seed).await.unwrap(), Ending::Current, "seed {seed}");
    }
}
