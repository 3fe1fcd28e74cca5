//! The release server and the load tool, and `cargo xtask crash`, which builds and runs them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use clap::{Args, ValueEnum};

use crate::checkout::{self, Checkout};

const ENGINES: [&str; 2] = ["fjall", "sled"];

#[derive(Args)]
pub(crate) struct CrashArguments {
    /// How many times the server is killed, for each engine and mode
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// One engine only: fjall or sled
    #[arg(long)]
    engine: Option<String>,
    #[arg(long, value_enum, default_value_t = Mode::Both)]
    mode: Mode,
    /// Replay the moments of an earlier run
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The process dies; what it wrote stays
    Kill,
    /// The machine dies; every byte that was not synced is gone
    Power,
    Both,
}

/// The release binaries.
pub(crate) struct Binaries {
    pub(crate) server: PathBuf,
    pub(crate) load: PathBuf,
}

impl Binaries {
    pub(crate) fn at(checkout: &Checkout) -> Self {
        let directory = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| checkout.path("target"), PathBuf::from)
            .join("release");
        Self { server: directory.join("meridian"), load: directory.join("load") }
    }

    pub(crate) fn build_command(checkout: &Checkout) -> Command {
        checkout.cargo(&["build", "--release", "--package=meridian", "--package=load"])
    }

    pub(crate) fn bench_command(&self, checkout: &Checkout, arguments: &[String]) -> Command {
        let mut command = checkout.command(&self.load.to_string_lossy());
        command.args(["bench", "--server-bin"]).arg(&self.server).args(arguments);
        command
    }

    pub(crate) fn join_command(&self, checkout: &Checkout, arguments: &[String]) -> Command {
        let mut command = checkout.command(&self.load.to_string_lossy());
        command.args(["join", "--server-bin"]).arg(&self.server).args(arguments);
        command
    }

    pub(crate) fn crash_command(
        &self,
        checkout: &Checkout,
        engine: &str,
        rounds: u32,
        drop_unsynced: bool,
    ) -> Command {
        let mut command = checkout.command(&self.load.to_string_lossy());
        command.args(["crash", "--server-bin"]).arg(&self.server);
        command.args(["--engine", engine, "--rounds", &rounds.to_string()]);
        if drop_unsynced {
            command.arg("--drop-unsynced");
        }
        command
    }
}

pub(crate) fn crash(checkout: &Checkout, arguments: &CrashArguments) -> anyhow::Result<bool> {
    if !checkout::succeeds(&mut Binaries::build_command(checkout))? {
        return Ok(false);
    }
    let binaries = Binaries::at(checkout);
    let engines = ENGINES
        .into_iter()
        .filter(|engine| arguments.engine.as_deref().is_none_or(|wanted| wanted == *engine));
    let mut passed = true;
    for engine in engines {
        for drop_unsynced in modes(arguments.mode) {
            let mut command =
                binaries.crash_command(checkout, engine, arguments.rounds, *drop_unsynced);
            if let Some(seed) = arguments.seed {
                command.args(["--seed", &seed.to_string()]);
            }
            passed &= checkout::succeeds(&mut command)?;
        }
    }
    Ok(passed)
}

/// Whether un-synced bytes are dropped, for each run of a mode.
fn modes(mode: Mode) -> &'static [bool] {
    match mode {
        Mode::Kill => &[false],
        Mode::Power => &[true],
        Mode::Both => &[false, true],
    }
}

/// Where the load tool writes what it measured.
pub(crate) fn json_arguments(file: &Path) -> [String; 2] {
    ["--json".to_owned(), file.to_string_lossy().into_owned()]
}
