//! Guests: where they may join, and that they go when they may not be there any more.

use std::sync::Arc;

use ruma::{OwnedUserId, RoomId, events::room::member::MembershipState};
use serde::Deserialize;

use crate::{
    Error, Profile, Root,
    draft::{Draft, Says},
    membership::member_content,
    rooms::Inner,
    trie::NewNodes,
};

/// Marks the member event of a guest, so that it is known whom a later event puts out.
pub(crate) const KIND: (&str, &str) = ("kind", "guest");

/// "can_join: Guests are allowed to join the room"; all else, and nothing said, forbids it.
pub(crate) async fn may_join(draft: &mut Draft<'_>) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct GuestAccess {
        guest_access: String,
    }
    let event = draft.state("m.room.guest_access", "").await?;
    let content = event.and_then(|event| event.content_as::<GuestAccess>().ok());
    Ok(content.is_some_and(|content| content.guest_access == "can_join"))
}

/// Once guests may not join any more, "the server MUST set those users' room membership to
/// `leave`".
pub(crate) async fn put_out(draft: &mut Draft<'_>) -> Result<(), Error> {
    if may_join(draft).await? {
        return Ok(());
    }
    let local = draft.local_joined.clone();
    for user in local.iter() {
        if is_guest(draft, user).await? {
            let content = member_content("leave", &Profile::default(), None).to_raw();
            draft.append(Says::state(user, "m.room.member", user.as_str(), &content)).await?;
        }
    }
    Ok(())
}

impl Inner {
    /// The same after events of other servers, if they changed what the state `before` said. Not in
    /// the commit of those events: where they joined branches, a draft cannot go on. Durable on
    /// return.
    pub(crate) async fn put_out_guests(&self, room: &RoomId, before: Root) -> Result<(), Error> {
        let Some(view) = self.view(room).await? else { return Ok(()) };
        let nodes = NewNodes::default();
        let access = async |root| self.trie.get(root, "m.room.guest_access", "", &nodes).await;
        if view.state == before || access(view.state).await? == access(before).await? {
            return Ok(());
        }
        self.put_out_all_guests(room).await
    }

    /// If guests may not join the room. Durable on return.
    pub(crate) async fn put_out_all_guests(&self, room: &RoomId) -> Result<(), Error> {
        let Some(mut writer) = self.writer(room).await? else { return Ok(()) };
        let place = Arc::clone(&writer.room);
        let mut draft = writer.draft(self);
        put_out(&mut draft).await?;
        if draft.events.is_empty() {
            return Ok(());
        }
        let outcome = draft.submit(&place, |_| {})?;
        writer.finish(outcome).durable(self).await
    }
}

async fn is_guest(draft: &mut Draft<'_>, user: &OwnedUserId) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Member {
        kind: String,
    }
    let event = draft.state("m.room.member", user.as_str()).await?;
    let event = event.filter(|event| event.membership() == Some(MembershipState::Join));
    let content = event.and_then(|event| event.content_as::<Member>().ok());
    Ok(content.is_some_and(|content| content.kind == KIND.1))
}
