//! Three users of matrix-rust-sdk live through a day on a homeserver: rooms, messages, history, a crash, log-out.

mod chat;
mod crash;
mod notices;
mod person;
mod rooms;
mod steps;

use std::{env, process::ExitCode};

use anyhow::{Context, Result, bail};
use matrix_sdk::ruma::{OwnedRoomId, TransactionId, api::error::ErrorKind};
use person::Person;
use steps::{ScenarioOver, Steps};

/// What all parts of the scenario share.
pub(crate) struct World {
    pub(crate) step: Steps,
    pub(crate) alice: Person,
    pub(crate) bob: Person,
    pub(crate) carol: Person,
    pub(crate) direct: Option<OwnedRoomId>,
    pub(crate) group: Option<OwnedRoomId>,
}

#[derive(Default)]
struct Arguments {
    server: String,
    restart_command: Option<String>,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self::default();
        let mut arguments = env::args().skip(1);
        while let Some(flag) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--server" => parsed.server = value,
                "--restart-cmd" => parsed.restart_command = Some(value),
                "--artifacts" => {} // this client shows nothing
                other => bail!("unknown option {other}"),
            }
        }
        Ok(parsed)
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse()?;
    let suffix = TransactionId::new().as_str().replace('-', "")[..10].to_owned();
    let server = &arguments.server;
    let mut world = World {
        step: Steps::default(),
        alice: Person::new(server, &format!("alice-rust-{suffix}")).await?,
        bob: Person::new(server, &format!("bob-rust-{suffix}")).await?,
        carol: Person::new(server, &format!("carol-rust-{suffix}")).await?,
        direct: None,
        group: None,
    };
    // An early end is already counted as a failure of the step that caused it.
    let _ = world.live(arguments.restart_command.as_deref()).await;
    Ok(if world.step.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl World {
    async fn live(&mut self, restart_command: Option<&str>) -> Result<(), ScenarioOver> {
        self.arrive().await?;
        self.make_rooms().await?;
        self.talk().await?;
        self.notice_each_other().await;
        if let Some(command) = restart_command {
            self.survive_a_crash(command).await;
        }
        self.leave().await;
        Ok(())
    }

    async fn arrive(&mut self) -> Result<(), ScenarioOver> {
        let Self { step, alice, bob, carol, .. } = self;
        step.essential("register three users in two rounds", async {
            for person in [&alice, &bob, &carol] {
                person.register().await?;
            }
            Ok(())
        })
        .await?;
        step.essential("log in and sync", async {
            for person in [alice, bob, carol] {
                person.log_in().await?;
                person.sync(Default::default()).await?;
            }
            Ok(())
        })
        .await
    }

    async fn leave(&mut self) {
        let bob = &mut self.bob;
        self.step
            .run("log out; the token is dead", async {
                bob.client.logout().await?;
                let Err(error) = bob.client.whoami().await else {
                    bail!("the token still works after the log-out");
                };
                match error.client_api_error_kind() {
                    Some(ErrorKind::UnknownToken { .. }) => Ok(()),
                    _ => bail!("instead of M_UNKNOWN_TOKEN: {error}"),
                }
            })
            .await;
    }
}
