//! The commands of an operator, carried out by whoever has the store open.
//!
//! A running region has its data directory to itself, so `meridian user create` cannot open it: it
//! asks the region over a socket in that directory, which only the directory's owner can reach.
//! One request is one line of JSON; answers are lines too, the last one being the outcome.

mod client;
mod server;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ruma::OwnedUserId;
use serde::{Deserialize, Serialize};
use storage::dump::{self, Progress};

pub(crate) use self::{client::request, server::listen};
use crate::app_state::AppState;

/// Lines of one answer.
const DEAD_PUSHES_MAX: usize = 10_000;

/// Where the socket is.
pub(crate) fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    CreateUser { localpart: String, password: String, admin: bool },
    SetPassword { user: String, password: String },
    Deactivate { user: String, erase: bool },
    CreateToken { token: Option<String>, uses: Option<u32>, expires_at: Option<u64> },
    DeadPushes { limit: usize },
    Backup { file: PathBuf },
    Reports { forget: bool },
    Verify,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Long work goes on.
    Progress {
        rows: u64,
        bytes: u64,
        table: String,
    },
    /// It is done; a line for the operator.
    Done(String),
    Failed(String),
}

/// Carries a request out. `progress` is told how long work goes on.
pub(crate) async fn execute(
    state: &AppState,
    request: Request,
    progress: impl FnMut(Answer) + Send + 'static,
) -> anyhow::Result<String> {
    match request {
        Request::CreateUser { localpart, password, admin } => {
            let new = accounts::NewUser {
                localpart: Some(&localpart),
                password: Some(&password),
                admin,
                ..accounts::NewUser::default()
            };
            let user = state.accounts.register(new).await?;
            Ok(format!("created {}", user.user_id))
        }
        Request::SetPassword { user, password } => {
            let user = existing(state, &user).await?;
            state.accounts.set_password(&user, &password, accounts::EndSessions::All).await?;
            Ok(format!("changed the password of {user} and logged it out everywhere"))
        }
        Request::Deactivate { user, erase } => {
            let user = existing(state, &user).await?;
            let AppState { accounts, devices, rooms, .. } = state;
            client_api::close_account(accounts, devices, rooms, &user, erase).await?;
            Ok(format!("deactivated {user}"))
        }
        Request::CreateToken { token, uses, expires_at } => {
            let new = accounts::NewRegistrationToken { token, uses_allowed: uses, expires_at };
            let token = state.accounts.create_registration_token(new).await?;
            Ok(token.token)
        }
        Request::DeadPushes { limit } => dead_pushes(state, limit).await,
        Request::Backup { file } => backup(state, file, progress).await,
        Request::Reports { forget } => reports(state, forget).await,
        Request::Verify => verify(state, progress).await,
    }
}

/// A line for each.
async fn reports(state: &AppState, forget: bool) -> anyhow::Result<String> {
    let accounts = &state.accounts;
    let reports = if forget { accounts.take_reports().await? } else { accounts.reports().await? };
    let lines = reports.iter().map(|report| {
        let what = match &report.reported {
            accounts::Reported::Room(room) => format!("room {room}"),
            accounts::Reported::Event(room, event) => format!("event {event} in {room}"),
            accounts::Reported::User(user) => format!("user {user}"),
        };
        let reason = report.reason.as_deref().unwrap_or_default();
        // Whoever wrote the reason does not decide where a line ends.
        format!("{} {} reports {what}: {reason:?}", report.ts, report.reporter)
    });
    let lines: Vec<_> = lines.collect();
    Ok(if lines.is_empty() { "nothing was reported".to_owned() } else { lines.join("\n") })
}

async fn existing(state: &AppState, user: &str) -> anyhow::Result<OwnedUserId> {
    let user_id =
        state.accounts.user_id(user).with_context(|| format!("{user:?} is not a user name"))?;
    match state.accounts.user(&user_id).await? {
        Some(_) => Ok(user_id),
        None => bail!("there is no user {user_id}"),
    }
}

/// A line for each.
async fn dead_pushes(state: &AppState, limit: usize) -> anyhow::Result<String> {
    let dead = state.push.dead_letters(limit.min(DEAD_PUSHES_MAX)).await?;
    if dead.is_empty() {
        return Ok("every push arrived".to_owned());
    }
    let lines = dead.iter().map(|(ts, letter)| dead_push(*ts, letter));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// When it was given up, whose it was, what it was about, where it should have gone.
fn dead_push(ts: u64, letter: &push::DeadLetter) -> String {
    let push::DeadLetter { user_id, app_id, room_id, event_id, gateway, reason } = letter;
    let event = event_id.as_ref().map_or("counts", |event_id| event_id.as_str());
    // Whoever chose these does not decide where a line ends, nor what a terminal does.
    let (app_id, gateway) = (app_id.escape_debug(), gateway.escape_debug());
    let (room_id, event) = (room_id.as_str().escape_debug(), event.escape_debug());
    format!("{ts} {user_id} {app_id} {room_id} {event} {gateway} ({})", reason.escape_debug())
}

/// What is said of a store or a backup in which nothing is wrong.
pub(crate) fn whole(read: &Progress) -> String {
    format!("whole: {} rows in {} tables, {} files", read.rows, read.tables, read.files)
}

fn told(now: &Progress) -> Answer {
    Answer::Progress { rows: now.rows, bytes: now.bytes, table: now.table.clone() }
}

async fn backup(
    state: &AppState,
    file: PathBuf,
    mut progress: impl FnMut(Answer) + Send + 'static,
) -> anyhow::Result<String> {
    let (store, media) = (state.store.clone(), state.media.clone());
    let target = file.clone();
    let mut files = move || {
        let found = media.files()?.into_iter();
        Ok(found.map(|(name, path)| dump::Attachment { name, path }).collect())
    };
    let work =
        move || dump::dump_with_files(&store, &target, &mut files, &mut |now| progress(told(now)));
    let written = tokio::task::spawn_blocking(work).await.context("the backup broke off")??;
    let Progress { rows, files, bytes, .. } = written;
    Ok(format!("wrote {rows} rows and {files} files ({bytes} bytes) to {}", file.display()))
}

async fn verify(
    state: &AppState,
    mut progress: impl FnMut(Answer) + Send + 'static,
) -> anyhow::Result<String> {
    let (store, media) = (state.store.clone(), state.media.clone());
    let work = move || {
        let mut read = dump::verify(&store, &mut |now| progress(told(now)))?;
        "media files".clone_into(&mut read.table);
        let files = media.verify(&mut |files| {
            read.files = files.files;
            progress(told(&read));
        });
        let files = files.map_err(anyhow::Error::msg)?.files;
        anyhow::Ok(Progress { files, ..read })
    };
    let read = tokio::task::spawn_blocking(work).await.context("the check broke off")??;
    Ok(whole(&read))
}

#[cfg(test)]
mod tests {
    use ruma::{owned_event_id, owned_room_id, owned_user_id};

    use super::dead_push;

    #[test]
    fn what_was_given_up_is_one_line_whatever_it_is_called() {
        let mut letter = push::DeadLetter {
            user_id: owned_user_id!("@ada:x.test"),
            app_id: "m.email".to_owned(),
            room_id: owned_room_id!("!r:x.test"),
            event_id: Some(owned_event_id!("$e")),
            gateway: "mail".to_owned(),
            reason: "no route to host".to_owned(),
        };
        let expected = "7 @ada:x.test m.email !r:x.test $e mail (no route to host)";
        assert_eq!(dead_push(7, &letter), expected);
        letter.app_id = "app\n8 @eve:x.test\u{1b}[2J".to_owned();
        letter.event_id = None;
        let expected =
            "7 @ada:x.test app\\n8 @eve:x.test\\u{1b}[2J !r:x.test counts mail (no route to host)";
        assert_eq!(dead_push(7, &letter), expected);
    }
}
