//! Creating rooms.

use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde_json::value::RawValue;

use crate::{Error, Profile, Rooms};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    PrivateChat,
    TrustedPrivateChat,
    PublicChat,
}

#[derive(Clone, Debug)]
pub struct InitialState {
    pub event_type: String,
    pub state_key: String,
    pub content: Box<RawValue>,
}

/// The parameters of `/createRoom`.
#[derive(Clone, Debug)]
pub struct CreateRoom<'a> {
    pub creator: &'a UserId,
    pub creator_profile: Profile,
    /// The profile of each invited user of this server, for their member event.
    pub invitee_profiles: Vec<(OwnedUserId, Profile)>,
    /// Whether the room is listed in the directory.
    pub published: bool,
    pub room_alias_name: Option<&'a str>,
    pub name: Option<&'a str>,
    pub topic: Option<&'a str>,
    pub invite: Vec<OwnedUserId>,
    pub room_version: Option<&'a str>,
    /// A JSON object.
    pub creation_content: Option<&'a RawValue>,
    pub initial_state: Vec<InitialState>,
    /// Unset: follows `published`.
    pub preset: Option<Preset>,
    pub is_direct: bool,
    /// A JSON object.
    pub power_level_content_override: Option<&'a RawValue>,
}

impl Rooms {
    pub async fn create(&self, _request: CreateRoom<'_>) -> Result<OwnedRoomId, Error> {
        unimplemented!()
    }
}
