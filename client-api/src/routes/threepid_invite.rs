//! Inviting by a third-party identifier: a user where the identity server knows one, else whoever
//! turns out to have it ([spec])
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#third-party-invites

use accounts::{Accounts, IdentityServer, NewThreepidInvite, Session};
use rooms::{MembershipChange, NewEvent, Rooms, Root};
use ruma::{
    OwnedRoomId, api::client::membership::Invite3pid, events::room::member::MembershipState,
};
use serde_json::{Map, Value, value::to_raw_value};

use super::membership::{invited_profile, profile};
use crate::{error::Error, invites};

/// What an identity server is told of a room, for its mail: its key, the event and the field there.
const DESCRIPTION: [(&str, &str, &str); 5] = [
    ("room_alias", "m.room.canonical_alias", "alias"),
    ("room_avatar_url", "m.room.avatar", "url"),
    ("room_join_rules", "m.room.join_rules", "join_rule"),
    ("room_name", "m.room.name", "name"),
    ("room_type", "m.room.create", "type"),
];

/// Invites in the name of the session's user.
pub(super) struct Inviting<'a> {
    pub(super) rooms: &'a Rooms,
    pub(super) accounts: &'a Accounts,
    pub(super) session: &'a Session,
    pub(super) room_id: &'a OwnedRoomId,
    pub(super) is_direct: bool,
}

impl Inviting<'_> {
    pub(super) async fn invite(&self, invite: &Invite3pid) -> Result<(), Error> {
        let sender = &self.session.user_id;
        // Before anybody else hears of the address.
        if self.rooms.membership(sender, self.room_id).await? != Some(MembershipState::Join) {
            return Err(rooms::Error::NotJoined.into());
        }
        let Invite3pid { id_server, id_access_token, medium, address } = invite;
        let server = IdentityServer { name: id_server, access_token: id_access_token };
        let (medium, address) = (medium.as_str(), address.trim());
        let Some(target) = self.accounts.look_up_threepid(server, medium, address).await? else {
            return self.keep(server, medium, address).await;
        };
        invites::permit(self.accounts, sender, &target).await?;
        let profile = invited_profile(self.accounts, &target).await?;
        let change =
            MembershipChange { room_id: self.room_id, sender, target: &target, reason: None };
        Ok(self.rooms.invite(change, profile, self.is_direct).await?)
    }

    async fn keep(
        &self,
        server: IdentityServer<'_>,
        medium: &str,
        address: &str,
    ) -> Result<(), Error> {
        let sender = &self.session.user_id;
        let state = self.rooms.visible_state(sender, self.room_id).await?;
        let profile = profile(self.accounts, sender).await?;
        let invite = NewThreepidInvite {
            medium,
            address,
            room_id: self.room_id,
            sender,
            sender_display_name: profile.displayname.as_deref(),
            sender_avatar_url: profile.avatar_url.as_deref(),
            room: self.describe(state).await?,
        };
        let kept = self.accounts.keep_threepid_invite(server, &invite).await?;
        let content = to_raw_value(&kept.content).map_err(|error| Error::internal(&error))?;
        let event = NewEvent {
            room_id: self.room_id,
            sender,
            event_type: "m.room.third_party_invite",
            state_key: Some(&kept.token),
            content: &content,
            txn: None,
            timestamp: None,
        };
        self.rooms.send(event).await?;
        Ok(())
    }

    async fn describe(&self, state: Root) -> Result<Map<String, Value>, Error> {
        let mut description = Map::new();
        for (key, event_type, field) in DESCRIPTION {
            let Some(event) = self.rooms.state_get(state, event_type, "").await? else { continue };
            let content: Map<String, Value> =
                serde_json::from_str(event.pdu.content_str()).unwrap_or_default();
            if let Some(Value::String(text)) = content.get(field) {
                description.insert(key.to_owned(), text.clone().into());
            }
        }
        Ok(description)
    }
}
