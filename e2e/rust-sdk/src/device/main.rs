//! One device of matrix-rust-sdk with encryption over sliding sync, as Element X has it. It does what the lines on
//! standard input say.
//!
//! A line is `{"id", "do", "with"}`; the answer `{"id", "ok"}` or `{"id", "error"}`. The store of the device outlives the
//! process.

mod command;
mod encryption;
mod rooms;
mod session;
mod verification;
mod window;

use std::{env, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    time::{Instant, sleep},
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    command::{Command, Line},
    session::{Device, Home},
};

const PATIENCE: Duration = Duration::from_secs(28);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> Result<()> {
    // What the SDK says goes to standard error, which the scenario keeps.
    let sdk = Targets::new().with_target("matrix_sdk", LevelFilter::DEBUG);
    let log = fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_filter(sdk);
    tracing_subscriber::registry().with(log).init();
    let mut device = Device::new(home()?);
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let Line { id, command } = serde_json::from_str(&line).context(line)?;
        println!(
            "{}",
            match Box::pin(obey(&mut device, command)).await {
                Ok(ok) => json!({ "id": id, "ok": ok }),
                Err(error) => json!({ "id": id, "error": format!("{error:#}") }),
            }
        );
    }
    device.stop().await;
    Ok(())
}

fn home() -> Result<Home> {
    let (mut store, mut authority) = (None, None);
    let mut arguments = env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--store" => store = Some(value.into()),
            "--ca" => authority = Some(value.into()),
            other => bail!("unknown option {other}"),
        }
    }
    let (store, authority) = store.zip(authority).context("--store and --ca are needed")?;
    Ok(Home { store, authority })
}

async fn obey(device: &mut Device, command: Command) -> Result<Value> {
    use Command as C;
    Ok(match command {
        C::LogIn { server, name } => device.log_in(&server, &name).await?,
        C::Resume(session) => done(device.resume(session).await?),
        C::Sync {} => done(device.start_sync().await?),
        C::LogOut {} => done(device.log_out().await?),
        C::SetUpEncryption {} => device.set_up_encryption().await?,
        C::Recover { recovery_key } => done(device.recover(&recovery_key).await?),
        C::UntilKnows { user, device: id } => done(device.until_knows(&user, &id).await?),
        C::UntilTrusts { user, devices } => done(device.until_trusts(&user, &devices).await?),
        C::AskToVerify { user, room } => device.ask_to_verify(&user, room.as_deref()).await?,
        C::AnswerVerification { user, flow } => {
            done(device.answer_verification(&user, &flow).await?)
        }
        C::StartSas {} => done(device.start_sas().await?),
        C::Emojis {} => device.emojis().await?,
        C::UntilMac {} => done(device.until_mac().await?),
        C::Confirm {} => done(device.confirm().await?),
        C::UntilVerified {} => done(device.until_verified().await?),
        C::CreateRoom { name, invite } => device.create_room(&name, invite).await?,
        C::Join { room } => done(device.join(&room).await?),
        C::UntilJoined { room, members } => done(device.until_joined(&room, members).await?),
        C::Say { room, body } => device.say(&room, &body).await?,
        C::Hear { room, event } => device.hear(&room, &event).await?,
        C::ReadBack { room } => device.read_back(&room).await?,
        C::WalkRoomList {} => device.walk_room_list().await?,
        C::UntilTop { room } => done(device.until_top(&room).await?),
        C::SetPusher { url, pushkey } => done(device.set_pusher(url, pushkey).await?),
        C::Notification { room, event } => device.notification(&room, &event).await?,
    })
}

fn done((): ()) -> Value {
    Value::Null
}

/// Waits for a fact that nothing announces.
async fn eventually<T>(what: &str, mut holds: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = holds().await? {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("never saw {what}");
        }
        sleep(LOOK_AGAIN).await;
    }
}
