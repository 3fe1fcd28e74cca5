//! Creating rooms: the events that a request implies, in the order that the specification gives.

mod power_levels;
mod preset;

use events::RoomVersion;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, UserId,
    events::room::member::MembershipState,
};
use serde_json::value::RawValue;

pub use self::preset::Preset;
use crate::{
    Error, Profile, Rooms,
    content::Content,
    draft::{Draft, Says},
    membership::member_content,
    room::StateCache,
    rooms::Inner,
    state_rules,
    store::Published,
};

/// More invitations than this are no way to make a room.
const MAX_INVITES: usize = 1000;
const MAX_INITIAL_STATE: usize = 1000;

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

impl<'a> CreateRoom<'a> {
    /// A private room without anything.
    pub fn new(creator: &'a UserId) -> Self {
        Self {
            creator,
            creator_profile: Profile::default(),
            invitee_profiles: Vec::new(),
            published: false,
            room_alias_name: None,
            name: None,
            topic: None,
            invite: Vec::new(),
            room_version: None,
            creation_content: None,
            initial_state: Vec::new(),
            preset: None,
            is_direct: false,
            power_level_content_override: None,
        }
    }

    fn preset(&self) -> Preset {
        self.preset.unwrap_or(if self.published { Preset::PublicChat } else { Preset::PrivateChat })
    }
}

impl Rooms {
    pub async fn create(&self, request: CreateRoom<'_>) -> Result<OwnedRoomId, Error> {
        let inner = &*self.inner;
        let version = inner.version(request.room_version)?;
        let alias = request.room_alias_name.map(|name| inner.alias(name)).transpose()?;
        inner.check_request(&request)?;
        let mut cached_state = StateCache::default();
        let mut draft = Draft::first(inner, version, &mut cached_state);
        inner.draft_room(&mut draft, &request, alias.as_deref()).await?;
        let room_id = draft.room_id().to_owned();
        let claim = match &alias {
            Some(alias) => Some(inner.claim_alias(alias, &room_id, request.creator).await?),
            None => None,
        };
        let published = request.published;
        let submitted = inner
            .submit_new_room(draft, |batch| {
                if published {
                    batch.derive_put::<Published>(&"", &room_id, &());
                }
            })
            .await?;
        submitted.durable(inner).await?;
        drop(claim);
        self.invite_others(&request, &room_id).await;
        Ok(room_id)
    }
}

impl Rooms {
    /// Invites those whose servers have a say. The room exists, so who cannot be had is left out, as
    /// deployed servers do.
    async fn invite_others(&self, request: &CreateRoom<'_>, room: &ruma::RoomId) {
        for user in request.invite.iter().filter(|user| !self.inner.is_local(user)) {
            let content = invite_content(request, user);
            if let Err(error) = self.invite_remotely(room, request.creator, user, &content).await {
                tracing::info!(%error, %user, %room, "a user could not be invited");
            }
        }
    }
}

impl Inner {
    pub(crate) fn version(&self, id: Option<&str>) -> Result<&'static RoomVersion, Error> {
        match id {
            None => Ok(self.default_version),
            Some(id) => {
                RoomVersion::parse(id).ok_or_else(|| Error::UnsupportedRoomVersion(id.to_owned()))
            }
        }
    }

    fn alias(&self, local_part: &str) -> Result<OwnedRoomAliasId, Error> {
        let bad = || Error::InvalidParam(format!("{local_part:?} cannot be part of an alias"));
        let forbidden = |c: char| c == ':' || c == '\0' || c.is_control() || c.is_whitespace();
        if local_part.is_empty() || local_part.contains(forbidden) {
            return Err(bad());
        }
        RoomAliasId::parse(format!("#{local_part}:{}", self.server_name)).map_err(|_| bad())
    }

    fn check_request(&self, request: &CreateRoom<'_>) -> Result<(), Error> {
        if request.invite.len() > MAX_INVITES || request.initial_state.len() > MAX_INITIAL_STATE {
            return Err(Error::TooLarge("too many invitations or initial events".to_owned()));
        }
        Ok(())
    }

    async fn draft_room(
        &self,
        draft: &mut Draft<'_>,
        request: &CreateRoom<'_>,
        alias: Option<&RoomAliasId>,
    ) -> Result<(), Error> {
        let create = create_content(request, draft.version())?;
        self.draft_create(draft, request.creator, &request.creator_profile, &create).await?;
        let implied = self.implied_state(request, draft.version(), alias)?;
        for (event_type, content) in implied {
            add_state(draft, request.creator, event_type, "", &content.to_raw()).await?;
        }
        for event in &request.initial_state {
            self.add_initial_state(draft, request.creator, event).await?;
        }
        for (event_type, content) in name_and_topic(request) {
            add_state(draft, request.creator, event_type, "", &content.to_raw()).await?;
        }
        self.add_invites(draft, request).await
    }

    /// The create event and its creator's join.
    pub(crate) async fn draft_create(
        &self,
        draft: &mut Draft<'_>,
        creator: &UserId,
        profile: &Profile,
        content: &Content,
    ) -> Result<(), Error> {
        let content = content.to_raw();
        let timestamp = Some(self.creation_time());
        draft
            .append(Says { timestamp, ..Says::state(creator, "m.room.create", "", &content) })
            .await
            .map_err(refused_as_bad_request)?;
        let join = member_content("join", profile, None).to_raw();
        draft.append(Says::state(creator, "m.room.member", creator.as_str(), &join)).await?;
        Ok(())
    }

    /// Power levels, the canonical alias, and what the preset gives.
    fn implied_state(
        &self,
        request: &CreateRoom<'_>,
        version: &RoomVersion,
        alias: Option<&RoomAliasId>,
    ) -> Result<Vec<(&'static str, Content)>, Error> {
        let mut implied =
            vec![("m.room.power_levels", power_levels::for_request(request, version)?)];
        if let Some(alias) = alias {
            let mut content = Content::new();
            content.set("alias", alias);
            implied.push(("m.room.canonical_alias", content));
        }
        let given = |event_type: &str| {
            request
                .initial_state
                .iter()
                .any(|event| event.event_type == event_type && event.state_key.is_empty())
        };
        // "Takes precedence over events set by `preset`".
        implied.extend(request.preset().state().into_iter().filter(|(kind, _)| !given(kind)));
        Ok(implied)
    }

    async fn add_initial_state(
        &self,
        draft: &mut Draft<'_>,
        creator: &UserId,
        event: &InitialState,
    ) -> Result<(), Error> {
        if event.event_type == "m.room.create" {
            let reason = "`m.room.create` cannot be part of the initial state";
            return Err(Error::InvalidParam(reason.to_owned()));
        }
        let says = Says::state(creator, &event.event_type, &event.state_key, &event.content);
        state_rules::check(self, draft, &says).await?;
        draft.append(says).await.map_err(refused_as_room_state)?;
        Ok(())
    }

    async fn add_invites(
        &self,
        draft: &mut Draft<'_>,
        request: &CreateRoom<'_>,
    ) -> Result<(), Error> {
        for user in request.invite.iter().filter(|user| self.is_local(user)) {
            let current = draft.membership(user).await?;
            if matches!(current, MembershipState::Join | MembershipState::Invite) {
                continue;
            }
            let content = invite_content(request, user).to_raw();
            draft
                .append(Says::state(request.creator, "m.room.member", user.as_str(), &content))
                .await
                .map_err(refused_as_room_state)?;
        }
        Ok(())
    }
}

fn invite_content(request: &CreateRoom<'_>, user: &UserId) -> Content {
    let profiles = &request.invitee_profiles;
    let profile = profiles.iter().find(|(of, _)| of == user).map(|(_, profile)| profile);
    let mut content = member_content("invite", profile.unwrap_or(&Profile::default()), None);
    content.set_some("is_direct", request.is_direct.then_some(true));
    content
}

async fn add_state(
    draft: &mut Draft<'_>,
    creator: &UserId,
    event_type: &str,
    state_key: &str,
    content: &RawValue,
) -> Result<(), Error> {
    state_rules::check_types(event_type, content)?;
    draft
        .append(Says::state(creator, event_type, state_key, content))
        .await
        .map_err(refused_as_room_state)?;
    Ok(())
}

/// "the user's `power_level` is set below that necessary to set the room name (`errcode` set to
/// `M_INVALID_ROOM_STATE`)".
fn refused_as_room_state(error: Error) -> Error {
    match error {
        Error::Forbidden(reason) => Error::InvalidRoomState(reason),
        other => other,
    }
}

/// Only the content of the create event can be at fault.
fn refused_as_bad_request(error: Error) -> Error {
    match error {
        Error::Forbidden(reason) => Error::InvalidParam(reason),
        other => other,
    }
}

fn create_content(request: &CreateRoom<'_>, version: &RoomVersion) -> Result<Content, Error> {
    let mut content = match request.creation_content {
        Some(given) => Content::parse(given, "`creation_content`")?,
        None => Content::new(),
    };
    check_value::<bool>(&content, "m.federate", "a boolean")?;
    check_value::<String>(&content, "type", "a string")?;
    check_value::<serde_json::Map<String, serde_json::Value>>(
        &content,
        "predecessor",
        "an object",
    )?;
    // "The server will overwrite the following keys: `creator`, `room_version`."
    content.remove("creator");
    if !version.creator_is_sender() {
        content.set("creator", request.creator);
    }
    content.set("room_version", version.as_str());
    if version.additional_creators() && request.preset() == Preset::TrustedPrivateChat {
        let mut creators: Vec<OwnedUserId> = match content.get("additional_creators") {
            Some(given) => serde_json::from_str(given.get()).map_err(|_| {
                Error::InvalidParam("`additional_creators` must be user ids".to_owned())
            })?,
            None => Vec::new(),
        };
        creators.extend(request.invite.iter().cloned());
        creators.retain(|user| user != request.creator);
        creators.sort();
        creators.dedup();
        content.set("additional_creators", creators);
    }
    Ok(content)
}

fn check_value<T: serde::de::DeserializeOwned>(
    content: &Content,
    key: &str,
    what: &str,
) -> Result<(), Error> {
    match content.get(key).map(|value| serde_json::from_str::<T>(value.get())) {
        Some(Err(_)) => Err(Error::BadJson(format!("`{key}` must be {what}"))),
        _ => Ok(()),
    }
}

fn name_and_topic(request: &CreateRoom<'_>) -> Vec<(&'static str, Content)> {
    let mut events = Vec::new();
    if let Some(name) = request.name {
        let mut content = Content::new();
        content.set("name", name);
        events.push(("m.room.name", content));
    }
    if let Some(topic) = request.topic {
        let text = serde_json::json!({ "m.text": [{ "body": topic, "mimetype": "text/plain" }] });
        let mut content = Content::new();
        content.set("topic", topic).set("m.topic", text);
        events.push(("m.room.topic", content));
    }
    events
}
