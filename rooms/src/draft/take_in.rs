//! An event of another server becomes part of a draft: it stands on a branch of its own, and the
//! room's state is what the branches resolve to.

use std::sync::Arc;

use events::{ClientEvent, Pdu};
use ruma::{EventId, OwnedEventId, UserId, events::room::member::MembershipState};

use super::{Draft, DraftEvent, MAX_DEPTH, MemberChange, Relation, Relay};
use crate::{
    Error, EventStatus, Root, StoredEvent,
    store::{PendingRedaction, PendingRedactions},
    trie::{Entry, NewNodes},
};

const MEMBER: &str = "m.room.member";
/// Branches whose states are resolved all at once; each makes the next event dearer. Where there are
/// more, an event's state is resolved with the room's: the branch that joins them starts afresh from
/// the states of its own predecessors.
const RESOLVED_MAX: usize = 64;

impl Draft<'_> {
    /// Adds an authorised event. If it redacts an event that is not known yet, that one's id is
    /// returned: it must be redacted when it comes.
    pub(crate) async fn take_in(
        &mut self,
        pdu: Arc<Pdu>,
        state_before: Root,
        relay: Relay,
    ) -> Result<Option<OwnedEventId>, Error> {
        let others: Vec<_> =
            self.extremities.iter().filter(|id| !pdu.prev_events().contains(id)).cloned().collect();
        let is_linear = others.is_empty() && state_before == self.state;
        let members = if is_linear { self.own_change(&pdu).await? } else { Vec::new() };
        let state_after = self.state_with(&pdu, state_before, is_linear).await?;
        let (room_state, members) = if is_linear {
            (state_after, members)
        } else {
            let room_state = self.merged(&pdu, state_after, &others).await?;
            (room_state, self.move_to(room_state, &pdu).await?)
        };
        let (pdu, redacted_by) = self.redacted_before(pdu).await?;
        let pending = self.redact_target(&pdu).await?;
        self.state = room_state;
        if pdu.is_state() && is_linear {
            self.changed.push(Arc::clone(&pdu));
        }
        self.extremities = others;
        self.extremities.push(pdu.event_id().clone());
        self.depth = self.depth.max(pdu.depth()).min(MAX_DEPTH);
        self.events.push(DraftEvent {
            client: ClientEvent::new(&pdu, self.version),
            state_before,
            state_after,
            room_state,
            txn: None,
            endpoint: String::new(),
            members,
            relay,
            relation: if redacted_by.is_none() { Relation::of(&pdu) } else { None },
            redacted_by,
            pdu,
        });
        Ok(pending)
    }

    /// The change of membership that an event brings to the state it continues.
    async fn own_change(&mut self, pdu: &Pdu) -> Result<Vec<MemberChange>, Error> {
        Ok(self.member_change(pdu).await?.into_iter().collect())
    }

    async fn state_with(&mut self, pdu: &Pdu, before: Root, linear: bool) -> Result<Root, Error> {
        let Some(state_key) = pdu.state_key() else { return Ok(before) };
        let entry = Entry {
            event_type: pdu.event_type().to_owned(),
            state_key: state_key.to_owned(),
            event_id: pdu.event_id().clone(),
        };
        if linear {
            return self.inner.trie.insert(before, entry, &mut self.nodes).await;
        }
        // Resolution looks at it before the draft is submitted.
        let mut nodes = NewNodes::default();
        let after = self.inner.trie.insert(before, entry, &mut nodes).await?;
        self.inner.keep_nodes(nodes)?;
        Ok(after)
    }

    /// The state of all branches together; `branch` is that of the event that is being added.
    async fn merged(
        &self,
        added: &Arc<Pdu>,
        branch: Root,
        others: &[OwnedEventId],
    ) -> Result<Root, Error> {
        let mut roots = vec![branch];
        if others.len() > RESOLVED_MAX {
            roots.push(self.state);
            return self.inner.resolved_with(self.version, roots, Some(added)).await;
        }
        for id in others {
            let event = self.inner.events.get_latest(id).await?;
            let event =
                event.ok_or_else(|| Error::Internal(format!("extremity {id} is missing")))?;
            roots.push(self.inner.state_after(&event).await?);
        }
        self.inner.resolved_with(self.version, roots, Some(added)).await
    }

    /// What the way to another state does to memberships. `added` is not in the store yet.
    async fn move_to(&mut self, new: Root, added: &Pdu) -> Result<Vec<MemberChange>, Error> {
        self.forked = true;
        let inner = self.inner;
        let old = self.state;
        let mut members = Vec::new();
        for entry in inner.trie.diff(old, new).await? {
            let (MEMBER, Ok(user)) = (entry.event_type.as_str(), UserId::parse(&entry.state_key))
            else {
                continue;
            };
            let before = self.membership_in(old, &user).await?;
            let after = if entry.event_id == *added.event_id() {
                added.membership().unwrap_or(MembershipState::Leave)
            } else {
                inner.membership_of(&entry.event_id).await?
            };
            members.push(self.change_membership(user, entry.event_id, before, after).await?);
        }
        for entry in inner.trie.diff(new, old).await? {
            let (MEMBER, Ok(user)) = (entry.event_type.as_str(), UserId::parse(&entry.state_key))
            else {
                continue;
            };
            // Resolution can leave somebody without any membership.
            let nodes = NewNodes::default();
            if inner.trie.get(new, MEMBER, user.as_str(), &nodes).await?.is_none() {
                let before = inner.membership_of(&entry.event_id).await?;
                let gone = MembershipState::Leave;
                members.push(self.change_membership(user, entry.event_id, before, gone).await?);
            }
        }
        Ok(members)
    }

    async fn membership_in(&self, root: Root, user: &UserId) -> Result<MembershipState, Error> {
        let nodes = NewNodes::default();
        match self.inner.trie.get(root, MEMBER, user.as_str(), &nodes).await? {
            Some(id) => self.inner.membership_of(&id).await,
            None => Ok(MembershipState::Leave),
        }
    }

    /// The event as an earlier redaction of it leaves it.
    pub(crate) async fn redacted_before(
        &mut self,
        pdu: Arc<Pdu>,
    ) -> Result<(Arc<Pdu>, Option<OwnedEventId>), Error> {
        let row = self.pending_redaction(pdu.event_id()).await?;
        for id in row.into_iter().flat_map(|row| row.redactions) {
            let redaction = self.inner.events.get_latest(&id).await?;
            let redaction = redaction.filter(|event| event.status == EventStatus::Accepted);
            let Some(redaction) = redaction else { continue };
            if self.may_redact(&redaction.pdu, &pdu).await? {
                return Ok((Arc::new(pdu.redacted(self.version)), Some(id)));
            }
        }
        Ok((pdu, None))
    }

    /// The redactions that wait for an event.
    pub(crate) async fn pending_redaction(
        &self,
        target: &EventId,
    ) -> Result<Option<PendingRedaction>, Error> {
        let store = &self.inner.store;
        Ok(store.get_latest::<PendingRedactions>(self.room_id(), target).await?)
    }

    /// Applies the event to what it redacts. A target that is not known yet is returned.
    pub(crate) async fn redact_target(&mut self, pdu: &Pdu) -> Result<Option<OwnedEventId>, Error> {
        let Some(target_id) = pdu.redacts().filter(|_| pdu.event_type() == "m.room.redaction")
        else {
            return Ok(None);
        };
        let target: Option<Arc<StoredEvent>> = self.inner.events.get_latest(target_id).await?;
        match target {
            None => Ok(Some(target_id.to_owned())),
            Some(target) if target.pdu.room_id() != self.room_id() => Ok(None),
            Some(target) if target.status != EventStatus::Accepted => {
                Ok(Some(target_id.to_owned()))
            }
            Some(target) => {
                if self.may_redact(pdu, &target.pdu).await? {
                    self.apply_redaction(&target, pdu.event_id());
                }
                Ok(None)
            }
        }
    }

    /// Whether a redaction by somebody else may take effect: section "Redactions" of the room
    /// versions from 3 on. Earlier ones have an authorisation rule for it besides.
    pub(crate) async fn may_redact(
        &mut self,
        redaction: &Pdu,
        target: &Pdu,
    ) -> Result<bool, Error> {
        if redaction.sender().server_name() == target.sender().server_name() {
            return Ok(true);
        }
        let levels = self.power_levels().await?;
        Ok(levels.for_user(redaction.sender()) >= levels.redact())
    }
}
