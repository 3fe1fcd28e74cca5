//! `/_matrix/client/*/room_keys/*`: backups of room keys ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::{FromRef, State},
    routing::{MethodRouter, get, post, put},
};
use devices::{BackupContents, BackupError, BackupScope, BackupSessions, BackupVersion, Devices};
use ruma::{OwnedRoomId, RoomId};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{
    error::Error,
    extract::{AuthedRaw, json},
    gate::Gate,
    respond::{Empty, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Devices: FromRef<S>,
{
    ["r0", "v3", "unstable"].into_iter().fold(Router::new(), |router, version| {
        let base = format!("/_matrix/client/{version}/room_keys");
        let versions = get(get_version).put(put_version).delete(delete_version);
        router
            .route(&format!("{base}/version"), post(create_version).get(get_version))
            .route(&format!("{base}/version/{{version}}"), versions)
            .route(&format!("{base}/keys"), sessions())
            .route(&format!("{base}/keys/{{room_id}}"), sessions())
            .route(&format!("{base}/keys/{{room_id}}/{{session_id}}"), sessions())
    })
}

fn sessions<S>() -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Devices: FromRef<S>,
{
    put(put_sessions).get(get_sessions).delete(delete_sessions)
}

#[derive(Deserialize)]
struct VersionBody {
    algorithm: String,
    auth_data: Box<RawValue>,
    version: Option<String>,
}

/// Versions are numbers of ours: any other text names none.
fn number(version: &str) -> Result<u64, Error> {
    version.parse().map_err(|_| BackupError::NotFound.into())
}

async fn create_version(
    State(devices): State<Devices>,
    AuthedRaw { session, body, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let body: VersionBody = json(&body)?;
    let version = devices.create_backup(&session.user_id, &body.algorithm, &body.auth_data).await?;
    Ok(RawJson(json!({ "version": version.to_string() }).to_string().into()))
}

async fn get_version(
    State(devices): State<Devices>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    #[derive(Serialize)]
    struct Answer {
        algorithm: String,
        auth_data: Box<RawValue>,
        count: u64,
        etag: String,
        version: String,
    }
    let version = path_args.first().map(|version| number(version)).transpose()?;
    let BackupVersion { version, algorithm, auth_data, contents } =
        devices.backup(&session.user_id, version).await?;
    let BackupContents { count, etag } = contents;
    let (etag, version) = (etag.to_string(), version.to_string());
    let answer = Answer { algorithm, auth_data, count, etag, version };
    raw(&answer)
}

fn raw(answer: &impl Serialize) -> Result<RawJson, Error> {
    let json = serde_json::to_vec(answer).map_err(|error| Error::internal(&error))?;
    Ok(RawJson(json.into()))
}

async fn put_version(
    State(devices): State<Devices>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let [version] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let body: VersionBody = json(&body)?;
    if body.version.as_ref().is_some_and(|other| other != version) {
        return Err(Error::invalid_param("`version` in the body is another one than in the path"));
    }
    let (version, algorithm) = (number(version)?, &body.algorithm);
    devices.update_backup(&session.user_id, version, algorithm, &body.auth_data).await?;
    Ok(Empty)
}

async fn delete_version(
    State(devices): State<Devices>,
    AuthedRaw { session, path_args, .. }: AuthedRaw,
) -> Result<Empty, Error> {
    let [version] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    devices.delete_backup(&session.user_id, number(version)?).await?;
    Ok(Empty)
}

/// The `version` of the query.
fn version_of(parts: &http::request::Parts) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Query {
        version: String,
    }
    let query: Query = serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|error| Error::missing_param(format!("The query is not valid: {error}")))?;
    number(&query.version)
}

fn scope(path_args: &[String]) -> BackupScope<'_> {
    match path_args {
        [] => BackupScope::All,
        [room_id] => BackupScope::Room(room_id),
        [room_id, session_id, ..] => BackupScope::Session(room_id, session_id),
    }
}

fn contents(contents: BackupContents) -> RawJson {
    let BackupContents { count, etag } = contents;
    RawJson(json!({ "count": count, "etag": etag.to_string() }).to_string().into())
}

type OfRoom = BTreeMap<String, Box<RawValue>>;

#[derive(Serialize, Deserialize)]
struct Room {
    sessions: OfRoom,
}

#[derive(Serialize, Deserialize)]
struct Rooms {
    rooms: BTreeMap<OwnedRoomId, Room>,
}

/// A body holds what its path leaves open.
fn read_sessions(path_args: &[String], body: &[u8]) -> Result<BackupSessions, Error> {
    let room = |room_id: &str| {
        RoomId::parse(room_id).map_err(|_| Error::invalid_param("The room id is not one"))
    };
    Ok(match path_args {
        [] => {
            let Rooms { rooms } = json(body)?;
            rooms.into_iter().map(|(room_id, room)| (room_id, room.sessions)).collect()
        }
        [room_id] => {
            let Room { sessions } = json(body)?;
            BackupSessions::from([(room(room_id)?, sessions)])
        }
        [room_id, session_id, ..] => {
            let session: Box<RawValue> = json(body)?;
            let sessions = OfRoom::from([(session_id.clone(), session)]);
            BackupSessions::from([(room(room_id)?, sessions)])
        }
    })
}

async fn put_sessions(
    State(devices): State<Devices>,
    AuthedRaw { session, parts, path_args, body }: AuthedRaw,
) -> Result<RawJson, Error> {
    let version = version_of(&parts)?;
    let sessions = read_sessions(&path_args, &body)?;
    Ok(contents(devices.back_up_sessions(&session.user_id, version, &sessions).await?))
}

async fn get_sessions(
    State(devices): State<Devices>,
    AuthedRaw { session, parts, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let (version, scope) = (version_of(&parts)?, scope(&path_args));
    let mut found = devices.backed_up_sessions(&session.user_id, version, scope).await?;
    match scope {
        BackupScope::All => {
            let rooms = found.into_iter().map(|(room_id, sessions)| (room_id, Room { sessions }));
            raw(&Rooms { rooms: rooms.collect() })
        }
        BackupScope::Room(_) => {
            let sessions = found.pop_first().map(|(_, sessions)| sessions).unwrap_or_default();
            raw(&Room { sessions })
        }
        BackupScope::Session(..) => {
            let mut sessions = found.pop_first().map(|(_, sessions)| sessions).unwrap_or_default();
            let session = sessions.pop_first().map(|(_, session)| session);
            raw(&session.ok_or_else(|| Error::not_found("There is no such session"))?)
        }
    }
}

async fn delete_sessions(
    State(devices): State<Devices>,
    AuthedRaw { session, parts, path_args, .. }: AuthedRaw,
) -> Result<RawJson, Error> {
    let (version, scope) = (version_of(&parts)?, scope(&path_args));
    let left = devices.delete_backed_up_sessions(&session.user_id, version, scope).await?;
    Ok(contents(left))
}

impl From<BackupError> for Error {
    fn from(error: BackupError) -> Self {
        use BackupError as E;
        let text = error.to_string();
        match error {
            E::NotFound => Self::not_found(text),
            E::WrongVersion { current } => {
                let errcode = "M_WRONG_ROOM_KEYS_VERSION";
                Self::new(http::StatusCode::FORBIDDEN, errcode, text)
                    .with("current_version", current.to_string())
            }
            E::Invalid(_) => Self::invalid_param(text),
            E::Malformed(_) => Self::bad_json(text),
            E::TooLarge(_) => Self::too_large(text),
            E::Store(error) => error.into(),
        }
    }
}
