//! Several events in an order in which each can be judged.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use events::Pdu;
use ruma::OwnedEventId;

/// Each event after those it stands on, as far as they are among the others; otherwise the order
/// is kept. In a cycle, possible where senders choose event ids, somebody comes first and fails for
/// it.
pub(crate) fn foundations_first(
    pdus: Vec<Arc<Pdu>>,
    stands_on: impl Fn(&Pdu) -> &[OwnedEventId],
) -> Vec<Arc<Pdu>> {
    let by_id: HashMap<OwnedEventId, Arc<Pdu>> =
        pdus.iter().map(|pdu| (pdu.event_id().clone(), Arc::clone(pdu))).collect();
    let mut seen: HashSet<OwnedEventId> = HashSet::new();
    let mut ordered = Vec::with_capacity(pdus.len());
    for first in pdus {
        let mut path = vec![(first, false)];
        while let Some((pdu, left)) = path.pop() {
            if left {
                ordered.push(pdu);
                continue;
            }
            if !seen.insert(pdu.event_id().clone()) {
                continue;
            }
            let before: Vec<_> = stands_on(&pdu)
                .iter()
                .filter(|id| !seen.contains(*id))
                .filter_map(|id| by_id.get(id).cloned())
                .collect();
            path.push((pdu, true));
            path.extend(before.into_iter().map(|pdu| (pdu, false)));
        }
    }
    ordered
}
