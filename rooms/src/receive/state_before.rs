//! Step 5: "Passes authorization rules based on the state before the event, otherwise it is
//! rejected."

use std::sync::Arc;

use events::{Pdu, RoomVersion};

use super::auth_events::{Verdict, verdict};
use crate::{
    Error, EventStatus, Root, StoredEvent,
    draft::AuthState,
    rooms::Inner,
    trie::{Entry, NewNodes},
};

impl Inner {
    /// The state before an event: that after the events it comes after. `gap` stands for those of
    /// them that are not known. All are resolved at once: resolving some first is another resolution.
    pub(super) async fn state_before(
        &self,
        version: &'static RoomVersion,
        pdu: &Pdu,
        gap: Vec<Root>,
    ) -> Result<Root, Error> {
        let mut roots = Vec::with_capacity(pdu.prev_events().len());
        for id in pdu.prev_events() {
            let event = self.events.get_latest(id).await?;
            let is_ours = |event: &Arc<StoredEvent>| {
                event.was_judged() && event.pdu.room_id() == pdu.room_id()
            };
            if let Some(event) = event.filter(is_ours) {
                roots.push(self.state_after(&event).await?);
            }
        }
        roots.extend(gap);
        self.resolved(version, roots).await
    }

    /// The state just after an event, as far as its own branch goes.
    pub(crate) async fn state_after(&self, event: &StoredEvent) -> Result<Root, Error> {
        // "its effect is not included in the state": of a rejected event.
        if event.status == EventStatus::Rejected {
            return Ok(event.state_before);
        }
        let Some(state_key) = event.pdu.state_key() else { return Ok(event.state_before) };
        let entry = Entry {
            event_type: event.pdu.event_type().to_owned(),
            state_key: state_key.to_owned(),
            event_id: event.event_id().clone(),
        };
        let mut nodes = NewNodes::default();
        let root = self.trie.insert(event.state_before, entry, &mut nodes).await?;
        // Of an event with a place the nodes exist; only the root's name is of interest.
        if event.position == 0 {
            self.keep_nodes(nodes)?;
        }
        Ok(root)
    }

    /// Whether a state allows the event.
    pub(super) async fn check_by_state(
        &self,
        version: &RoomVersion,
        create: &Arc<Pdu>,
        pdu: &Pdu,
        state: Root,
    ) -> Result<Verdict, Error> {
        let keys = events::auth_events_for(
            version,
            pdu.event_type(),
            pdu.sender(),
            pdu.state_key(),
            pdu.content(),
        );
        let keys = match keys {
            Ok(keys) => keys,
            Err(error) => return verdict(Err(error)),
        };
        let nodes = NewNodes::default();
        let mut selected = Vec::with_capacity(keys.len());
        for (event_type, state_key) in &keys {
            let Some(id) = self.trie.get(state, event_type, state_key, &nodes).await? else {
                continue;
            };
            let event = self.events.get_latest(&id).await?;
            let missing = || Error::Internal(format!("{id} is in the state but not in the store"));
            selected.push(Arc::clone(&event.ok_or_else(missing)?.pdu));
        }
        let auth = AuthState { selected, create: Some(Arc::clone(create)) };
        verdict(auth.check_by_state(version, pdu))
    }
}
