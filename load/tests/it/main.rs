//! The model of power loss, run for real: a victim is killed and its files are looked at.

use std::process::Command;

#[test]
fn power_loss_drops_what_was_not_synced_and_keeps_what_was() {
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .arg("powerloss-check")
        .output()
        .expect("the load tool runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}
