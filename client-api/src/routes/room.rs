//! `/createRoom`, `/rooms/{roomId}/{aliases,event,timestamp_to_event,upgrade}`, `/room_summary`
//! ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#rooms-1

use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::post,
};
use rooms::{CreateRoom, InitialState, Preset, Rooms, UpgradeRoom};
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedUserId, RoomAliasId, UInt,
    api::client::room::{
        Visibility, aliases, create_room, get_event_by_timestamp, get_room_event, upgrade_room,
    },
};
use serde_json::value::RawValue;

use super::{
    EndpointExt as _,
    config::room,
    membership::{follow_replacement, invited_profile, profile},
    threepid_invite::Inviting,
};
use crate::{
    error::Error,
    extract::{Authed, AuthedRaw, json},
    gate::Gate,
    invites,
    limits::Action,
    render,
    respond::Matrix,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
{
    Router::new()
        .endpoint::<aliases::v3::Request, _, _>(aliases)
        .endpoint::<create_room::v3::Request, _, _>(create_room)
        .endpoint::<get_event_by_timestamp::v1::Request, _, _>(get_event_by_timestamp)
        .endpoint::<get_room_event::v3::Request, _, _>(get_room_event)
        .route("/_matrix/client/r0/rooms/{room_id}/upgrade", post(upgrade_room))
        .route("/_matrix/client/v3/rooms/{room_id}/upgrade", post(upgrade_room))
}

async fn create_room(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<create_room::v3::Request>,
) -> Result<Matrix<create_room::v3::Response>, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::RoomCreation, &session)?;
    for _ in &req.invite_3pid {
        gate.limit_user(Action::Invite, &session)?;
    }
    if let Some(name) = &req.room_alias_name
        && let Ok(alias) = RoomAliasId::parse(format!("#{name}:{}", rooms.server_name()))
    {
        gate.may_name_room(&alias, &session)?;
    }
    let mut invitee_profiles = Vec::with_capacity(req.invite.len());
    for user in &req.invite {
        // Before there is a room, so that nothing is left of what was refused.
        invites::permit(&accounts, &session.user_id, user).await?;
        invitee_profiles.push((user.clone(), invited_profile(&accounts, user).await?));
    }
    let request = CreateRoom {
        creator: &session.user_id,
        creator_profile: profile(&accounts, &session.user_id).await?,
        invitee_profiles,
        published: req.visibility == Visibility::Public,
        room_alias_name: req.room_alias_name.as_deref(),
        name: req.name.as_deref(),
        topic: req.topic.as_deref(),
        invite: req.invite.clone(),
        room_version: req.room_version.as_ref().map(|version| version.as_str()),
        creation_content: req.creation_content.as_ref().map(|content| content.json()),
        initial_state: initial_state(&req)?,
        preset: preset(&req)?,
        is_direct: req.is_direct,
        power_level_content_override: req
            .power_level_content_override
            .as_ref()
            .map(|content| content.json()),
    };
    let room_id = rooms.create(request).await?;
    let (rooms, accounts, session) = (&rooms, &accounts, &session);
    let is_direct = req.is_direct;
    let inviting = Inviting { rooms, accounts, session, room_id: &room_id, is_direct };
    for invite in &req.invite_3pid {
        // The room is there: an error would have the client make another.
        if let Err(error) = inviting.invite(invite).await {
            tracing::info!(room.id = %room_id, %error, "somebody was not invited");
        }
    }
    Ok(Matrix(create_room::v3::Response { room_id }))
}

fn initial_state(req: &create_room::v3::Request) -> Result<Vec<InitialState>, Error> {
    #[derive(serde::Deserialize)]
    struct Event {
        r#type: String,
        #[serde(default)]
        state_key: String,
        content: Box<RawValue>,
    }
    req.initial_state
        .iter()
        .map(|raw| {
            let event: Event = serde_json::from_str(raw.json().get())
                .map_err(|error| Error::bad_json(format!("initial_state: {error}")))?;
            Ok(InitialState {
                event_type: event.r#type,
                state_key: event.state_key,
                content: event.content,
            })
        })
        .collect()
}

fn preset(req: &create_room::v3::Request) -> Result<Option<Preset>, Error> {
    use create_room::v3::RoomPreset as P;
    Ok(match &req.preset {
        None => None,
        Some(P::PrivateChat) => Some(Preset::PrivateChat),
        Some(P::TrustedPrivateChat) => Some(Preset::TrustedPrivateChat),
        Some(P::PublicChat) => Some(Preset::PublicChat),
        Some(other) => return Err(Error::bad_json(format!("unknown preset {other}"))),
    })
}

async fn aliases(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<aliases::v3::Request>,
) -> Result<Matrix<aliases::v3::Response>, Error> {
    let aliases = rooms.aliases_of(&session.user_id, &req.room_id).await?;
    Ok(Matrix(aliases::v3::Response { aliases }))
}

async fn get_room_event(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_room_event::v3::Request>,
) -> Result<Matrix<get_room_event::v3::Response>, Error> {
    let event = rooms.event(&session.user_id, &req.room_id, &req.event_id).await?;
    let event = render::events(&rooms, &session, &req.room_id, &[event])
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| Error::not_found("Event not found"))?;
    Ok(Matrix(get_room_event::v3::Response { event }))
}

async fn get_event_by_timestamp(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<get_event_by_timestamp::v1::Request>,
) -> Result<Matrix<get_event_by_timestamp::v1::Response>, Error> {
    let (event_id, ts) = rooms
        .timestamp_to_event(&session.user_id, &req.room_id, req.ts.get().into(), req.dir)
        .await?;
    let ts = UInt::try_from(ts).unwrap_or(UInt::MAX);
    Ok(Matrix(get_event_by_timestamp::v1::Response {
        event_id,
        origin_server_ts: MilliSecondsSinceUnixEpoch(ts),
    }))
}

async fn upgrade_room(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    AuthedRaw { session, path_args, body, .. }: AuthedRaw,
) -> Result<Matrix<upgrade_room::v3::Response>, Error> {
    // ruma refuses a version that it does not know as bad JSON.
    #[derive(serde::Deserialize)]
    struct Body {
        new_version: String,
        #[serde(default)]
        additional_creators: Vec<OwnedUserId>,
    }
    gate.may_act(&session)?;
    gate.limit_user(Action::RoomCreation, &session)?;
    let [room_id] = path_args.as_slice() else { return Err(Error::unrecognized()) };
    let room_id = room(room_id)?;
    let Body { new_version, additional_creators } = json(&body)?;
    let replacement_room = rooms
        .upgrade(UpgradeRoom {
            room_id: &room_id,
            sender: &session.user_id,
            sender_profile: profile(&accounts, &session.user_id).await?,
            new_version: &new_version,
            additional_creators,
        })
        .await?;
    let sender = &session.user_id;
    if let Err(error) = follow_replacement(&rooms, &accounts, sender, &replacement_room).await {
        tracing::warn!(room.id = %room_id, %error, "what was said of the old room stays with it");
    }
    Ok(Matrix(upgrade_room::v3::Response { replacement_room }))
}
