//! Room aliases of this server.

use std::collections::HashSet;

use parking_lot::Mutex;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId, UserId,
    events::room::member::MembershipState,
};
use storage::{Batch, CommitError, Range};

use crate::{
    Error, NewEvent, Rooms,
    content::Content,
    rooms::Inner,
    store::{AliasRecord, Aliases, AliasesByRoom, Heads},
};

/// Aliases of one room that are listed.
const MAX_LISTED: usize = 1000;

/// Aliases whose room is being created: an alias that leads nowhere is then not up for grabs.
#[derive(Default)]
pub(crate) struct AliasClaims(Mutex<HashSet<OwnedRoomAliasId>>);

/// Ends with the creation of the room.
pub(crate) struct AliasClaim<'a> {
    claims: &'a AliasClaims,
    alias: OwnedRoomAliasId,
}

impl Drop for AliasClaim<'_> {
    fn drop(&mut self) {
        self.claims.0.lock().remove(&self.alias);
    }
}

impl Rooms {
    /// Gives the room one more alias.
    pub async fn create_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        room: &RoomId,
    ) -> Result<(), Error> {
        if alias.server_name() != self.inner.server_name {
            return Err(Error::InvalidParam(format!("{alias} is not an alias of this server")));
        }
        if self.membership(user, room).await? != Some(MembershipState::Join) {
            return Err(Error::NotJoined);
        }
        self.inner.claim_alias(alias, room, user).await.map(drop)
    }

    /// As [`create_alias`](Self::create_alias), for whoever the name belongs to: they need not be in
    /// the room.
    pub async fn create_own_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        room: &RoomId,
    ) -> Result<(), Error> {
        if alias.server_name() != self.inner.server_name {
            return Err(Error::InvalidParam(format!("{alias} is not an alias of this server")));
        }
        if self.inner.view(room).await?.is_none() {
            return Err(Error::NotFound("the room"));
        }
        self.inner.claim_alias(alias, room, user).await.map(drop)
    }

    /// As [`delete_alias`](Self::delete_alias), for whoever the name belongs to.
    pub async fn delete_own_alias(&self, user: &UserId, alias: &RoomAliasId) -> Result<(), Error> {
        let record = self.inner.store.get::<Aliases>(alias, ()).await?;
        self.remove_alias(user, alias, record.ok_or(Error::NotFound("the alias"))?).await
    }

    /// Allowed to whoever made the alias, and to those who may change the canonical alias.
    pub async fn delete_alias(&self, user: &UserId, alias: &RoomAliasId) -> Result<(), Error> {
        let record = self.inner.store.get::<Aliases>(alias, ()).await?;
        let record = record.ok_or(Error::NotFound("the alias"))?;
        if record.creator != user && !self.may_set_aliases(user, &record.room_id).await? {
            let reason = "only its creator and moderators of the room may delete an alias";
            return Err(Error::Forbidden(reason.to_owned()));
        }
        self.remove_alias(user, alias, record).await
    }

    async fn remove_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        record: AliasRecord,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.if_equal::<Aliases>(alias, (), &record);
        batch.delete::<Aliases>(alias, ());
        batch.derive_delete::<AliasesByRoom>(&record.room_id, alias);
        match self.inner.store.commit(batch).await {
            Ok(_) => self.forget_alias(user, alias, &record.room_id).await,
            // Somebody else was faster.
            Err(CommitError::Condition) => Err(Error::NotFound("the alias")),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes an alias that is no more out of `m.room.canonical_alias`, if the user may.
    async fn forget_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        room: &RoomId,
    ) -> Result<(), Error> {
        let Some(view) = self.inner.view(room).await? else { return Ok(()) };
        let current = self.state_get(view.state, "m.room.canonical_alias", "").await?;
        let Some(current) = current else { return Ok(()) };
        let mut content = Content::parse(current.pdu.content(), "the canonical alias")?;
        if !remove_alias(&mut content, alias) {
            return Ok(());
        }
        let sent = self
            .send(NewEvent {
                room_id: room,
                sender: user,
                event_type: "m.room.canonical_alias",
                state_key: Some(""),
                content: &content.to_raw(),
                txn: None,
                timestamp: None,
            })
            .await;
        match sent {
            // The alias is gone in any case; what points to it is for a moderator to change.
            Ok(_) | Err(Error::Forbidden(_) | Error::NotJoined) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<Option<OwnedRoomId>, Error> {
        let record = self.inner.store.get::<Aliases>(alias, ()).await?;
        let Some(record) = record else { return Ok(None) };
        Ok(self.inner.view(&record.room_id).await?.map(|view| view.room_id.clone()))
    }

    /// The aliases of a room that the viewer is in, or that everybody may read.
    pub async fn aliases_of(
        &self,
        viewer: &UserId,
        room: &RoomId,
    ) -> Result<Vec<OwnedRoomAliasId>, Error> {
        let view = self.inner.view(room).await?.ok_or(Error::NotJoined)?;
        if self.membership(viewer, room).await? != Some(MembershipState::Join)
            && !self.is_world_readable(view.state).await?
        {
            return Err(Error::NotJoined);
        }
        self.local_aliases(room).await
    }

    /// As [`aliases_of`](Self::aliases_of), for whoever need not be asked who they are.
    pub async fn local_aliases(&self, room: &RoomId) -> Result<Vec<OwnedRoomAliasId>, Error> {
        let range = Range::all().limit(MAX_LISTED);
        let rows = self.inner.store.scan::<AliasesByRoom>(room, range).await?;
        Ok(rows.into_iter().filter_map(|row| RoomAliasId::parse(row.sort).ok()).collect())
    }

    /// Whether the user is in the room and may change its canonical alias.
    pub(crate) async fn may_set_aliases(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Result<bool, Error> {
        let inner = &*self.inner;
        let Some(mut writer) = inner.writer(room).await? else { return Ok(false) };
        let mut draft = writer.draft(inner);
        Ok(draft.membership(user).await? == MembershipState::Join
            && draft.power_levels().await?.can_send(user, "m.room.canonical_alias", true))
    }
}

/// Whether the alias was there.
fn remove_alias(content: &mut Content, alias: &RoomAliasId) -> bool {
    fn read<T: serde::de::DeserializeOwned>(content: &Content, key: &str) -> Option<T> {
        serde_json::from_str(content.get(key)?.get()).ok()
    }
    let main = read::<String>(content, "alias").is_some_and(|main| main == alias.as_str());
    if main {
        content.remove("alias");
    }
    let mut others: Vec<String> = read(content, "alt_aliases").unwrap_or_default();
    let before = others.len();
    others.retain(|other| other != alias.as_str());
    let other = others.len() < before;
    if other {
        content.set("alt_aliases", others);
    }
    main || other
}

impl Inner {
    /// Points the alias to the room, if nobody else has it. Durable when it returns; the claim is
    /// to be kept until the room is.
    pub(crate) async fn claim_alias(
        &self,
        alias: &RoomAliasId,
        room_id: &RoomId,
        creator: &UserId,
    ) -> Result<AliasClaim<'_>, Error> {
        if !self.alias_claims.0.lock().insert(alias.to_owned()) {
            return Err(Error::RoomInUse);
        }
        let claim = AliasClaim { claims: &self.alias_claims, alias: alias.to_owned() };
        let record = AliasRecord { room_id: room_id.to_owned(), creator: creator.to_owned() };
        let found = self.store.get::<Aliases>(alias, ()).await?;
        let mut batch = Batch::new();
        match &found {
            None => batch.if_absent::<Aliases>(alias, ()),
            // We were stopped between the claim and the creation of its room.
            Some(stale) if self.store.get::<Heads>(&stale.room_id, ()).await?.is_none() => {
                batch.if_equal::<Aliases>(alias, (), stale)
            }
            Some(_) => return Err(Error::RoomInUse),
        };
        batch.put::<Aliases>(alias, (), &record);
        batch.derive_put::<AliasesByRoom>(room_id, alias, &());
        match self.store.commit(batch).await {
            Ok(_) => Ok(claim),
            Err(CommitError::Condition) => Err(Error::RoomInUse),
            Err(error) => Err(error.into()),
        }
    }
}
