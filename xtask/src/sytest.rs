//! `cargo xtask sytest`: SyTest from a checkout of it, against the release build, compared with what
//! `sytest-config/results.txt` says was reached before.
//!
//! SyTest is not fetched here: it is another project's program, and `ci` leaves the step out where
//! no checkout is at hand. Some of its tests wait for less than they look for: the files of what does
//! not pass, and did, are run once more, and what passes then is reported as coming and going.

use std::{
    collections::BTreeSet,
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
/// More files than this do not fail by chance.
const RETRIED_FILES_MAX: usize = 10;

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
    let suite = Suite { checkout, sytest: arguments.checkout.canonicalize()?, artifacts };
    let (found, regressions) = suite.run(&arguments.files)?;
    if arguments.bless {
        fs::write(checkout.path(RESULTS), found.to_lines())?;
    }
    Ok(regressions.is_empty())
}

/// The step of `ci`: what passed before and does not now. `None` if there is no checkout of SyTest.
pub(crate) fn step(checkout: &Checkout, artifacts: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let Some(sytest) = std::env::var_os(CHECKOUT).map(PathBuf::from) else { return Ok(None) };
    let sytest = sytest.canonicalize().with_context(|| sytest.display().to_string())?;
    let suite = Suite { checkout, sytest, artifacts: artifacts.to_owned() };
    let (_, regressions) = suite.run(&[])?;
    Ok(Some(regressions))
}

/// Names of tests and their results, sorted. A few tests share a name.
struct Results(Vec<(String, String)>);

impl Results {
    fn parse(lines: &str) -> Self {
        let parts = lines.lines().filter_map(|line| line.rsplit_once(": "));
        Self(parts.map(|(name, result)| (name.to_owned(), result.to_owned())).collect())
    }

    fn to_lines(&self) -> String {
        self.0.iter().map(|(name, result)| format!("{name}: {result}\n")).collect()
    }

    /// Whether there is such a test, and all of the name pass.
    fn passes(&self, name: &str) -> bool {
        let mut named = self.0.iter().filter(|(other, _)| other == name).peekable();
        named.peek().is_some() && named.all(|(_, result)| result == "pass")
    }

    fn names(&self) -> BTreeSet<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    fn set_passed(&mut self, name: &str) {
        for (_, result) in self.0.iter_mut().filter(|(other, _)| other == name) {
            "pass".clone_into(result);
        }
    }

    fn passed(&self) -> usize {
        self.0.iter().filter(|(_, result)| result == "pass").count()
    }
}

struct Suite<'a> {
    checkout: &'a Checkout,
    sytest: PathBuf,
    artifacts: PathBuf,
}

impl Suite<'_> {
    /// What is found, and what passed before and does not. All tests if no files are named.
    fn run(&self, files: &[String]) -> anyhow::Result<(Results, Vec<String>)> {
        let before = fs::read_to_string(self.checkout.path(RESULTS)).context(RESULTS)?;
        let before = Results::parse(&before);
        let mut found = self.measure(files, "sytest")?;
        let mut failing = found.names();
        failing.retain(|name| before.passes(name) && !found.passes(name));
        for name in self.passing_now(&failing)? {
            println!("comes and goes: {name}");
            found.set_passed(&name);
        }
        let regressions = compare(&before, &found);
        Ok((found, regressions))
    }

    /// Those of the tests that pass when their files are run once more.
    fn passing_now(&self, failing: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
        let listed = fs::read_to_string(self.artifacts.join("sytest.files"))?;
        let of_failing = listed.lines().filter_map(|line| line.split_once('\t'));
        let of_failing = of_failing.filter(|(_, name)| failing.contains(*name));
        let files: BTreeSet<&str> = of_failing.map(|(file, _)| file).collect();
        if files.is_empty() || files.len() > RETRIED_FILES_MAX {
            return Ok(Vec::new());
        }
        let files: Vec<String> = files.into_iter().map(str::to_owned).collect();
        let again = self.measure(&files, "sytest-again")?;
        Ok(failing.iter().filter(|name| again.passes(name)).cloned().collect())
    }

    /// Runs the tests. `name` is of the files in `artifacts` that tell how it went.
    fn measure(&self, files: &[String], name: &str) -> anyhow::Result<Results> {
        let work = self.checkout.path("target/sytest");
        fs::create_dir_all(&work)?;
        let listed = self.artifacts.join(format!("{name}.files"));
        fs::write(&listed, "")?;
        let mut command = Command::new("perl");
        command
            .args(["-I", "lib", "run-tests.pl", "-I", "Meridian", "-O", "tap", "--all"])
            .arg("--meridian-binary")
            .arg(Binaries::at(self.checkout).server)
            .arg("--work-directory")
            .arg(&work)
            .args(test_files(&self.sytest, files)?)
            .env("SYTEST_PLUGINS", self.checkout.path("sytest-config"))
            .env("MERIDIAN_TEST_FILES", &listed);
        let tap = self.artifacts.join(format!("{name}.tap"));
        let mut bounded = self.checkout.bounded(2400, &command);
        bounded.current_dir(&self.sytest);
        // It ends with an error if a single test fails; the comparison decides instead.
        if let Err(error) = checkout::logged(&mut bounded, &tap) {
            println!("SyTest: {error}");
        }
        let mut results = self.checkout.command("sytest-config/results.py");
        let output = results.arg(&tap).output().context("sytest-config/results.py")?;
        let found = String::from_utf8(output.stdout)?;
        if !output.status.success() || found.trim().is_empty() {
            bail!("SyTest ran no test (see {}); are its Perl modules installed?", tap.display());
        }
        Ok(Results::parse(&found))
    }
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
fn compare(before: &Results, found: &Results) -> Vec<String> {
    let mut regressions = found.names();
    regressions.retain(|name| before.passes(name) && !found.passes(name));
    for name in &regressions {
        println!("passed before: {name}");
    }
    for name in found.names().iter().filter(|name| found.passes(name) && !before.passes(name)) {
        println!("passes now: {name}");
    }
    let (passed, all) = (found.passed(), found.0.len());
    println!("SyTest: {passed} of {all} pass; {} that passed do not", regressions.len());
    regressions.into_iter().collect()
}
