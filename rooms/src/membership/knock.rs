//! Knocking: asking to be let in.

use crate::{Error, KnockRequest, Rooms, membership::member_content};

impl Rooms {
    pub async fn knock(&self, request: KnockRequest<'_>) -> Result<(), Error> {
        let inner = &*self.inner;
        if !inner.is_resident(request.room_id).await? {
            return inner.knock_remotely(&request).await;
        }
        let writer = inner.writer(request.room_id).await?.ok_or(Error::NotFound("the room"))?;
        if !writer.view().version.knocking() {
            return Err(Error::Forbidden("this room's version does not know knocking".to_owned()));
        }
        let content = member_content("knock", &request.profile, request.reason);
        inner.set_member(writer, request.user, request.user, &content).await?;
        Ok(())
    }
}
