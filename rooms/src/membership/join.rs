//! Joining.

use ruma::{UserId, events::room::member::MembershipState};

use crate::{
    Error, JoinRequest, Rooms,
    content::Content,
    membership::{check_member_types, guests, member_content},
    room::Writer,
    rooms::Inner,
};

impl Rooms {
    /// Joins a room, through another server if this one is not in it or may not let the user in.
    /// Joining again changes nothing.
    pub async fn join(&self, request: JoinRequest<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        if !inner.is_resident(request.room_id).await? {
            let _flight = inner.join_flights.enter(request.room_id).await;
            // Whoever was faster may have brought the room here.
            if !inner.is_resident(request.room_id).await? {
                return inner.join_remotely(&request).await;
            }
        }
        match self.join_here(&request).await {
            Err(error @ (Error::UnableToGrantJoin | Error::UnableToAuthoriseJoin)) => {
                match inner.join_remotely(&request).await {
                    // Nobody else is there to ask.
                    Err(Error::NotFound(_)) => Err(error),
                    other => other,
                }
            }
            other => other,
        }
    }

    async fn join_here(&self, request: &JoinRequest<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        let mut writer = inner.writer(request.room_id).await?.ok_or(Error::NotFound("the room"))?;
        let mut draft = writer.draft(inner);
        if draft.membership(request.user).await? == MembershipState::Join {
            let member = draft.state("m.room.member", request.user.as_str()).await?;
            drop(writer);
            if let Some(member) = member {
                inner.answer_with(member.event_id().clone()).await?;
            }
            return Ok(());
        }
        if request.guest && !guests::may_join(&mut draft).await? {
            return Err(Error::GuestsForbidden);
        }
        let mut content = join_content(request)?;
        inner.authorise_join(&mut writer, request.user, &mut content).await?;
        inner.set_member(writer, request.user, request.user, &content).await?;
        Ok(())
    }
}

impl Inner {
    /// In a restricted room: finds somebody who vouches for the join, if it needs that.
    pub(crate) async fn authorise_join(
        &self,
        writer: &mut Writer,
        user: &UserId,
        content: &mut Content,
    ) -> Result<(), Error> {
        let local_joined = writer.view().local_joined.clone();
        let mut draft = writer.draft(self);
        if let Some(vouching) = self.vouching_user(&mut draft, user, &local_joined).await? {
            content.set("join_authorised_via_users_server", vouching);
        }
        Ok(())
    }
}

pub(crate) fn join_content(request: &JoinRequest<'_>) -> Result<Content, Error> {
    let mut content = match request.extra {
        Some(extra) => Content::parse(extra, "the content of a join")?,
        None => Content::new(),
    };
    check_member_types(&content)?;
    content.remove("join_authorised_via_users_server");
    content.extend(member_content("join", &request.profile, request.reason));
    if request.guest {
        let (key, value) = guests::KIND;
        content.set(key, value);
    }
    Ok(content)
}
