//! The Debian packages that the checks need, installed only where they are missing. What Python and
//! Node packages the real clients need, `e2e/run` installs itself.

use std::process::{Command, Stdio};

use anyhow::bail;

use crate::checkout::{self, Checkout};

/// (a shell test that the thing is there, the package that brings it)
const NEEDED: &[(&str, &str)] = &[
    ("command -v cc", "gcc"),
    ("echo '#include <stdio.h>' | cc -E -", "libc6-dev"),
    ("command -v git", "git"),
    ("command -v timeout", "coreutils"),
    ("command -v prlimit", "util-linux"),
    ("command -v curl", "curl"),
    ("command -v openssl", "openssl"),
    ("command -v python3", "python3"),
    ("python3 -c 'import venv, ensurepip'", "python3-venv"),
    ("command -v node", "nodejs"),
    ("command -v npm", "npm"),
    ("command -v chromium", "chromium"),
    ("ls /usr/share/fonts/truetype/dejavu", "fonts-dejavu-core"),
];

/// What Synapse is measured with.
const NEEDED_TO_COMPARE: &[(&str, &str)] = &[
    ("command -v python3", "python3"),
    ("python3 -c 'import venv, ensurepip'", "python3-venv"),
    ("command -v prlimit", "util-linux"),
    ("ls /usr/lib/postgresql/15/bin/postgres", "postgresql-15"),
];

const NEEDED_TO_COUNT: &[(&str, &str)] = &[("command -v valgrind", "valgrind")];

pub(crate) fn install_to_count(checkout: &Checkout) -> anyhow::Result<()> {
    install_missing(checkout, NEEDED_TO_COUNT)
}

pub(super) fn install(checkout: &Checkout) -> anyhow::Result<()> {
    install_missing(checkout, NEEDED)
}

pub(crate) fn install_to_compare(checkout: &Checkout) -> anyhow::Result<()> {
    install_missing(checkout, NEEDED_TO_COMPARE)
}

fn install_missing(checkout: &Checkout, needed: &[(&str, &'static str)]) -> anyhow::Result<()> {
    let missing: Vec<_> =
        needed.iter().filter(|(test, _)| !holds(test)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("missing: {}", missing.join(" "));
    if !holds("command -v apt-get") {
        bail!("this is not Debian; install by hand: {}", missing.join(" "));
    }
    let become_root = if holds("test \"$(id -u)\" = 0") { "" } else { "sudo -n " };
    let install = format!(
        "{become_root}apt-get update -qq && {become_root}env DEBIAN_FRONTEND=noninteractive \
         apt-get install --yes -qq --no-install-recommends {}",
        missing.join(" ")
    );
    let mut command = checkout.command("sh");
    command.args(["-c", &install]);
    if !checkout::succeeds(&mut checkout.bounded(900, &command))? {
        bail!("apt-get failed");
    }
    Ok(())
}

fn holds(test: &str) -> bool {
    Command::new("sh")
        .args(["-c", test])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
