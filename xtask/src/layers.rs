//! The ranks of the design, held over `cargo metadata`: a crate depends only on crates of a lower
//! rank. Cargo already refuses cycles; this refuses the sideways arrow that becomes one.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::checkout::Checkout;

/// Every crate of the workspace and its rank. A crate that is missing here is an error, so a new one
/// is placed on purpose.
const RANKS: &[(&str, u8)] = &[
    ("stdx", 0),
    ("storage", 0),
    ("frames", 0),
    ("events", 1),
    ("rooms", 2),
    ("accounts", 2),
    ("devices", 2),
    ("presence", 2),
    ("media", 2),
    ("sync", 3),
    ("search", 3),
    ("sso", 3),
    ("user-directory", 3),
    ("delayed-events", 3),
    ("push", 4),
    ("appservice", 4),
    ("client-api", 5),
    ("federation", 5),
    ("gateway", 5),
    ("cluster", 5),
    ("meridian", 6),
];

/// Tools. They may depend on anything, and nothing depends on them.
const OUTSIDE: &[&str] = &["load", "costs", "xtask", "sim", "fuzz"];

/// The one sideways arrow: stdx is the lower half of rank 0 (it could have been in the standard
/// library), and the writer task of storage runs under its task tracker.
const SIDEWAYS: &[(&str, &str)] = &[("storage", "stdx")];

/// (dependency, crates that must not have it, why)
const EDGE_ONLY: &[&str] = &["axum", "http", "hyper", "tower-http"];
const EDGE_RANK: u8 = 5;
const PURE: &str = "events";
const PURE_BANS: &[&str] = &["tokio", "rand", "tracing", "metrics"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// Absent for a normal dependency, else "dev" or "build".
    kind: Option<String>,
}

pub(crate) fn check(checkout: &Checkout) -> anyhow::Result<Vec<String>> {
    let output = checkout
        .cargo(&["metadata", "--no-deps", "--format-version=1"])
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(violations(&serde_json::from_slice(&output.stdout)?))
}

fn violations(metadata: &Metadata) -> Vec<String> {
    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    let mut found = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let rank = ranks.get(name).copied();
        if rank.is_none() && !OUTSIDE.contains(&name) {
            found.push(format!("{name}: has no rank; place it in xtask/src/layers.rs"));
        }
        let normal = package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
        for dependency in normal {
            found.extend(violation(name, rank, &dependency.name, &ranks));
        }
    }
    found
}

fn violation(
    name: &str,
    rank: Option<u8>,
    dependency: &str,
    ranks: &BTreeMap<&str, u8>,
) -> Option<String> {
    if OUTSIDE.contains(&dependency) {
        return Some(format!("{name} -> {dependency}: nothing depends on a tool"));
    }
    let rank = rank?;
    if let Some(below) = ranks.get(dependency) {
        let allowed = *below < rank || SIDEWAYS.contains(&(name, dependency));
        return (!allowed)
            .then(|| format!("{name} (rank {rank}) -> {dependency} (rank {below}): not downward"));
    }
    if EDGE_ONLY.contains(&dependency) && rank < EDGE_RANK {
        return Some(format!("{name} (rank {rank}) -> {dependency}: HTTP stops at the edges"));
    }
    if name == PURE && PURE_BANS.contains(&dependency) {
        return Some(format!("{name} -> {dependency}: the rules of Matrix are pure"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packages written as "name: dependency dependency"; a dev-dependency starts with "dev/".
    fn check(packages: &[&str]) -> Vec<String> {
        let packages = packages
            .iter()
            .map(|line| {
                let (name, dependencies) = line.split_once(':').expect("test line has a colon");
                let dependencies = dependencies
                    .split_whitespace()
                    .map(|dependency| match dependency.strip_prefix("dev/") {
                        Some(name) => {
                            Dependency { name: name.to_owned(), kind: Some("dev".to_owned()) }
                        }
                        None => Dependency { name: dependency.to_owned(), kind: None },
                    })
                    .collect();
                Package { name: name.to_owned(), dependencies }
            })
            .collect();
        violations(&Metadata { packages })
    }

    #[test]
    fn downward_arrows_pass() {
        let found = check(&[
            "stdx: tokio",
            "storage: stdx fjall",
            "events: ruma",
            "rooms: events storage stdx tokio",
            "sync: rooms presence",
            "client-api: sync axum http",
            "meridian: client-api axum",
            "load: hyper",
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn sideways_and_upward_arrows_fail() {
        assert_eq!(check(&["rooms: accounts"]).len(), 1);
        assert_eq!(check(&["client-api: federation"]).len(), 1);
        assert_eq!(check(&["rooms: sync"]).len(), 1);
        assert_eq!(check(&["stdx: storage"]).len(), 1);
        assert_eq!(check(&["events: events"]).len(), 1);
    }

    #[test]
    fn dev_dependencies_are_free() {
        assert_eq!(check(&["rooms: dev/accounts dev/axum"]), Vec::<String>::new());
    }

    #[test]
    fn unplaced_crate_fails() {
        let found = check(&["gossip: stdx"]);
        assert_eq!(found, ["gossip: has no rank; place it in xtask/src/layers.rs"]);
    }

    #[test]
    fn tools_are_leaves() {
        assert_eq!(check(&["meridian: load"]).len(), 1);
        assert_eq!(check(&["load: xtask"]).len(), 1);
    }

    #[test]
    fn http_stops_at_the_edges_and_rules_are_pure() {
        assert_eq!(check(&["sync: axum"]).len(), 1);
        assert_eq!(check(&["accounts: http"]).len(), 1);
        assert_eq!(check(&["events: tokio"]).len(), 1);
    }
}
