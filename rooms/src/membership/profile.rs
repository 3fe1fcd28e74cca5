//! A user's profile in the member events of their rooms.

use ruma::{RoomId, UserId, events::room::member::MembershipState};

use crate::{
    Error, Profile, Rooms, commit::Submitted, content::Content, draft::Says, rooms::Inner,
    send::unchanged,
};

impl Rooms {
    /// Writes the profile into the user's member event of each joined room. A room that does not
    /// allow it keeps the old one.
    pub async fn set_profile_in_rooms(
        &self,
        user: &UserId,
        profile: &Profile,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        let mut waiting = Vec::new();
        for room in self.rooms_of(user).await? {
            if room.membership != MembershipState::Join {
                continue;
            }
            match inner.set_profile(&room.room_id, user, profile).await {
                Ok(submitted) => waiting.extend(submitted),
                Err(Error::Forbidden(reason)) => {
                    tracing::debug!(room_id = %room.room_id, %user, reason, "profile not updated");
                }
                Err(error) => return Err(error),
            }
        }
        for submitted in waiting {
            submitted.durable(inner).await?;
        }
        Ok(())
    }
}

impl Inner {
    /// `None` if nothing changes.
    async fn set_profile(
        &self,
        room_id: &RoomId,
        user: &UserId,
        profile: &Profile,
    ) -> Result<Option<Submitted>, Error> {
        let mut writer = self.member_writer(room_id).await?;
        let room = writer.room.clone();
        let mut draft = writer.draft(self);
        let Some(member) = draft.state("m.room.member", user.as_str()).await? else {
            return Ok(None);
        };
        if member.membership() != Some(MembershipState::Join) {
            return Ok(None);
        }
        let mut content = Content::parse(member.content(), "the content of an event")?;
        // Whoever vouched did so for the join, and need not be in the room any more.
        for key in ["displayname", "avatar_url", "reason", "join_authorised_via_users_server"] {
            content.remove(key);
        }
        content
            .set_some("displayname", profile.displayname.as_deref())
            .set_some("avatar_url", profile.avatar_url.as_deref());
        let content = content.to_raw();
        let says = Says::state(user, "m.room.member", user.as_str(), &content);
        if unchanged(&mut draft, &says, user.as_str()).await?.is_some() {
            return Ok(None);
        }
        let pdu = draft.append(says).await?;
        if draft.needs_recommendation(&pdu).await? {
            drop(writer);
            self.send_recommended(room_id, pdu, &says).await?;
            return Ok(None);
        }
        let outcome = draft.submit(&room, |_| {})?;
        Ok(Some(writer.finish(outcome)))
    }
}
