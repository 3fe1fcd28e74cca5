//! `PUT /exchange_third_party_invite`.

use axum::{
    Router,
    extract::{FromRef, State},
    routing::put,
};
use rooms::peers::{SignedThirdParty, ThirdPartyExchange};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::json;

use super::{RawJson, json};
use crate::{
    error::Error,
    extract::{Signed, id},
    inbound::Inbound,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Inbound: FromRef<S>,
{
    Router::new()
        .route("/_matrix/federation/v1/exchange_third_party_invite/{room_id}", put(exchange_invite))
}

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
