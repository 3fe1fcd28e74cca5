//! Where two servers parted: the earliest event before which they see different states.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use rooms::{EventStatus, StoredEvent};
use ruma::OwnedEventId;

use crate::{server::Server, world::World};

/// Events looked at.
const VISITED_MAX: usize = 5000;

impl World {
    /// For people; empty if the history that both have is the same to both.
    pub(crate) async fn blame(&self, left: usize, right: usize) -> anyhow::Result<String> {
        let (left, right) = (&self.servers[left], &self.servers[right]);
        let mut parted: BTreeMap<(u64, OwnedEventId), String> = BTreeMap::new();
        let mut open: VecDeque<OwnedEventId> = VecDeque::new();
        for server in [left, right] {
            if let Some(view) = server.view(&self.room).await? {
                open.extend(view.extremities.iter().cloned());
            }
        }
        let mut seen: BTreeSet<OwnedEventId> = open.iter().cloned().collect();
        while let Some(id) = open.pop_front() {
            let (one, other) = (left.event(&id).await?, right.event(&id).await?);
            for event in [&one, &other].into_iter().flatten() {
                for prev in event.pdu.prev_events() {
                    if seen.len() < VISITED_MAX && seen.insert(prev.clone()) {
                        open.push_back(prev.clone());
                    }
                }
            }
            if let (Some(one), Some(other)) = (one, other)
                && one.state_before != other.state_before
                && ![one.status, other.status].contains(&EventStatus::Outlier)
            {
                let key = (one.pdu.depth(), id);
                parted.insert(key, self.tell_parting(left, right, &one, &other).await?);
            }
        }
        Ok(parted.into_values().next().unwrap_or_default())
    }

    async fn tell_parting(
        &self,
        left: &Server,
        right: &Server,
        one: &StoredEvent,
        other: &StoredEvent,
    ) -> anyhow::Result<String> {
        let mut text = format!(
            "they part before {} ({}, depth {}): {:?} / {:?}",
            one.event_id(),
            one.pdu.event_type(),
            one.pdu.depth(),
            one.status,
            other.status
        );
        let status = |event: Option<Arc<StoredEvent>>| {
            event.map_or_else(|| "unknown".to_owned(), |event| format!("{:?}", event.status))
        };
        for prev in one.pdu.prev_events() {
            let (here, there) = (left.event(prev).await?, right.event(prev).await?);
            let kind = here.as_ref().or(there.as_ref());
            let kind = kind.map_or("?", |event| event.pdu.event_type()).to_owned();
            let (here, there) = (status(here), status(there));
            text.push_str(&format!("\n    after {prev} ({kind}): {here} / {there}"));
        }
        let states = [
            left.rooms.state_iter(one.state_before).await?,
            right.rooms.state_iter(other.state_before).await?,
        ];
        for (side, entries) in states.iter().enumerate() {
            for entry in entries.iter().filter(|entry| !states[1 - side].contains(entry)) {
                let (event_type, key, id) = entry;
                let name = [left, right][side].index;
                text.push_str(&format!("\n    only s{name} has {event_type} {key:?} {id}"));
            }
        }
        Ok(text)
    }
}
