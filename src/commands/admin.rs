//! `meridian user …`, `meridian token …`, `meridian push …`: by the running region if there is one, else on its data.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;
use stdx::Clock as _;

use super::{PushCommand, TokenCommand, UserCommand, runtime};
use crate::{
    admin::{self, Answer, Request},
    config::Config,
    wiring::Region,
};

const HOUR_MS: u64 = 60 * 60 * 1000;

pub(super) fn user(config: &Config, command: UserCommand) -> anyhow::Result<()> {
    let request = match command {
        UserCommand::Create { name, password, admin } => {
            Request::CreateUser { localpart: name, password: ask(password)?, admin }
        }
        UserCommand::Password { name, password } => {
            Request::SetPassword { user: name, password: ask(password)? }
        }
        UserCommand::Deactivate { name, erase } => Request::Deactivate { user: name, erase },
    };
    carry_out(config, request, |_| ())
}

pub(super) fn token(config: &Config, command: TokenCommand) -> anyhow::Result<()> {
    let TokenCommand::Create { token, uses, hours } = command;
    let expires_at = hours.map(|hours| stdx::SystemClock.now_ms() + hours * HOUR_MS);
    carry_out(config, Request::CreateToken { token, uses, expires_at }, |_| ())
}

pub(super) fn reports(config: &Config, forget: bool) -> anyhow::Result<()> {
    carry_out(config, Request::Reports { forget }, |_| ())
}

pub(super) fn push(config: &Config, command: PushCommand) -> anyhow::Result<()> {
    let PushCommand::Dead { limit } = command;
    carry_out(config, Request::DeadPushes { limit }, |_| ())
}

/// Prints the outcome's line.
pub(super) fn carry_out(
    config: &Config,
    request: Request,
    progress: impl FnMut(Answer) + Send + 'static,
) -> anyhow::Result<()> {
    let line = runtime()?.block_on(async {
        match Region::open(config, None).await {
            Ok(region) => {
                let outcome = admin::execute(&region.state, request, progress).await;
                region.close().await;
                outcome
            }
            Err(error) if is_locked(&error) => {
                admin::request(&config.data_dir, &request, progress).await
            }
            Err(error) => Err(error),
        }
    })?;
    println!("{line}");
    Ok(())
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(storage::OpenError::Locked(_)))
}

/// A password from the argument, or else a line from standard input.
fn ask(given: Option<String>) -> anyhow::Result<String> {
    if let Some(password) = given {
        return Ok(password);
    }
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("password: ");
        std::io::stderr().flush()?;
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line).context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
