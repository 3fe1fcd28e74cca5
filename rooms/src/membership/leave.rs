//! Leaving, and making others leave.

use ruma::{RoomId, UserId, events::room::member::MembershipState};

use crate::{Error, MembershipChange, Profile, Rooms, membership::member_content};

impl Rooms {
    /// Leaves, rejects an invitation or takes a knock back. Leaving again changes nothing.
    pub async fn leave(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        if !inner.is_resident(room).await? {
            return self.leave_from_outside(room, user, reason).await;
        }
        let mut writer = inner.member_writer(room).await?;
        let mut draft = writer.draft(inner);
        let member = draft.state("m.room.member", user.as_str()).await?;
        let member = member.ok_or(Error::NotJoined)?;
        if member.membership() == Some(MembershipState::Leave) {
            drop(writer);
            inner.answer_with(member.event_id().clone()).await?;
            return Ok(());
        }
        let content = member_content("leave", &Profile::default(), reason);
        inner.set_member(writer, user, user, &content).await?;
        Ok(())
    }

    /// Leaves a room that this server is not in: there is an invite or a knock to take back.
    async fn leave_from_outside(
        &self,
        room: &RoomId,
        user: &UserId,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let row = self.user_room(user, room).await?.ok_or(Error::NotJoined)?;
        if !matches!(row.membership, MembershipState::Invite | MembershipState::Knock) {
            return Ok(());
        }
        let member = self.inner.events.get(&row.event_id).await?.ok_or(Error::NotJoined)?;
        self.inner.leave_remotely(room, user, member, reason).await
    }

    /// Removes somebody who is in the room, or takes back their invitation.
    pub async fn kick(&self, change: MembershipChange<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        let mut writer = inner.member_writer(change.room_id).await?;
        let mut draft = writer.draft(inner);
        if draft.membership(change.sender).await? != MembershipState::Join {
            return Err(Error::NotJoined);
        }
        let current = draft.membership(change.target).await?;
        if matches!(current, MembershipState::Leave | MembershipState::Ban) {
            return Err(Error::Forbidden(format!("{} is not in the room", change.target)));
        }
        let content = member_content("leave", &Profile::default(), change.reason);
        inner.set_member(writer, change.sender, change.target, &content).await?;
        Ok(())
    }
}
