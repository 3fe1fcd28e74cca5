//! Replacing a room by one of another version.

use events::{Pdu, RoomVersion};
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, events::room::member::MembershipState};
use serde::Deserialize;
use serde_json::{Map, Value, value::to_raw_value};
use storage::{Batch, CommitError, Range};

use crate::{
    Error, Profile, Rooms,
    content::Content,
    draft::{Draft, Says},
    membership::member_content,
    room::StateCache,
    rooms::Inner,
    store::{AliasRecord, Aliases, AliasesByRoom, Members, Published},
};

/// "the recommended state events to transfer", power levels apart.
const TRANSFERRED: [&str; 8] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
];
/// Bans and rooms of a space that are transferred.
const MAX_TRANSFERRED: usize = 1000;

#[derive(Clone, Debug)]
pub struct UpgradeRoom<'a> {
    pub room_id: &'a RoomId,
    pub sender: &'a UserId,
    pub sender_profile: Profile,
    pub new_version: &'a str,
    /// Only for versions that know them (12 on).
    pub additional_creators: Vec<OwnedUserId>,
}

impl Rooms {
    /// Returns the id of the replacement.
    pub async fn upgrade(&self, request: UpgradeRoom<'_>) -> Result<OwnedRoomId, Error> {
        let inner = &*self.inner;
        let version = inner.version(Some(request.new_version))?;
        let moved = inner.names_of(request.room_id).await?;
        let mut writer = inner.writer(request.room_id).await?.ok_or(Error::NotFound("the room"))?;
        let old_room = writer.room.clone();
        let mut old = writer.draft(inner);
        check_sender(&mut old, request.sender).await?;
        let mut cached_state = StateCache::default();
        let mut new = Draft::first(inner, version, &mut cached_state);
        inner.link(&mut old, &mut new, &request).await?;
        inner.transfer(&mut old, &mut new, &request).await?;
        give_up_names(&mut old, request.sender).await?;
        close(&mut old, request.sender).await?;
        let new_id = new.room_id().to_owned();
        // The replacement is submitted first, so it is durable no later than what points to it.
        let replacement = inner
            .submit_new_room(new, |batch| moved.add_to(batch, request.room_id, &new_id))
            .await?;
        let outcome = old.submit(&old_room, |_| {})?;
        let closed = writer.finish(outcome);
        replacement.durable(inner).await?;
        closed.durable(inner).await?;
        Ok(new_id)
    }
}

impl Rooms {
    /// The room that this one replaces, if that says so too.
    pub async fn replaced_by(&self, room: &RoomId) -> Result<Option<OwnedRoomId>, Error> {
        #[derive(Deserialize)]
        struct Create {
            predecessor: Predecessor,
        }
        #[derive(Deserialize)]
        struct Predecessor {
            room_id: OwnedRoomId,
        }
        #[derive(Deserialize)]
        struct Tombstone {
            replacement_room: OwnedRoomId,
        }
        let Some(view) = self.inner.view(room).await? else { return Ok(None) };
        let Ok(Create { predecessor }) = view.create.content_as() else { return Ok(None) };
        let Some(old) = self.inner.view(&predecessor.room_id).await? else { return Ok(None) };
        let tombstone = self.state_get(old.state, "m.room.tombstone", "").await?;
        let named = tombstone.and_then(|event| event.pdu.content_as::<Tombstone>().ok());
        let agreed = named.is_some_and(|named| named.replacement_room == room);
        Ok(agreed.then_some(predecessor.room_id))
    }

    /// Aliases of this server, and the place in its directory, go from `old` to the room that
    /// replaced it on another server.
    pub async fn move_names(&self, old: &RoomId, new: &RoomId) -> Result<(), Error> {
        let moved = self.inner.names_of(old).await?;
        if moved.aliases.is_empty() && !moved.published {
            return Ok(());
        }
        let mut batch = Batch::new();
        for (alias, record) in &moved.aliases {
            batch.if_equal::<Aliases>(alias, (), record);
        }
        moved.add_to(&mut batch, old, new);
        match self.inner.store.commit(batch).await {
            // Somebody else moves or deletes them at this moment.
            Ok(_) | Err(CommitError::Condition) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

async fn check_sender(old: &mut Draft<'_>, sender: &UserId) -> Result<(), Error> {
    if old.membership(sender).await? != MembershipState::Join {
        return Err(Error::NotJoined);
    }
    if !old.power_levels().await?.can_send(sender, "m.room.tombstone", true) {
        return Err(Error::Forbidden("your power does not allow to replace this room".to_owned()));
    }
    Ok(())
}

/// The aliases of a room and its place in the directory, which move to the replacement.
struct Names {
    aliases: Vec<(String, AliasRecord)>,
    published: bool,
}

impl Names {
    fn add_to(&self, batch: &mut Batch, old: &RoomId, new: &RoomId) {
        for (alias, record) in &self.aliases {
            let creator = record.creator.clone();
            let record = AliasRecord { room_id: new.to_owned(), creator };
            batch.derive_put::<Aliases>(alias, (), &record);
            batch.derive_put::<AliasesByRoom>(new, alias, &());
            batch.derive_delete::<AliasesByRoom>(old, alias);
        }
        if self.published {
            batch.derive_put::<Published>(&"", new, &());
            batch.derive_delete::<Published>(&"", old);
        }
    }
}

impl Inner {
    async fn names_of(&self, room_id: &RoomId) -> Result<Names, Error> {
        let range = Range::all().limit(MAX_TRANSFERRED);
        let mut aliases = Vec::new();
        for row in self.store.scan::<AliasesByRoom>(room_id, range).await? {
            if let Some(record) = self.store.get::<Aliases>(&row.sort, ()).await? {
                aliases.push((row.sort, record));
            }
        }
        let published = self.store.get::<Published>(&"", room_id).await?.is_some();
        Ok(Names { aliases, published })
    }

    /// Tombstone and create event, which name one another as far as the version allows.
    async fn link(
        &self,
        old: &mut Draft<'_>,
        new: &mut Draft<'_>,
        request: &UpgradeRoom<'_>,
    ) -> Result<(), Error> {
        let UpgradeRoom { sender, sender_profile, .. } = request;
        if new.version().room_id_is_create_hash() {
            // The room's id follows from the create event, so that cannot name the tombstone.
            let create = create_content(old, new.version(), request, None).await?;
            self.draft_create(new, sender, sender_profile, &create).await?;
            add_tombstone(old, sender, new.room_id()).await?;
        } else {
            let tombstone = add_tombstone(old, sender, new.room_id()).await?;
            let create = create_content(old, new.version(), request, Some(&tombstone)).await?;
            self.draft_create(new, sender, sender_profile, &create).await?;
        }
        Ok(())
    }

    /// Copies what the room is, to the room that replaces it.
    async fn transfer(
        &self,
        old: &mut Draft<'_>,
        new: &mut Draft<'_>,
        request: &UpgradeRoom<'_>,
    ) -> Result<(), Error> {
        let sender = request.sender;
        for event_type in TRANSFERRED {
            if let Some(event) = old.state(event_type, "").await? {
                new.append(Says::state(sender, event_type, "", event.content())).await?;
            }
        }
        // A room that says nothing of guests lets none in. Its replacement says so, as clients and
        // tools expect of every replacement.
        if old.state("m.room.guest_access", "").await?.is_none() {
            let mut content = Content::new();
            let content = content.set("guest_access", "forbidden").to_raw();
            new.append(Says::state(sender, "m.room.guest_access", "", &content)).await?;
        }
        if let Some(event) = old.state("m.room.canonical_alias", "").await? {
            let says = Says::state(sender, "m.room.canonical_alias", "", event.content());
            new.append(says).await?;
        }
        self.transfer_space_children(old, new, sender).await?;
        self.transfer_bans(old, new, sender).await?;
        // Last: so far the creator's power is enough for everything.
        if let Some(levels) = old.state("m.room.power_levels", "").await? {
            let content = transferred_levels(&levels, new.version(), request);
            let content = to_raw_value(&content).expect("a JSON value is JSON");
            new.append(Says::state(sender, "m.room.power_levels", "", &content)).await?;
        }
        Ok(())
    }

    async fn transfer_space_children(
        &self,
        old: &mut Draft<'_>,
        new: &mut Draft<'_>,
        sender: &UserId,
    ) -> Result<(), Error> {
        let create = old.state("m.room.create", "").await?;
        if !create.is_some_and(|create| create.content_str().contains("m.space")) {
            return Ok(());
        }
        let entries = self.trie.entries(old.first_state()).await?;
        let children = entries.iter().filter(|entry| entry.event_type == "m.space.child");
        for child in children.take(MAX_TRANSFERRED) {
            if let Some(event) = old.state("m.space.child", &child.state_key).await? {
                let says = Says::state(sender, "m.space.child", &child.state_key, event.content());
                new.append(says).await?;
            }
        }
        Ok(())
    }

    async fn transfer_bans(
        &self,
        old: &mut Draft<'_>,
        new: &mut Draft<'_>,
        sender: &UserId,
    ) -> Result<(), Error> {
        let rows = self.store.scan::<Members>(old.room_id(), Range::all()).await?;
        let banned = rows.iter().filter(|row| row.value.membership == MembershipState::Ban);
        for row in banned.take(MAX_TRANSFERRED) {
            let content = member_content("ban", &Profile::default(), None).to_raw();
            new.append(Says::state(sender, "m.room.member", &row.sort, &content)).await?;
        }
        Ok(())
    }
}

async fn create_content(
    old: &mut Draft<'_>,
    version: &RoomVersion,
    request: &UpgradeRoom<'_>,
    tombstone: Option<&ruma::EventId>,
) -> Result<Content, Error> {
    let create = old.state("m.room.create", "").await?;
    let create = create.ok_or_else(|| Error::Internal("a room has no create event".to_owned()))?;
    let old_content = Content::parse(create.content(), "the content of an event")?;
    let mut predecessor = Content::new();
    predecessor.set("room_id", old.room_id()).set_some("event_id", tombstone);
    let mut content = Content::new();
    content
        .set("room_version", version.as_str())
        .set("predecessor", predecessor.to_raw())
        .set_some("type", old_content.get("type"))
        .set_some("m.federate", old_content.get("m.federate"));
    if !version.creator_is_sender() {
        content.set("creator", request.sender);
    }
    if version.additional_creators() && !request.additional_creators.is_empty() {
        content.set("additional_creators", &request.additional_creators);
    }
    Ok(content)
}

async fn add_tombstone(
    old: &mut Draft<'_>,
    sender: &UserId,
    replacement: &RoomId,
) -> Result<ruma::OwnedEventId, Error> {
    let mut content = Content::new();
    content.set("body", "This room has been replaced").set("replacement_room", replacement);
    let content = content.to_raw();
    let tombstone = old.append(Says::state(sender, "m.room.tombstone", "", &content)).await?;
    Ok(tombstone.event_id().clone())
}

/// The canonical aliases lead to the replacement now. One who may not say so leaves them.
async fn give_up_names(old: &mut Draft<'_>, sender: &UserId) -> Result<(), Error> {
    if old.state("m.room.canonical_alias", "").await?.is_none() {
        return Ok(());
    }
    let content = Content::new().to_raw();
    let says = Says::state(sender, "m.room.canonical_alias", "", &content);
    match old.append(says).await {
        Err(Error::Forbidden(_)) => Ok(()),
        other => other.map(drop),
    }
}

/// "setting `events_default` and `invite` to the greater of `50` and `users_default + 1`", "if
/// possible".
async fn close(old: &mut Draft<'_>, sender: &UserId) -> Result<(), Error> {
    let Some(levels) = old.state("m.room.power_levels", "").await? else { return Ok(()) };
    let mut content: Map<String, Value> = levels.content_as().unwrap_or_default();
    let floor = level(&content, "users_default", 0).saturating_add(1).max(50);
    for (key, default) in [("events_default", 0), ("invite", 0)] {
        let raised = level(&content, key, default).max(floor);
        content.insert(key.to_owned(), raised.into());
    }
    let content = to_raw_value(&content).expect("a JSON value is JSON");
    match old.append(Says::state(sender, "m.room.power_levels", "", &content)).await {
        Err(Error::Forbidden(_)) => Ok(()),
        other => other.map(drop),
    }
}

fn transferred_levels(
    levels: &Pdu,
    version: &RoomVersion,
    request: &UpgradeRoom<'_>,
) -> Map<String, Value> {
    let mut content: Map<String, Value> = levels.content_as().unwrap_or_default();
    // Versions before 10 allowed text.
    content.values_mut().for_each(to_integers);
    let state_default = level(&content, "state_default", 50);
    if version.creators_have_infinite_power() {
        if let Some(users) = entry(&mut content, "users") {
            users.remove(request.sender.as_str());
            request.additional_creators.iter().for_each(|user| {
                users.remove(user.as_str());
            });
        }
        let tombstone = state_default.saturating_add(1).max(150);
        if let Some(events) = entry(&mut content, "events") {
            events.insert("m.room.tombstone".to_owned(), tombstone.into());
        }
    } else if let Some(users) = entry(&mut content, "users") {
        // A creator of the old room may have had power without being named.
        users.entry(request.sender.as_str()).or_insert(100.into());
    }
    content
}

fn entry<'a>(content: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    content.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

fn to_integers(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Ok(number) = text.trim().parse::<i64>() {
                *value = number.into();
            }
        }
        Value::Object(object) => object.values_mut().for_each(to_integers),
        _ => {}
    }
}

fn level(content: &Map<String, Value>, key: &str, default: i64) -> i64 {
    content.get(key).and_then(Value::as_i64).unwrap_or(default)
}
