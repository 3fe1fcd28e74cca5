//! `/rooms/{roomId}/{join,invite,leave,kick,ban,unban,forget,members,joined_members}`, `/join`,
//! `/knock`, `/joined_rooms` ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#room-membership

use std::collections::BTreeMap;

use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
};
use rooms::{JoinRequest, KnockRequest, MembershipChange, Profile, Rooms, peers::SignedThirdParty};
use ruma::{
    OwnedRoomId, OwnedServerName, RoomOrAliasId, UserId,
    api::client::{
        knock::knock_room,
        membership::{
            ban_user, forget_room, get_member_events, invite_user, join_room_by_id,
            join_room_by_id_or_alias, joined_members, joined_rooms, kick_user, leave_room,
            unban_user,
        },
    },
    events::room::member::MembershipState,
};
use serde::Deserialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use sync::Sync as SyncEngine;

use super::{EndpointExt as _, threepid_invite::Inviting};
use crate::{
    error::Error,
    extract::{Authed, AuthedWithBody, json_or_default},
    gate::Gate,
    invites,
    limits::Action,
    render,
    respond::{Matrix, RawJson},
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
    SyncEngine: FromRef<S>,
{
    Router::new()
        .endpoint::<ban_user::v3::Request, _, _>(ban_user)
        .endpoint::<forget_room::v3::Request, _, _>(forget_room)
        .endpoint::<get_member_events::v3::Request, _, _>(get_member_events)
        .endpoint::<invite_user::v3::Request, _, _>(invite_user)
        .endpoint::<join_room_by_id::v3::Request, _, _>(join_room_by_id)
        .endpoint::<join_room_by_id_or_alias::v3::Request, _, _>(join_room_by_id_or_alias)
        .endpoint::<joined_members::v3::Request, _, _>(joined_members)
        .endpoint::<joined_rooms::v3::Request, _, _>(joined_rooms)
        .endpoint::<kick_user::v3::Request, _, _>(kick_user)
        .endpoint::<knock_room::v3::Request, _, _>(knock_room)
        .endpoint::<leave_room::v3::Request, _, _>(leave_room)
        .endpoint::<unban_user::v3::Request, _, _>(unban_user)
}

/// What the user's member events say about them.
pub(super) async fn profile(accounts: &Accounts, user: &UserId) -> Result<Profile, Error> {
    let profile = accounts.profile(user).await?;
    Ok(Profile { displayname: profile.displayname.clone(), avatar_url: profile.avatar_url.clone() })
}

/// As [`profile`], of somebody who may be made by a bridge now that they are invited.
pub(super) async fn invited_profile(accounts: &Accounts, user: &UserId) -> Result<Profile, Error> {
    accounts.find_user(user).await?;
    profile(accounts, user).await
}

/// The room that an id or an alias names, and servers that may be in it.
pub(super) async fn resolve(
    rooms: &Rooms,
    target: &RoomOrAliasId,
) -> Result<(OwnedRoomId, Vec<OwnedServerName>), Error> {
    if let Ok(room_id) = <&ruma::RoomId>::try_from(target) {
        return Ok((room_id.to_owned(), Vec::new()));
    }
    let alias = <&ruma::RoomAliasId>::try_from(target)
        .map_err(|_| Error::invalid_param(format!("{target} is neither a room id nor an alias")))?;
    rooms
        .find_alias(alias)
        .await?
        .ok_or_else(|| Error::not_found(format!("Room alias {alias} not found")))
}

/// What the body of a join says.
#[derive(Clone, Copy)]
struct Asked<'a> {
    reason: Option<&'a str>,
    body: &'a [u8],
}

/// The keys of the body that the endpoint does not know become part of the member event, as
/// clients are used to from Synapse.
fn further_content(body: &[u8]) -> Result<Option<Box<RawValue>>, Error> {
    let mut content: BTreeMap<String, Box<RawValue>> = json_or_default(body)?;
    content.retain(|key, _| !matches!(key.as_str(), "reason" | "third_party_signed"));
    if content.is_empty() {
        return Ok(None);
    }
    to_raw_value(&content).map(Some).map_err(|error| Error::internal(&error))
}

fn third_party_signed(body: &[u8]) -> Result<Option<SignedThirdParty>, Error> {
    #[derive(Default, Deserialize)]
    struct Body {
        third_party_signed: Option<SignedThirdParty>,
    }
    Ok(json_or_default::<Body>(body)?.third_party_signed)
}

async fn join(
    rooms: &Rooms,
    accounts: &Accounts,
    session: &accounts::Session,
    room_id: &ruma::RoomId,
    asked: Asked<'_>,
    via: Vec<OwnedServerName>,
) -> Result<(), Error> {
    let profile = profile(accounts, &session.user_id).await?;
    let extra = further_content(asked.body)?;
    let request = JoinRequest {
        room_id,
        user: &session.user_id,
        profile,
        guest: session.guest,
        reason: asked.reason,
        extra: extra.as_deref(),
        via,
    };
    let joined = match third_party_signed(asked.body)? {
        Some(signed) => rooms.join_by_third_party(request, &signed).await,
        None => rooms.join(request).await,
    };
    joined.map_err(|error| {
        no_way_there(
            error,
            "Can't join remote room because no servers that are in the room have been provided.",
        )
    })?;
    // The join stands, whatever becomes of this.
    if let Err(error) = follow_replacement(rooms, accounts, &session.user_id, room_id).await {
        tracing::warn!(room.id = %room_id, %error, "what was said of the old room stays with it");
    }
    Ok(())
}

/// What the user, and this server, said of a room goes on for the room that replaces it.
pub(super) async fn follow_replacement(
    rooms: &Rooms,
    accounts: &Accounts,
    user: &UserId,
    room_id: &ruma::RoomId,
) -> Result<(), Error> {
    let Some(old) = rooms.replaced_by(room_id).await? else { return Ok(()) };
    if rooms.membership(user, &old).await? != Some(MembershipState::Join) {
        return Ok(());
    }
    accounts.carry_over(user, &old, room_id).await?;
    Ok(rooms.move_names(&old, room_id).await?)
}

/// A room of which nobody says where it is; the answer is Synapse's.
fn no_way_there(error: rooms::Error, text: &'static str) -> Error {
    match error {
        rooms::Error::NotFound(_) => Error::new(http::StatusCode::NOT_FOUND, "M_UNKNOWN", text),
        other => other.into(),
    }
}

async fn join_room_by_id(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    AuthedWithBody { session, req, body }: AuthedWithBody<join_room_by_id::v3::Request>,
) -> Result<Matrix<join_room_by_id::v3::Response>, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::Join, &session)?;
    let asked = Asked { reason: req.reason.as_deref(), body: &body };
    join(&rooms, &accounts, &session, &req.room_id, asked, Vec::new()).await?;
    Ok(Matrix(join_room_by_id::v3::Response { room_id: req.room_id }))
}

async fn join_room_by_id_or_alias(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    AuthedWithBody { session, req, body }: AuthedWithBody<join_room_by_id_or_alias::v3::Request>,
) -> Result<Matrix<join_room_by_id_or_alias::v3::Response>, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::Join, &session)?;
    let (room_id, servers) = resolve(&rooms, &req.room_id_or_alias).await?;
    let via = req.via.into_iter().chain(servers).collect();
    let asked = Asked { reason: req.reason.as_deref(), body: &body };
    join(&rooms, &accounts, &session, &room_id, asked, via).await?;
    Ok(Matrix(join_room_by_id_or_alias::v3::Response { room_id }))
}

async fn knock_room(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<knock_room::v3::Request>,
) -> Result<Matrix<knock_room::v3::Response>, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::Join, &session)?;
    let (room_id, servers) = resolve(&rooms, &req.room_id_or_alias).await?;
    let profile = profile(&accounts, &session.user_id).await?;
    let knock = KnockRequest {
        room_id: &room_id,
        user: &session.user_id,
        profile,
        reason: req.reason.as_deref(),
        via: req.via.into_iter().chain(servers).collect(),
    };
    rooms.knock(knock).await.map_err(|error| {
        no_way_there(
            error,
            "Can't knock on remote room because no servers that are in the room have been provided.",
        )
    })?;
    Ok(Matrix(knock_room::v3::Response { room_id }))
}

async fn invite_user(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    State(accounts): State<Accounts>,
    Authed { session, req }: Authed<invite_user::v3::Request>,
) -> Result<Matrix<invite_user::v3::Response>, Error> {
    gate.may_act(&session)?;
    gate.limit_user(Action::Invite, &session)?;
    let recipient = match &req.recipient {
        invite_user::v3::InvitationRecipient::UserId(recipient) => recipient,
        invite_user::v3::InvitationRecipient::ThirdPartyId(invite) => {
            let (rooms, accounts, session) = (&rooms, &accounts, &session);
            let room_id = &req.room_id;
            let inviting = Inviting { rooms, accounts, session, room_id, is_direct: false };
            inviting.invite(invite).await?;
            return Ok(Matrix(invite_user::v3::Response::new()));
        }
    };
    let target = &recipient.user_id;
    invites::permit(&accounts, &session.user_id, target).await?;
    let profile = invited_profile(&accounts, target).await?;
    let change = MembershipChange {
        room_id: &req.room_id,
        sender: &session.user_id,
        target,
        reason: recipient.reason.as_deref(),
    };
    rooms.invite(change, profile, false).await?;
    Ok(Matrix(invite_user::v3::Response::new()))
}

async fn leave_room(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<leave_room::v3::Request>,
) -> Result<Matrix<leave_room::v3::Response>, Error> {
    rooms.leave(&req.room_id, &session.user_id, req.reason.as_deref()).await?;
    Ok(Matrix(leave_room::v3::Response::new()))
}

async fn kick_user(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<kick_user::v3::Request>,
) -> Result<Matrix<kick_user::v3::Response>, Error> {
    gate.may_act(&session)?;
    let change = MembershipChange {
        room_id: &req.room_id,
        sender: &session.user_id,
        target: &req.user_id,
        reason: req.reason.as_deref(),
    };
    rooms.kick(change).await?;
    Ok(Matrix(kick_user::v3::Response::new()))
}

async fn ban_user(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<ban_user::v3::Request>,
) -> Result<Matrix<ban_user::v3::Response>, Error> {
    gate.may_act(&session)?;
    let change = MembershipChange {
        room_id: &req.room_id,
        sender: &session.user_id,
        target: &req.user_id,
        reason: req.reason.as_deref(),
    };
    rooms.ban(change).await?;
    Ok(Matrix(ban_user::v3::Response::new()))
}

async fn unban_user(
    State(gate): State<Gate>,
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<unban_user::v3::Request>,
) -> Result<Matrix<unban_user::v3::Response>, Error> {
    gate.may_act(&session)?;
    let change = MembershipChange {
        room_id: &req.room_id,
        sender: &session.user_id,
        target: &req.user_id,
        reason: req.reason.as_deref(),
    };
    rooms.unban(change).await?;
    Ok(Matrix(unban_user::v3::Response::new()))
}

async fn forget_room(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<forget_room::v3::Request>,
) -> Result<Matrix<forget_room::v3::Response>, Error> {
    rooms.forget(&req.room_id, &session.user_id).await.map_err(|error| match error {
        // "400: The user has not left the room."
        rooms::Error::WrongMembership { .. } => Error::new(
            http::StatusCode::BAD_REQUEST,
            "M_UNKNOWN",
            format!("You have not left the room {}", req.room_id),
        ),
        other => other.into(),
    })?;
    Ok(Matrix(forget_room::v3::Response::new()))
}

async fn get_member_events(
    State(rooms): State<Rooms>,
    State(sync): State<SyncEngine>,
    Authed { session, req }: Authed<get_member_events::v3::Request>,
) -> Result<Matrix<get_member_events::v3::Response>, Error> {
    let at = req.at.as_deref().map(|token| sync.position_of(token)).transpose()?;
    let members = rooms
        .members(
            &session.user_id,
            &req.room_id,
            at,
            req.membership.as_ref(),
            req.not_membership.as_ref(),
        )
        .await?;
    let chunk = render::state_events(&rooms, &session, &req.room_id, &members).await?;
    Ok(Matrix(get_member_events::v3::Response { chunk }))
}

async fn joined_members(
    State(rooms): State<Rooms>,
    Authed { session, req }: Authed<joined_members::v3::Request>,
) -> Result<RawJson, Error> {
    let members = rooms.joined_members(&session.user_id, &req.room_id).await?;
    let joined: BTreeMap<_, _> = members
        .into_iter()
        .map(|(user_id, profile)| {
            let Profile { displayname, avatar_url } = profile;
            (user_id, json!({ "display_name": displayname, "avatar_url": avatar_url }))
        })
        .collect();
    Ok(RawJson(json!({ "joined": joined }).to_string().into()))
}

async fn joined_rooms(
    State(rooms): State<Rooms>,
    Authed { session, .. }: Authed<joined_rooms::v3::Request>,
) -> Result<Matrix<joined_rooms::v3::Response>, Error> {
    let joined_rooms = rooms
        .rooms_of(&session.user_id)
        .await?
        .into_iter()
        .filter(|room| room.membership == MembershipState::Join)
        .map(|room| room.room_id)
        .collect();
    Ok(Matrix(joined_rooms::v3::Response { joined_rooms }))
}
