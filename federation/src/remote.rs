//! The questions of the room engine, put to other servers.

mod answers;
mod device_keys;
mod identity;
mod media;
mod paths;

use std::pin::Pin;

use accounts::{ProfileFields, RemoteProfiles};
use bytes::Bytes;
use http::Method;
use rooms::ports::{
    FullState, Handshake, MissingEvents, PortFuture, Remote as Answered, RemoteAlias, RemoteError,
    RemoteServers, SendInvite, SentJoin, StateIds, Template,
};
use ruma::{EventId, OwnedEventId, RoomAliasId, RoomId, ServerName, UserId};
use serde::de::DeserializeOwned;
use serde_json::{json, value::RawValue};

use self::{
    answers::{Pdus, malformed, refused, unreachable},
    paths::Path,
};
use crate::{Client, Limits};

/// The engine's port, over a [`Client`].
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
}

impl Remote {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn call(
        &self,
        server: &ServerName,
        method: Method,
        path: String,
        body: Option<Bytes>,
        limits: Limits,
    ) -> Result<Bytes, RemoteError> {
        let answer = self.client.request(server, method, &path, body, limits).await;
        let answer = answer.map_err(|error| unreachable(server, &error))?;
        if answer.status.is_success() { Ok(answer.body) } else { Err(refused(server, &answer)) }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        server: &ServerName,
        path: Path,
        limits: Limits,
    ) -> Result<T, RemoteError> {
        let body = self.call(server, Method::GET, path.into(), None, limits).await?;
        serde_json::from_slice(&body).map_err(|error| malformed(server, &error))
    }

    async fn put<T: DeserializeOwned>(
        &self,
        server: &ServerName,
        path: Path,
        body: Bytes,
        limits: Limits,
    ) -> Result<T, RemoteError> {
        let body = self.call(server, Method::PUT, path.into(), Some(body), limits).await?;
        serde_json::from_slice(&body).map_err(|error| malformed(server, &error))
    }

    /// The same under v2 and, if a server knows no v2, under v1, where the answer stands in an array
    /// behind a status.
    async fn put_either<T: DeserializeOwned>(
        &self,
        server: &ServerName,
        path: impl Fn(&str) -> Path,
        body: Bytes,
        limits: Limits,
    ) -> Result<T, RemoteError> {
        match self.put(server, path("v2"), body.clone(), limits).await {
            Err(refusal) if knows_no_such_endpoint(&refusal) => {
                let (_status, answer): (u16, T) =
                    self.put(server, path("v1"), body, limits).await?;
                Ok(answer)
            }
            other => other,
        }
    }
}

/// "404 with M_UNRECOGNIZED" and 405 are what the specification asks for since v1.6. Older servers
/// say 400, or 404 with nothing that could be read.
fn knows_no_such_endpoint(refusal: &RemoteError) -> bool {
    let RemoteError::Refused { status, errcode, .. } = refusal else { return false };
    match &**errcode {
        "M_UNRECOGNIZED" => matches!(status, 400 | 404 | 405),
        "" => *status == 404,
        _ => false,
    }
}

impl RemoteServers for Remote {
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        request: MissingEvents,
    ) -> Answered<'a, Vec<Bytes>> {
        Box::pin(async move {
            let path = Path::v1("get_missing_events").and(room.as_str());
            let body = json!({
                "earliest_events": request.earliest,
                "latest_events": request.latest,
                "limit": request.limit,
                "min_depth": request.min_depth,
            });
            let body = Some(Bytes::from(body.to_string()));
            let answer =
                self.call(server, Method::POST, path.into(), body, Limits::ORDINARY).await?;
            let answer: Result<answers::Events, _> = serde_json::from_slice(&answer);
            answer.map(|found| found.events).map_err(|error| malformed(server, &error))
        })
    }

    fn event<'a>(&'a self, server: &'a ServerName, event: &'a EventId) -> Answered<'a, Bytes> {
        Box::pin(async move {
            let path = Path::v1("event").and(event.as_str());
            let Pdus { pdus } = self.get(server, path, Limits::ORDINARY).await?;
            let first = pdus.into_iter().next();
            first.ok_or_else(|| malformed(server, &"there is no event in it"))
        })
    }

    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Answered<'a, Vec<Bytes>> {
        Box::pin(async move {
            let path = Path::v1("event_auth").and(room.as_str()).and(event.as_str());
            let state: answers::State = self.get(server, path, Limits::LARGE).await?;
            Ok(state.auth_chain)
        })
    }

    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Answered<'a, StateIds> {
        Box::pin(async move {
            let path = Path::v1("state_ids").and(room.as_str()).query("event_id", event.as_str());
            let ids: answers::Ids = self.get(server, path, Limits::LARGE).await?;
            let [state, auth_chain] = [ids.pdu_ids, ids.auth_chain_ids].map(|mut ids| {
                ids.retain(|id| id.as_str().len() <= events::MAX_ID_BYTES);
                ids
            });
            Ok(StateIds { state, auth_chain })
        })
    }

    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
    ) -> Answered<'a, FullState> {
        Box::pin(async move {
            let path = Path::v1("state").and(room.as_str()).query("event_id", event.as_str());
            let found: answers::State = self.get(server, path, Limits::LARGE).await?;
            Ok(FullState { state: found.pdus, auth_chain: found.auth_chain })
        })
    }

    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        from: Vec<OwnedEventId>,
        limit: usize,
    ) -> Answered<'a, Vec<Bytes>> {
        Box::pin(async move {
            let mut path = Path::v1("backfill").and(room.as_str());
            path = path.query("limit", &limit.to_string());
            path = from.iter().fold(path, |path, id| path.query("v", id.as_str()));
            let Pdus { pdus } = self.get(server, path, Limits::LARGE).await?;
            Ok(pdus)
        })
    }

    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        ts: u64,
        backward: bool,
    ) -> Answered<'a, (OwnedEventId, u64)> {
        Box::pin(async move {
            let path = Path::v1("timestamp_to_event")
                .and(room.as_str())
                .query("ts", &ts.to_string())
                .query("dir", if backward { "b" } else { "f" });
            let found: answers::Moment = self.get(server, path, Limits::ORDINARY).await?;
            Ok((found.event_id, found.origin_server_ts))
        })
    }

    fn make<'a>(
        &'a self,
        server: &'a ServerName,
        handshake: Handshake,
        room: &'a RoomId,
        user: &'a UserId,
        versions: &'a [&'static str],
    ) -> Answered<'a, Template> {
        Box::pin(async move {
            let mut path = Path::v1(match handshake {
                Handshake::Join => "make_join",
                Handshake::Leave => "make_leave",
                Handshake::Knock => "make_knock",
            });
            path = path.and(room.as_str()).and(user.as_str());
            if handshake != Handshake::Leave {
                path = versions.iter().fold(path, |path, version| path.query("ver", version));
            }
            let made: answers::Made = self.get(server, path, Limits::ORDINARY).await?;
            let room_version = made.room_version.unwrap_or_else(|| "1".to_owned());
            Ok(Template { room_version, event: made.event })
        })
    }

    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Answered<'a, SentJoin> {
        Box::pin(async move {
            let path = |version: &str| {
                Path::of(version, "send_join").and(room.as_str()).and(event.as_str())
            };
            let sent: answers::Joined = self.put_either(server, path, pdu, Limits::LARGE).await?;
            Ok(sent.into())
        })
    }

    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Answered<'a, ()> {
        Box::pin(async move {
            let path = |version: &str| {
                Path::of(version, "send_leave").and(room.as_str()).and(event.as_str())
            };
            let _nothing: Box<RawValue> =
                self.put_either(server, path, pdu, Limits::ORDINARY).await?;
            Ok(())
        })
    }

    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        pdu: Bytes,
    ) -> Answered<'a, Vec<Bytes>> {
        Box::pin(async move {
            let path = Path::v1("send_knock").and(room.as_str()).and(event.as_str());
            let sent: answers::Knocked = self.put(server, path, pdu, Limits::ORDINARY).await?;
            Ok(sent.knock_room_state)
        })
    }

    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: &'a EventId,
        invite: SendInvite,
    ) -> Answered<'a, Bytes> {
        Box::pin(async move {
            let path = |version| Path::of(version, "invite").and(room.as_str()).and(event.as_str());
            let body = answers::invite(&invite).map_err(|error| malformed(server, &error))?;
            let sent = self.put(server, path("v2"), body, Limits::ORDINARY).await;
            let sent: answers::Invited = match sent {
                // v1 does not tell the room's version.
                Err(refusal)
                    if knows_no_such_endpoint(&refusal)
                        && matches!(&*invite.room_version, "1" | "2") =>
                {
                    let body =
                        answers::invite_v1(&invite).map_err(|error| malformed(server, &error))?;
                    let sent: (u16, _) =
                        self.put(server, path("v1"), body, Limits::ORDINARY).await?;
                    sent.1
                }
                other => other?,
            };
            Ok(answers::bytes(sent.event))
        })
    }

    fn directory<'a>(
        &'a self,
        server: &'a ServerName,
        alias: &'a RoomAliasId,
    ) -> Answered<'a, RemoteAlias> {
        Box::pin(async move {
            let path = Path::v1("query/directory").query("room_alias", alias.as_str());
            let found: answers::Alias = self.get(server, path, Limits::ORDINARY).await?;
            Ok(RemoteAlias { room_id: found.room_id, servers: found.servers })
        })
    }

    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        suggested_only: bool,
    ) -> Answered<'a, Box<RawValue>> {
        Box::pin(async move {
            let suggested = if suggested_only { "true" } else { "false" };
            let path = Path::v1("hierarchy").and(room.as_str()).query("suggested_only", suggested);
            self.get(server, path, Limits::ORDINARY).await
        })
    }

    fn public_rooms<'a>(
        &'a self,
        server: &'a ServerName,
        request: Box<RawValue>,
    ) -> Answered<'a, Box<RawValue>> {
        Box::pin(async move {
            let path = Path::v1("publicRooms");
            let body = Some(Bytes::from(request.get().to_owned()));
            let answer =
                self.call(server, Method::POST, path.into(), body, Limits::ORDINARY).await?;
            serde_json::from_slice(&answer).map_err(|error| malformed(server, &error))
        })
    }

    fn exchange_third_party_invite<'a>(
        &'a self,
        server: &'a ServerName,
        room: &'a RoomId,
        event: Box<RawValue>,
    ) -> Answered<'a, ()> {
        Box::pin(async move {
            let path = Path::v1("exchange_third_party_invite").and(room.as_str());
            let body = Bytes::from(event.get().to_owned());
            let _nothing: Box<RawValue> = self.put(server, path, body, Limits::ORDINARY).await?;
            Ok(())
        })
    }

    fn policy_sign<'a>(
        &'a self,
        server: &'a ServerName,
        pdu: Bytes,
    ) -> Answered<'a, Box<RawValue>> {
        Box::pin(async move {
            let path = "/_matrix/policy/v1/sign".to_owned();
            let answer = self.call(server, Method::POST, path, Some(pdu), Limits::ORDINARY).await?;
            serde_json::from_slice(&answer).map_err(|error| malformed(server, &error))
        })
    }

    fn is_key_valid<'a>(&'a self, url: &'a str, public_key: &'a str) -> PortFuture<'a, bool> {
        Box::pin(self.ask_whether_valid(url, public_key))
    }
}

impl RemoteProfiles for Remote {
    fn profile<'a>(
        &'a self,
        user: &'a UserId,
    ) -> Pin<Box<dyn Future<Output = Option<ProfileFields>> + Send + 'a>> {
        Box::pin(async move {
            let path = Path::v1("query/profile").query("user_id", user.as_str());
            let found = self.get(user.server_name(), path, Limits::ORDINARY).await;
            found.inspect_err(|error| tracing::debug!(%error, %user, "no profile")).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::paths::encode;

    #[test]
    fn ids_are_encoded_as_one_segment() {
        assert_eq!(encode("!a/b:c?#%"), "%21a%2Fb%3Ac%3F%23%25");
        assert_eq!(encode("$Az09-._~"), "%24Az09-._~");
    }
}
