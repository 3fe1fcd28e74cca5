//! Who is in a room: what changes it, and the questions about it.

mod ban;
mod forget;
pub(crate) mod guests;
mod invite;
mod join;
mod knock;
mod leave;
mod profile;
mod query;
mod restricted;
mod stripped;
mod third_party;

pub(crate) use join::join_content;
pub use query::MembersPage;

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, RoomId, UserId,
    events::room::member::MembershipState,
};
use serde_json::value::RawValue;
use storage::Position;

use crate::{
    Error, NewEvent, Rooms, Root, content::Content, draft::Says, room::Writer, rooms::Inner,
    send::unchanged, store::Members,
};

/// What a member event says about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub displayname: Option<String>,
    pub avatar_url: Option<String>,
}

#[derive(Clone, Debug)]
pub struct JoinRequest<'a> {
    pub room_id: &'a RoomId,
    pub user: &'a UserId,
    pub profile: Profile,
    pub guest: bool,
    pub reason: Option<&'a str>,
    /// Further keys of the member event's content, a JSON object.
    pub extra: Option<&'a RawValue>,
    /// Servers that may be in the room, if this one is not.
    pub via: Vec<OwnedServerName>,
}

#[derive(Clone, Debug)]
pub struct KnockRequest<'a> {
    pub room_id: &'a RoomId,
    pub user: &'a UserId,
    pub profile: Profile,
    pub reason: Option<&'a str>,
    /// Servers that may be in the room, if this one is not.
    pub via: Vec<OwnedServerName>,
}

/// `sender` changes the membership of `target`.
#[derive(Clone, Copy, Debug)]
pub struct MembershipChange<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub target: &'a UserId,
    pub reason: Option<&'a str>,
}

/// A room as one of its (former) local users has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRoom {
    pub room_id: OwnedRoomId,
    pub membership: MembershipState,
    pub event_id: OwnedEventId,
    /// Of the member event.
    pub position: Position,
    /// The room's state just after the member event.
    pub state: Root,
    /// For one who is not in the room but was: the state at the end of that, which they may see.
    pub seen: Option<Root>,
    /// The user wants to hear of it no more.
    pub forgotten: bool,
}

/// The content of a member event.
pub(crate) fn member_content(membership: &str, profile: &Profile, reason: Option<&str>) -> Content {
    let mut content = Content::new();
    content
        .set("membership", membership)
        .set_some("displayname", profile.displayname.as_deref())
        .set_some("avatar_url", profile.avatar_url.as_deref())
        .set_some("reason", reason);
    content
}

impl Inner {
    /// Sends a member event and waits until it is durable. The same content again is not sent.
    async fn set_member(
        &self,
        mut writer: Writer,
        sender: &UserId,
        target: &UserId,
        content: &Content,
    ) -> Result<OwnedEventId, Error> {
        let room = writer.room.clone();
        let content = content.to_raw();
        let says = Says::state(sender, "m.room.member", target.as_str(), &content);
        let mut draft = writer.draft(self);
        if let Some(same) = unchanged(&mut draft, &says, target.as_str()).await? {
            drop(writer);
            return self.answer_with(same).await;
        }
        let pdu = draft.append(says).await?;
        if draft.needs_recommendation(&pdu).await? {
            drop(writer);
            return self.send_recommended(room.id(), pdu, &says).await;
        }
        let event_id = pdu.event_id().clone();
        let outcome = draft.submit(&room, |_| {})?;
        writer.finish(outcome).durable(self).await?;
        Ok(event_id)
    }
}

impl Rooms {
    /// `PUT /state/m.room.member/{user}`: the same checks as the endpoint made for it.
    pub(crate) async fn send_member(&self, event: NewEvent<'_>) -> Result<OwnedEventId, Error> {
        let target = event.state_key.unwrap_or_default();
        let target = UserId::parse(target)
            .map_err(|_| Error::InvalidParam("the state key must be a user id".to_owned()))?;
        let mut content = Content::parse(event.content, "the content of an event")?;
        check_member_types(&content)?;
        let membership: MembershipState = content
            .get("membership")
            .and_then(|value| serde_json::from_str(value.get()).ok())
            .ok_or_else(|| Error::BadJson("`membership` must be a string".to_owned()))?;
        // Whether a local user vouches for a join is decided here, not by who joins.
        content.remove("join_authorised_via_users_server");
        let inner = &*self.inner;
        let mut writer = inner.member_writer(event.room_id).await?;
        match membership {
            MembershipState::Join if target == event.sender => {
                inner.authorise_join(&mut writer, &target, &mut content).await?;
            }
            MembershipState::Invite => {
                inner.check_invitable(&mut writer, event.sender, &target).await?;
                if !inner.is_local(&target) {
                    drop(writer);
                    self.invite_remotely(event.room_id, event.sender, &target, &content).await?;
                    let row = inner.store.get::<Members>(event.room_id, &target).await?;
                    return row.map(|row| row.event_id).ok_or(Error::NotJoined);
                }
            }
            _ => {}
        }
        inner.set_member(writer, event.sender, &target, &content).await
    }
}

fn check_member_types(content: &Content) -> Result<(), Error> {
    for key in ["displayname", "avatar_url", "reason"] {
        let Some(value) = content.get(key) else { continue };
        serde_json::from_str::<Option<String>>(value.get())
            .map_err(|_| Error::BadJson(format!("`{key}` must be a string")))?;
    }
    Ok(())
}
