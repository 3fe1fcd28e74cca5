//! The tools, tried on a toy region: they pass one that keeps its promises, and each broken promise
//! is found.

use std::process::Command;

/// Runs `load crash` on the toy and returns whether it passed, and what it printed.
fn crash(fault: &str, arguments: &[&str]) -> (bool, String) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["crash", "--rounds=2", "--seed=7", "--server-bin", env!("CARGO_BIN_EXE_toy_region")])
        .arg("--directory")
        .arg(directory.path().join("run"))
        .args(arguments)
        .env("TOY_FAULT", fault)
        .output()
        .expect("the load tool runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Runs `load transactions` on the toy.
fn transactions(fault: &str) -> (bool, String) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["transactions", "--kills=3", "--seed=7"])
        .args(["--server-bin", env!("CARGO_BIN_EXE_toy_region")])
        .env("TOY_FAULT", fault)
        .env("TMPDIR", directory.path())
        .output()
        .expect("the load tool runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The number before a word in the closing line of a run.
fn count(text: &str, word: &str) -> u64 {
    let line = text
        .lines()
        .find(|line| line.contains("all rounds") || line.contains(" kills: "))
        .unwrap_or_else(|| {
            panic!("no closing line in {text}");
        });
    let (before, _) = line.split_once(&format!(" {word}")).expect("the word is in the line");
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn power_loss_drops_what_was_not_synced_and_keeps_what_was() {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .arg("powerloss-check")
        .output()
        .expect("the load tool runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn region_that_keeps_its_promises_passes() {
    for arguments in [&[][..], &["--drop-unsynced"]] {
        let (passed, text) = crash("", arguments);
        assert!(passed, "{text}");
        assert!(count(&text, "acknowledged") > 0, "{text}");
    }
}

#[test]
fn answer_before_the_sync_is_found_by_power_loss_only() {
    let (passed, text) = crash("answer-before-sync", &[]);
    assert!(passed, "{text}");
    // The toy's rooms are not synced either, so the run may end before it can count.
    let (passed, text) = crash("answer-before-sync", &["--drop-unsynced"]);
    assert!(!passed, "{text}");
}

#[test]
fn answer_before_the_write_is_found() {
    let (passed, text) = crash("answer-before-write", &[]);
    assert!(!passed, "{text}");
    assert!(count(&text, "lost") > 0, "{text}");
}

#[test]
fn forgotten_transactions_are_found() {
    let (passed, text) = crash("forget-transactions", &[]);
    assert!(!passed, "{text}");
    assert!(count(&text, "duplicated") > 0, "{text}");
}

#[test]
fn repeated_delivery_is_found() {
    let (passed, text) = crash("repeat", &[]);
    assert!(!passed, "{text}");
    assert!(count(&text, "repeated") > 0, "{text}");
}

#[test]
fn what_a_peer_was_answered_for_is_still_there() {
    let (passed, text) = transactions("");
    assert!(passed, "{text}");
    assert!(count(&text, "events") > 0, "{text}");
}

#[test]
fn an_answer_to_a_peer_before_the_write_is_found() {
    let (passed, text) = transactions("answer-before-write");
    assert!(!passed, "{text}");
    assert!(count(&text, "lost") > 0, "{text}");
}

#[test]
fn an_event_that_is_taken_twice_is_found() {
    let (passed, text) = transactions("forget-transactions");
    assert!(!passed, "{text}");
    assert!(count(&text, "doubled") > 0, "{text}");
}
