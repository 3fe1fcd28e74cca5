//! How events come into being: built on the room's head, and authorised against its state.
//!
//! A draft changes nothing until it is submitted (`commit.rs`), so an event that is refused leaves
//! nothing behind.

mod take_in;

use std::{collections::BTreeSet, sync::Arc};

use events::{ClientEvent, EventTemplate, Pdu, PowerLevels, RoomVersion, auth_events_for};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId,
    events::room::member::MembershipState,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Error, Root, StoredEvent, Txn, TxnEcho,
    room::{Head, Servers, StateCache, Writer},
    rooms::Inner,
    store::{Seen, UserRooms},
    trie::{Entry, NewNodes},
};

/// The greatest depth an event can have.
pub(crate) const MAX_DEPTH: u64 = (1 << 53) - 1;

/// What an event is to say.
#[derive(Clone, Copy)]
pub(crate) struct Says<'a> {
    pub(crate) sender: &'a UserId,
    pub(crate) event_type: &'a str,
    pub(crate) state_key: Option<&'a str>,
    pub(crate) content: &'a RawValue,
    pub(crate) redacts: Option<&'a EventId>,
    pub(crate) timestamp: Option<u64>,
    pub(crate) txn: Option<Txn<'a>>,
}

impl<'a> Says<'a> {
    pub(crate) fn state(
        sender: &'a UserId,
        event_type: &'a str,
        state_key: &'a str,
        content: &'a RawValue,
    ) -> Self {
        Self {
            sender,
            event_type,
            state_key: Some(state_key),
            content,
            redacts: None,
            timestamp: None,
            txn: None,
        }
    }

    fn echo(&self) -> Option<TxnEcho> {
        self.txn.map(|txn| TxnEcho {
            device_id: txn.device_id.to_owned(),
            txn_id: txn.txn_id.to_owned(),
        })
    }

    /// The row under which the transaction id is remembered.
    pub(crate) fn endpoint(&self) -> String {
        match self.redacts {
            Some(target) => format!("redact/{target}"),
            None => format!("send/{}", self.event_type),
        }
    }
}

/// A membership that an event, or the resolution that it led to, gave somebody.
pub(crate) struct MemberChange {
    pub(crate) user: OwnedUserId,
    /// The member event.
    pub(crate) event_id: OwnedEventId,
    pub(crate) before: MembershipState,
    pub(crate) membership: MembershipState,
    pub(crate) is_local: bool,
    pub(crate) seen: SeenBy,
}

/// What a local user may see of the room after the change.
pub(crate) enum SeenBy {
    /// They are joined, or never were.
    Nothing,
    /// They were joined until this event.
    ThisEvent,
    /// They were joined at some time before.
    Earlier(Seen),
}

/// What other events are found by.
pub(crate) struct Relation {
    pub(crate) parent: OwnedEventId,
    pub(crate) rel_type: String,
}

impl Relation {
    /// That of `m.relates_to`, if it has the form of one.
    pub(crate) fn of(pdu: &Pdu) -> Option<Self> {
        #[derive(Deserialize)]
        struct Content {
            #[serde(rename = "m.relates_to")]
            relates_to: RelatesTo,
        }
        #[derive(Deserialize)]
        struct RelatesTo {
            rel_type: String,
            event_id: OwnedEventId,
        }
        // Most events have none, and looking is cheaper than parsing.
        if !pdu.content_str().contains("m.relates_to") {
            return None;
        }
        let RelatesTo { rel_type, event_id } = pdu.content_as::<Content>().ok()?.relates_to;
        Some(Self { parent: event_id, rel_type })
    }
}

/// Whom this server tells of an event.
#[derive(Clone, Debug)]
pub(crate) enum Relay {
    /// Its sender's server does that.
    Nobody,
    /// Every server in the room.
    Everybody,
    /// Every server but the one that handed the event in.
    AllBut(OwnedServerName),
}

/// An authorised event, and what follows from it.
pub(crate) struct DraftEvent {
    pub(crate) pdu: Arc<Pdu>,
    pub(crate) client: ClientEvent,
    pub(crate) state_before: Root,
    pub(crate) state_after: Root,
    /// The room's current state with the event in it; `state_after` unless the room is forked.
    pub(crate) room_state: Root,
    pub(crate) txn: Option<TxnEcho>,
    /// Under which the transaction is remembered.
    pub(crate) endpoint: String,
    pub(crate) members: Vec<MemberChange>,
    pub(crate) relay: Relay,
    pub(crate) relation: Option<Relation>,
    /// A redaction that came before the event.
    pub(crate) redacted_by: Option<OwnedEventId>,
}

/// An event after its redaction, and the relation that the redaction took from it.
pub(crate) struct Redacted {
    pub(crate) event: Arc<StoredEvent>,
    pub(crate) relation: Option<Relation>,
}

/// The state that an event is judged by.
pub(crate) struct AuthState {
    pub(crate) selected: Vec<Arc<Pdu>>,
    pub(crate) create: Option<Arc<Pdu>>,
}

impl AuthState {
    /// All rules, for an event whose auth events these are.
    pub(crate) fn check(&self, version: &RoomVersion, pdu: &Pdu) -> Result<(), events::AuthError> {
        // In version 12 the create event is implied by the room id, not selected.
        let known = || self.selected.iter().chain(&self.create);
        events::check_state_independent(version, pdu, |id| {
            known().find(|event| event.event_id() == id).cloned()
        })?;
        self.check_by_state(version, pdu)
    }

    /// The rules that depend on state.
    pub(crate) fn check_by_state(
        &self,
        version: &RoomVersion,
        pdu: &Pdu,
    ) -> Result<(), events::AuthError> {
        let known = || self.selected.iter().chain(&self.create);
        events::check_auth(version, pdu, |event_type, state_key| {
            known()
                .find(|event| {
                    event.event_type() == event_type && event.state_key() == Some(state_key)
                })
                .cloned()
        })?;
        Ok(())
    }
}

/// Events of one room that are not submitted yet.
pub(crate) struct Draft<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) version: &'static RoomVersion,
    pub(crate) create: Option<Arc<Pdu>>,
    /// Of the state before the draft.
    cached_state: &'a mut StateCache,
    /// The state events of the draft.
    pub(crate) changed: Vec<Arc<Pdu>>,
    pub(crate) extremities: Vec<OwnedEventId>,
    pub(crate) depth: u64,
    pub(crate) state: Root,
    pub(crate) joined_members: u64,
    pub(crate) invited_members: u64,
    pub(crate) local_joined: Arc<BTreeSet<OwnedUserId>>,
    pub(crate) servers: Arc<Servers>,
    /// Those in the room before the draft.
    pub(crate) servers_before: Arc<Servers>,
    pub(crate) nodes: NewNodes,
    pub(crate) events: Vec<DraftEvent>,
    pub(crate) redacted: Vec<Redacted>,
    /// The state is not that before the draft with `changed` put over it.
    pub(crate) forked: bool,
}

impl<'a> Draft<'a> {
    /// Goes on from the room's head.
    pub(crate) fn on(inner: &'a Inner, head: &'a mut Head) -> Self {
        let Head { view, cached_state } = head;
        Self {
            room_id: Some(view.room_id.clone()),
            create: Some(Arc::clone(&view.create)),
            extremities: view.extremities.clone(),
            depth: view.depth,
            state: view.state,
            joined_members: view.joined_members,
            invited_members: view.invited_members,
            local_joined: Arc::clone(&view.local_joined),
            servers: Arc::clone(&view.servers),
            servers_before: Arc::clone(&view.servers),
            ..Self::first(inner, view.version, cached_state)
        }
    }

    /// Starts a room.
    pub(crate) fn first(
        inner: &'a Inner,
        version: &'static RoomVersion,
        cached_state: &'a mut StateCache,
    ) -> Self {
        // From version 12 on, the room's id follows from its create event.
        let room_id = (!version.room_id_is_create_hash()).then(|| inner.new_room_id());
        Self {
            inner,
            room_id,
            version,
            create: None,
            cached_state,
            changed: Vec::new(),
            extremities: Vec::new(),
            depth: 0,
            state: Root::EMPTY,
            joined_members: 0,
            invited_members: 0,
            local_joined: Arc::default(),
            servers: Arc::default(),
            servers_before: Arc::default(),
            nodes: NewNodes::default(),
            events: Vec::new(),
            redacted: Vec::new(),
            forked: false,
        }
    }

    pub(crate) fn version(&self) -> &'static RoomVersion {
        self.version
    }

    pub(crate) fn room_id(&self) -> &RoomId {
        self.room_id.as_deref().expect("asked for after the create event")
    }

    /// The state before the draft.
    pub(crate) fn first_state(&self) -> Root {
        self.events.first().map_or(self.state, |event| event.state_before)
    }

    /// The state event in force at this point of the draft.
    pub(crate) async fn state(
        &mut self,
        event_type: &str,
        state_key: &str,
    ) -> Result<Option<Arc<Pdu>>, Error> {
        let newest = self
            .changed
            .iter()
            .rev()
            .find(|pdu| pdu.event_type() == event_type && pdu.state_key() == Some(state_key));
        if let Some(pdu) = newest {
            return Ok(Some(Arc::clone(pdu)));
        }
        if let Some(known) = self.cached_state.get(event_type, state_key) {
            return Ok(known);
        }
        let id = self.inner.trie.get(self.state, event_type, state_key, &self.nodes).await?;
        let event = match id {
            Some(id) => self.inner.events.get_latest(&id).await?.map(|event| event.pdu.clone()),
            None => None,
        };
        self.cached_state.put(event_type, state_key, event.clone());
        Ok(event)
    }

    pub(crate) async fn membership(&mut self, user: &UserId) -> Result<MembershipState, Error> {
        let event = self.state("m.room.member", user.as_str()).await?;
        Ok(event.and_then(|event| event.membership()).unwrap_or(MembershipState::Leave))
    }

    pub(crate) async fn power_levels(&mut self) -> Result<PowerLevels, Error> {
        let event = self.state("m.room.power_levels", "").await?;
        let create = self.create.as_deref().expect("asked for after the create event");
        Ok(PowerLevels::new(self.version, create, event.as_deref()))
    }

    /// Builds, signs and authorises one more event.
    pub(crate) async fn append(&mut self, says: Says<'_>) -> Result<Arc<Pdu>, Error> {
        let auth = self.auth_state(&says).await?;
        let auth_events: Vec<_> =
            auth.selected.iter().map(|event| event.event_id().clone()).collect();
        let template = EventTemplate {
            room_id: self.room_id.as_deref(),
            sender: says.sender,
            event_type: says.event_type,
            state_key: says.state_key,
            content: says.content,
            prev_events: newest(&self.extremities),
            auth_events: &auth_events,
            depth: (self.depth + 1).min(MAX_DEPTH),
            origin_server_ts: says.timestamp.unwrap_or_else(|| self.inner.clock.now_ms()),
            redacts: says.redacts,
        };
        let inner = self.inner;
        let pdu = events::sign_and_build(&template, &inner.key, &inner.server_name, self.version)?;
        auth.check(self.version, &pdu)?;
        self.accept(Arc::new(pdu), &says).await
    }

    async fn auth_state(&mut self, says: &Says<'_>) -> Result<AuthState, Error> {
        let keys = auth_events_for(
            self.version,
            says.event_type,
            says.sender,
            says.state_key,
            says.content,
        )?;
        let mut selected = Vec::with_capacity(keys.len());
        for (event_type, state_key) in &keys {
            selected.extend(self.state(event_type, state_key).await?);
        }
        Ok(AuthState { selected, create: self.create.clone() })
    }

    async fn accept(&mut self, pdu: Arc<Pdu>, says: &Says<'_>) -> Result<Arc<Pdu>, Error> {
        if self.create.is_none() {
            self.create = Some(Arc::clone(&pdu));
            self.room_id = Some(pdu.room_id().to_owned());
        }
        let members = self.member_change(&pdu).await?.into_iter().collect();
        let state_before = self.state;
        if let Some(state_key) = pdu.state_key() {
            let entry = Entry {
                event_type: pdu.event_type().to_owned(),
                state_key: state_key.to_owned(),
                event_id: pdu.event_id().clone(),
            };
            self.state = self.inner.trie.insert(state_before, entry, &mut self.nodes).await?;
            self.changed.push(Arc::clone(&pdu));
        }
        let healed = newest(&self.extremities).len();
        self.extremities.truncate(self.extremities.len() - healed);
        self.extremities.push(pdu.event_id().clone());
        self.depth = self.depth.max(pdu.depth());
        self.events.push(DraftEvent {
            client: ClientEvent::new(&pdu, self.version),
            state_before,
            state_after: self.state,
            room_state: self.state,
            relay: Relay::Everybody,
            txn: says.echo(),
            endpoint: says.endpoint(),
            members,
            relation: Relation::of(&pdu),
            redacted_by: None,
            pdu: Arc::clone(&pdu),
        });
        Ok(pdu)
    }

    /// The last event of the draft is that of a local client's request.
    pub(crate) fn note_transaction(&mut self, says: &Says<'_>) {
        if let Some(event) = self.events.last_mut() {
            event.txn = says.echo();
            event.endpoint = says.endpoint();
        }
    }

    async fn member_change(&mut self, pdu: &Pdu) -> Result<Option<MemberChange>, Error> {
        let (Some(membership), Some(user)) = (pdu.membership(), pdu.state_key()) else {
            return Ok(None);
        };
        let user = UserId::parse(user)
            .map_err(|_| Error::InvalidParam("the state key must be a user id".to_owned()))?;
        let before = self.membership(&user).await?;
        let event_id = pdu.event_id().clone();
        self.change_membership(user, event_id, before, membership).await.map(Some)
    }

    /// Counts a change of membership.
    pub(crate) async fn change_membership(
        &mut self,
        user: OwnedUserId,
        event_id: OwnedEventId,
        before: MembershipState,
        membership: MembershipState,
    ) -> Result<MemberChange, Error> {
        self.count(&before, -1);
        self.count(&membership, 1);
        let is_local = self.inner.is_local(&user);
        if is_local && before != membership {
            if membership == MembershipState::Join {
                Arc::make_mut(&mut self.local_joined).insert(user.clone());
            } else if before == MembershipState::Join {
                Arc::make_mut(&mut self.local_joined).remove(&user);
            }
        }
        self.count_server(&user, &before, &membership);
        let seen = match (&before, &membership) {
            _ if !is_local => SeenBy::Nothing,
            (_, MembershipState::Join) => SeenBy::Nothing,
            (MembershipState::Join, _) => SeenBy::ThisEvent,
            _ => self.seen_before(&user).await?,
        };
        Ok(MemberChange { user, event_id, before, membership, is_local, seen })
    }

    fn count_server(&mut self, user: &UserId, before: &MembershipState, after: &MembershipState) {
        let (was, is) = (*before == MembershipState::Join, *after == MembershipState::Join);
        if was == is {
            return;
        }
        let servers = Arc::make_mut(&mut self.servers);
        let count = servers.entry(user.server_name().to_owned()).or_default();
        *count = if is { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            servers.remove(user.server_name());
        }
    }

    async fn seen_before(&self, user: &UserId) -> Result<SeenBy, Error> {
        let row = self.inner.store.get_latest::<UserRooms>(user, self.room_id()).await?;
        Ok(row.and_then(|row| row.seen).map_or(SeenBy::Nothing, SeenBy::Earlier))
    }

    fn count(&mut self, membership: &MembershipState, by: i64) {
        let count = match membership {
            MembershipState::Join => &mut self.joined_members,
            MembershipState::Invite => &mut self.invited_members,
            _ => return,
        };
        *count = count.saturating_add_signed(by);
    }

    /// Applies a redaction of this draft to the event it redacts.
    pub(crate) fn apply_redaction(&mut self, target: &StoredEvent, redaction: &EventId) {
        if target.redacted_by.is_none() {
            self.redacted.push(Redacted {
                event: Arc::new(target.redacted(redaction)),
                relation: Relation::of(&target.pdu),
            });
        }
    }
}

/// A local event heals at most this many branches.
const MAX_PREV_EVENTS: usize = 20;

fn newest(extremities: &[OwnedEventId]) -> &[OwnedEventId] {
    &extremities[extremities.len().saturating_sub(MAX_PREV_EVENTS)..]
}

impl Writer {
    pub(crate) fn draft<'a>(&'a mut self, inner: &'a Inner) -> Draft<'a> {
        Draft::on(inner, self.head())
    }
}
