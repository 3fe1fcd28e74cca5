//! The server is killed and started again while one user syncs, one writes and one is away.

use std::time::Duration;

use anyhow::{Result, ensure};
use matrix_sdk::ruma::RoomId;
use tokio::process::Command;

use crate::{World, person::Person};

const CRASH: Duration = Duration::from_secs(90);
const EACH: usize = 5;

impl World {
    pub(crate) async fn survive_a_crash(&mut self, restart_command: &str) {
        let Self { step, alice, bob, carol, .. } = self;
        let Some(group) = self.group.clone() else { return };
        let part = |when| (0..EACH).map(move |number| format!("storm {when} {number}"));
        let (before, during, after): (Vec<_>, Vec<_>, Vec<_>) =
            (part("before").collect(), part("during").collect(), part("after").collect());
        let expected = [before.clone(), during.clone(), after.clone()].concat();

        step.within(CRASH, "send before, during and after a crash of the server", async {
            say_all(bob, &group, &before).await?;
            let restart =
                async { Ok(Command::new("sh").arg("-c").arg(restart_command).status().await?) };
            let watch = alice.until("what was sent before the crash", async |alice: &Person| {
                (alice.bodies(&group, "storm ").len() > EACH).then_some(())
            });
            let (status, (), ()) = tokio::try_join!(restart, say_all(bob, &group, &during), watch)?;
            ensure!(status.success(), "the restart command failed");
            say_all(bob, &group, &after).await
        })
        .await;
        step.run("who synced through the crash missed nothing", arrive(alice, &group, &expected))
            .await;
        step.run(
            "who came back with an old token missed nothing",
            arrive(carol, &group, &expected),
        )
        .await;
        step.run("no event was delivered twice", async {
            for person in [alice, bob, carol] {
                ensure!(
                    person.duplicates().is_empty(),
                    "{} got {:?} again",
                    person.name,
                    person.duplicates()
                );
            }
            Ok(())
        })
        .await;
    }
}

async fn say_all(bob: &Person, group: &RoomId, bodies: &[String]) -> Result<()> {
    for body in bodies {
        bob.say(group, body).await?;
    }
    Ok(())
}

async fn arrive(person: &mut Person, group: &RoomId, expected: &[String]) -> Result<()> {
    person
        .until("all messages", async |person: &Person| {
            (person.bodies(group, "storm ").len() >= expected.len()).then_some(())
        })
        .await?;
    let got = person.bodies(group, "storm ");
    ensure!(got == expected, "got {got:?}");
    Ok(())
}
