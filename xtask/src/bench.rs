//! `cargo xtask bench`: measures the release build, alone or beside Synapse, and writes the page about
//! it.

use std::fs;

use clap::{Args, ValueEnum};

use crate::{
    checkout::{self, Checkout},
    ci::packages,
    costs,
    load::{self, Binaries},
};

/// Kills of the same build that must lose nothing.
const CRASH_ROUNDS: u32 = 20;
const SYNAPSE: &str = "e2e/synapse";
const VENV: &str = "target/tools/synapse";
const RESULTS: &str = "docs/performance";
const PAGE: &str = "docs/performance.md";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Measure another server in turn with Meridian, over the standard API
    #[arg(long, value_enum)]
    against: Option<Peer>,
    /// Measure Meridian alone and kill it too, and write docs/performance.md
    #[arg(long, requires = "against")]
    write: bool,
    #[arg(last = true)]
    passed_on: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// Installed from the Python index, with PostgreSQL from Debian
    Synapse,
}

pub(crate) fn run(checkout: &Checkout, arguments: &Arguments) -> anyhow::Result<bool> {
    if !checkout::succeeds(&mut Binaries::build_command(checkout))? {
        return Ok(false);
    }
    let binaries = Binaries::at(checkout);
    match arguments.against {
        None => checkout::succeeds(&mut binaries.bench_command(checkout, &arguments.passed_on)),
        Some(Peer::Synapse) => Ok(against_synapse(checkout, &binaries, arguments)?
            && (!arguments.write || write(checkout, &binaries)?)),
    }
}

fn against_synapse(
    checkout: &Checkout,
    binaries: &Binaries,
    arguments: &Arguments,
) -> anyhow::Result<bool> {
    packages::install_to_compare(checkout)?;
    let venv = checkout.path(VENV);
    fs::create_dir_all(&venv)?;
    let mut install = checkout.command("python3");
    install.args([SYNAPSE, "--venv"]).arg(&venv).arg("install");
    if !checkout::succeeds(&mut install)? {
        return Ok(false);
    }
    let mut compare = checkout.command(&binaries.load.to_string_lossy());
    compare.args(["compare", "--server-bin"]).arg(&binaries.server);
    compare.args(["--synapse", SYNAPSE, "--venv"]).arg(&venv).args(&arguments.passed_on);
    if arguments.write {
        compare.args(["--output", RESULTS]);
    }
    checkout::succeeds(&mut compare)
}

/// The same build alone, whether it loses what it acknowledged, and the page.
fn write(checkout: &Checkout, binaries: &Binaries) -> anyhow::Result<bool> {
    let json = load::json_arguments(&checkout.path(RESULTS).join("bench.json"));
    let mut page = checkout.command(&binaries.load.to_string_lossy());
    page.args(["page", RESULTS, "--output", PAGE]);
    let mut presence = costs::presence_command(checkout)?;
    presence.args(["--json", &format!("{RESULTS}/presence.json")]);
    Ok(checkout::succeeds(&mut binaries.bench_command(checkout, &json))?
        && checkout::succeeds(&mut presence)?
        && checkout::succeeds(&mut binaries.crash_command(checkout, "fjall", CRASH_ROUNDS, false))?
        && checkout::succeeds(&mut page)?)
}
