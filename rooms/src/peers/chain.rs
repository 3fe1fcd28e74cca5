//! Auth chains: the auth events of events, and theirs, and so on.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use ruma::{OwnedEventId, RoomId};

use crate::{Error, EventStatus, StoredEvent, rooms::Inner};

/// A room whose chains are longer than this is too large to be handed out.
const CHAIN_MAX: usize = 400_000;

impl Inner {
    /// The auth chain of `events` without them, unless they authorise each other. In no particular
    /// order. Whatever an event claims, its chain does not leave the room.
    pub(super) async fn auth_chain(
        &self,
        room: &RoomId,
        events: impl Iterator<Item = Arc<StoredEvent>>,
    ) -> Result<Vec<Arc<StoredEvent>>, Error> {
        let mut seen: HashSet<OwnedEventId> = HashSet::new();
        let mut chain = Vec::new();
        let mut open: VecDeque<Arc<StoredEvent>> = events.collect();
        while let Some(event) = open.pop_front() {
            for id in event.pdu.auth_events() {
                if !seen.insert(id.clone()) {
                    continue;
                }
                let event = self.events.get_latest(id).await?;
                let event = event.filter(|event| {
                    event.pdu.room_id() == room && event.status != EventStatus::Rejected
                });
                let Some(event) = event else { continue };
                if chain.len() == CHAIN_MAX {
                    return Err(Error::TooLarge("the auth chain is too long".to_owned()));
                }
                chain.push(Arc::clone(&event));
                open.push_back(event);
            }
        }
        Ok(chain)
    }
}
