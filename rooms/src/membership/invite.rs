//! Inviting.

use ruma::{UserId, events::room::member::MembershipState};

use crate::{
    Error, MembershipChange, Profile, Rooms, membership::member_content, room::Writer, rooms::Inner,
};

impl Rooms {
    /// `profile` is the invited user's.
    pub async fn invite(
        &self,
        change: MembershipChange<'_>,
        profile: Profile,
        is_direct: bool,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        let mut writer = inner.member_writer(change.room_id).await?;
        inner.check_invitable(&mut writer, change.sender, change.target).await?;
        let is_local = inner.is_local(change.target);
        let mut content = member_content("invite", &profile, change.reason);
        content.set_some("is_direct", is_direct.then_some(true));
        if !is_local {
            drop(writer);
            let MembershipChange { room_id, sender, target, .. } = change;
            return self.invite_remotely(room_id, sender, target, &content).await;
        }
        inner.set_member(writer, change.sender, change.target, &content).await?;
        Ok(())
    }
}

impl Inner {
    pub(crate) async fn check_invitable(
        &self,
        writer: &mut Writer,
        sender: &UserId,
        target: &UserId,
    ) -> Result<(), Error> {
        // Who is in the room is told to those who are.
        if writer.draft(self).membership(sender).await? != MembershipState::Join {
            return Err(Error::NotJoined);
        }
        self.check_target_invitable(writer, target).await
    }

    pub(crate) async fn check_target_invitable(
        &self,
        writer: &mut Writer,
        target: &UserId,
    ) -> Result<(), Error> {
        match writer.draft(self).membership(target).await? {
            MembershipState::Join => {
                Err(Error::Forbidden(format!("{target} is already in the room")))
            }
            MembershipState::Ban => Err(Error::Forbidden(format!("{target} is banned"))),
            _ => Ok(()),
        }
    }
}
