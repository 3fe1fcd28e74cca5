//! `PUT /exchange_third_party_invite` and `PUT /3pid/onbind`.

use accounts::InviteVerdict;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::put,
};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use rooms::{
    Rooms,
    peers::{SignedThirdParty, ThirdPartyExchange},
};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{RawJson, json};
use crate::{
    error::Error,
    extract::{Plain, Signed, id},
    inbound::Inbound,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .route("/_matrix/federation/v1/exchange_third_party_invite/{room_id}", put(exchange_invite))
        // Identity servers post, whatever the specification says.
        .route("/_matrix/federation/v1/3pid/onbind", put(on_bind).post(on_bind))
}

/// Invites of one address that are looked at, and how many at a time: whoever asks has not proved
/// anything, and each can cost a request to another server.
const INVITES_MAX: usize = 32;
const INVITES_PARALLEL: usize = 4;

/// What the event is made of, of an event that is not one yet. The rest is not looked at.
#[derive(Deserialize)]
struct Partial {
    #[serde(rename = "type")]
    event_type: String,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    state_key: OwnedUserId,
    content: Content,
}

#[derive(Deserialize)]
struct Content {
    membership: String,
    third_party_invite: ThirdParty,
}

#[derive(Deserialize)]
struct ThirdParty {
    signed: SignedThirdParty,
}

async fn exchange_invite(
    State(inbound): State<Inbound>,
    Signed { origin, request }: Signed,
) -> Result<RawJson, Error> {
    let [room] = request.path()?;
    let event: Partial = request.json()?;
    if event.event_type != "m.room.member" || event.content.membership != "invite" {
        return Err(Error::invalid_param("The event is not an invite"));
    }
    if event.room_id != room {
        return Err(Error::invalid_param("The event is one of another room"));
    }
    let exchange = ThirdPartyExchange {
        room_id: id(room)?,
        sender: &event.sender,
        target: &event.state_key,
        signed: &event.content.third_party_invite.signed,
    };
    inbound.inner.rooms.peer_exchange_third_party_invite(&origin, exchange).await?;
    json(&json!({}))
}

/// One of our users has an address now. The identity server shows in each invite that it knows: what
/// it signed is checked by the room's own keys. It is told if some of them led nowhere, but not why:
/// anybody may ask.
async fn on_bind(State(inbound): State<Inbound>, request: Plain) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Bound {
        mxid: OwnedUserId,
        #[serde(default)]
        invites: Vec<Box<RawValue>>,
    }
    let Bound { mxid, invites } = request.json()?;
    let accounts = &inbound.inner.accounts;
    let user = accounts.user(&mxid).await.map_err(|error| Error::internal(&error))?;
    let permission = accounts.invite_permission(&mxid).await;
    let permission = permission.map_err(|error| Error::internal(&error))?;
    let is_one = accounts.is_local(&mxid) && user.is_some_and(|user| !user.deactivated);
    // One that is not understood does not hide the others.
    let read = |invite: &RawValue| serde_json::from_str::<Pending>(invite.get()).ok();
    let pending = invites.iter().filter(|_| is_one).filter_map(|invite| read(invite));
    let may = |invite: &Pending| permission.of(&invite.sender) != InviteVerdict::Blocked;
    let pending = pending.take(INVITES_MAX).filter(may);
    let taken: Vec<_> =
        pending.map(|invite| take_up(inbound.inner.rooms.clone(), mxid.clone(), invite)).collect();
    let taken = stream::iter(taken).buffer_unordered(INVITES_PARALLEL);
    if taken.filter(|taken| std::future::ready(*taken)).count().await < invites.len() {
        return Err(Error::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", "Not all invites stand"));
    }
    json(&json!({}))
}

/// A pending invite, as an identity server tells of it.
#[derive(Deserialize)]
struct Pending {
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    signed: SignedThirdParty,
}

async fn take_up(rooms: Rooms, target: OwnedUserId, invite: Pending) -> bool {
    let Pending { room_id, sender, signed } = &invite;
    let exchange = ThirdPartyExchange { room_id, sender, target: &target, signed };
    let taken = rooms.invite_by_third_party(exchange).await;
    let taken = taken.inspect_err(|error| {
        tracing::info!(room.id = %room_id, user.id = %target, %error, "an invite led nowhere");
    });
    taken.is_ok()
}
