//! Banning and unbanning.

use ruma::events::room::member::MembershipState;

use crate::{Error, MembershipChange, Profile, Rooms, membership::member_content};

impl Rooms {
    pub async fn ban(&self, change: MembershipChange<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        let writer = inner.member_writer(change.room_id).await?;
        let content = member_content("ban", &Profile::default(), change.reason);
        inner.set_member(writer, change.sender, change.target, &content).await?;
        Ok(())
    }

    pub async fn unban(&self, change: MembershipChange<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        let mut writer = inner.member_writer(change.room_id).await?;
        let mut draft = writer.draft(inner);
        if draft.membership(change.sender).await? != MembershipState::Join {
            return Err(Error::NotJoined);
        }
        if draft.membership(change.target).await? != MembershipState::Ban {
            return Err(Error::Forbidden(format!("{} is not banned", change.target)));
        }
        let content = member_content("leave", &Profile::default(), change.reason);
        inner.set_member(writer, change.sender, change.target, &content).await?;
        Ok(())
    }
}
