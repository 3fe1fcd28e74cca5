//! The command line.

mod admin;
mod gateway;
mod listeners;
mod serve;
mod store;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;

/// A Matrix homeserver for one region of a very large chat system.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// The configuration file; `meridian.toml` is used if it exists.
    #[arg(long, global = true, env = "MERIDIAN_CONFIG")]
    config: Option<PathBuf>,
    /// How many gateways to start, in place of the configuration's `processes`.
    #[arg(long, global = true)]
    gateways: Option<u16>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the region (what happens without a command).
    Serve,
    /// Hold clients' connections for a region that is another process of this machine.
    Gateway(gateway::Options),
    /// Create and change users; works while the region runs, too.
    #[command(subcommand)]
    User(UserCommand),
    /// Registration tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// What users reported; works while the region runs, too.
    Reports {
        /// Forget what is printed.
        #[arg(long)]
        forget: bool,
    },
    /// Push notifications.
    #[command(subcommand)]
    Push(PushCommand),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write everything into one file; works while the region runs, too.
    Backup { file: PathBuf },
    /// Read a backup into an empty data directory.
    Restore { file: PathBuf },
    /// Read every row of the data, or of a backup, and say whether it is whole.
    Verify {
        /// A backup; the data directory if left out.
        file: Option<PathBuf>,
    },
    /// Write the data out anew without what was overwritten or deleted, and print what each table
    /// takes on disk. The region must not be running; needs as much free space as the largest table.
    Compact,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user. The password is read from standard input unless it is given.
    Create {
        name: String,
        #[arg(long)]
        password: Option<String>,
        /// Make the user an administrator.
        #[arg(long)]
        admin: bool,
    },
    /// Change a password and log the user out everywhere.
    Password {
        name: String,
        #[arg(long)]
        password: Option<String>,
    },
    /// Close an account for good: log it out, leave its rooms.
    Deactivate {
        name: String,
        /// Forget the profile as well.
        #[arg(long)]
        erase: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a registration token and print it.
    Create {
        /// Its text; drawn if left out.
        token: Option<String>,
        /// How often it can be used.
        #[arg(long)]
        uses: Option<u32>,
        /// For how many hours.
        #[arg(long)]
        hours: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PushCommand {
    /// List what never arrived at its gateway, the newest first.
    Dead {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration is valid.
    Check,
    /// Print an annotated example with every key.
    Example,
}

/// Runs the command.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(Command::Config(ConfigCommand::Example)) = cli.command {
        print!("{}", Config::example());
        return Ok(());
    }
    let mut config = Config::load(cli.config.as_deref())?;
    if let Some(processes) = cli.gateways {
        config.gateways.processes = processes;
    }
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&serve::Options { config, file: cli.config }),
        Command::Gateway(options) => gateway::run(&config, &options),
        Command::User(command) => admin::user(&config, command),
        Command::Token(command) => admin::token(&config, command),
        Command::Push(command) => admin::push(&config, command),
        Command::Reports { forget } => admin::reports(&config, forget),
        Command::Config(_) => {
            println!("the configuration is valid");
            Ok(())
        }
        Command::Backup { file } => store::backup(&config, &file),
        Command::Restore { file } => store::restore(&config, &file),
        Command::Verify { file } => store::verify(&config, file.as_deref()),
        Command::Compact => store::compact(&config),
    }
}

/// The runtime of every command.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Resolves when the process is asked to end.
async fn stop_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM is not watched");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => (),
        interrupted = tokio::signal::ctrl_c() => {
            if let Err(error) = interrupted {
                tracing::warn!(%error, "SIGINT is not watched");
                std::future::pending::<()>().await;
            }
        }
    }
}
