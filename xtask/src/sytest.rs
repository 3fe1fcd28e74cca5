//! `cargo xtask sytest`: SyTest from a checkout of it, against the release build, compared with what
//! `sytest-config/results.txt` says was reached before.
//!
//! SyTest is not fetched here: it is another project's program, and `ci` leaves the step out where
//! no checkout is at hand.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::{
    checkout::{self, Checkout},
    load::Binaries,
};

/// Names the checkout for `ci`.
const CHECKOUT: &str = "SYTEST";
const RESULTS: &str = "sytest-config/results.txt";

#[derive(Args)]
pub(crate) struct Arguments {
    /// A checkout of SyTest, with its Perl modules installed
    #[arg(long, env = CHECKOUT)]
    checkout: PathBuf,
    /// Write what was reached to sytest-config/results.txt
    #[arg(long, conflicts_with = "files")]
    bless: bool,
    /// Files or folders of tests, as `tests/31sync`; all if none is given
    files: Vec<String>,
}

/// True if every test that passed before passes.
pub(crate) fn run(checkout: &Checkout, arguments: &Arguments) -> anyhow::Result<bool> {
    if !checkout::succeeds(&mut Binaries::build_command(checkout))? {
        bail!("the release build failed");
    }
    let artifacts = checkout.path("artifacts");
    fs::create_dir_all(&artifacts)?;
    let found = measure(checkout, &arguments.checkout, &arguments.files, &artifacts)?;
    let regressions = compare(checkout, &found)?;
    if arguments.bless {
        fs::write(checkout.path(RESULTS), found)?;
    }
    Ok(regressions.is_empty())
}

/// The step of `ci`: what passed before and does not now. `None` if there is no checkout of SyTest.
pub(crate) fn step(checkout: &Checkout, artifacts: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let Some(sytest) = std::env::var_os(CHECKOUT).map(PathBuf::from) else { return Ok(None) };
    let found = measure(checkout, &sytest, &[], artifacts)?;
    compare(checkout, &found).map(Some)
}

/// Runs the tests; one sorted line for each.
fn measure(
    checkout: &Checkout,
    sytest: &Path,
    files: &[String],
    artifacts: &Path,
) -> anyhow::Result<String> {
    let sytest = sytest.canonicalize().with_context(|| sytest.display().to_string())?;
    let work = checkout.path("target/sytest");
    fs::create_dir_all(&work)?;
    let mut command = Command::new("perl");
    command
        .args(["-I", "lib", "run-tests.pl", "-I", "Meridian", "-O", "tap", "--all"])
        .arg("--meridian-binary")
        .arg(Binaries::at(checkout).server)
        .arg("--work-directory")
        .arg(&work)
        .args(test_files(&sytest, files)?)
        .env("SYTEST_PLUGINS", checkout.path("sytest-config"));
    let tap = artifacts.join("sytest.tap");
    let mut bounded = checkout.bounded(2400, &command);
    bounded.current_dir(&sytest);
    // It ends with an error if a single test fails; the comparison decides instead.
    if let Err(error) = checkout::logged(&mut bounded, &tap) {
        println!("SyTest: {error}");
    }
    let mut results = checkout.command("sytest-config/results.py");
    let output = results.arg(&tap).output().context("sytest-config/results.py")?;
    let found = String::from_utf8(output.stdout)?;
    if !output.status.success() || found.trim().is_empty() {
        bail!("SyTest ran no test (see {}); are its Perl modules installed?", tap.display());
    }
    Ok(found)
}

/// SyTest takes files only.
fn test_files(sytest: &Path, files: &[String]) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        let path = sytest.join(file);
        if !path.is_dir() {
            all.push(file.clone());
            continue;
        }
        let mut inside: Vec<String> = fs::read_dir(&path)?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".pl"))
            .map(|name| format!("{file}/{name}"))
            .collect();
        inside.sort_unstable();
        all.extend(inside);
    }
    Ok(all)
}

/// Tests that passed before and do not pass now, and how many pass, on the terminal.
fn compare(checkout: &Checkout, found: &str) -> anyhow::Result<Vec<String>> {
    let before = fs::read_to_string(checkout.path(RESULTS)).context(RESULTS)?;
    let (before, found) = (by_name(&before), by_name(found));
    let regressions: Vec<String> = found
        .iter()
        .filter(|(name, result)| **result != "pass" && before.get(*name) == Some(&"pass"))
        .map(|(name, result)| format!("{name}: {result}"))
        .collect();
    for regression in &regressions {
        println!("passed before: {regression}");
    }
    for (name, _) in found.iter().filter(|(name, result)| {
        **result == "pass" && before.get(*name).is_some_and(|before| *before != "pass")
    }) {
        println!("passes now: {name}");
    }
    let passed = found.values().filter(|result| **result == "pass").count();
    println!("SyTest: {passed} of {} pass; {} that passed do not", found.len(), regressions.len());
    Ok(regressions)
}

fn by_name(lines: &str) -> BTreeMap<&str, &str> {
    lines.lines().filter_map(|line| line.rsplit_once(": ")).collect()
}
