//! Events of other servers arrive: what is taken in, what is kept aside, and what a client never
//! sees.

mod auth_chain;
mod branches;
mod forks;
mod gaps;
mod hostile;
mod inlets;
mod kept_aside;
mod policy;
mod redactions;
mod stale;
mod taken_in;
mod twice;

use std::{collections::BTreeMap, sync::Arc};

use events::Pdu;
use rooms::{MessagesQuery, ReceiveOutcome, Received, RoomView, StoredEvent};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    api::{Direction, client::filter::RoomEventFilter},
};

use crate::{
    peers::{come_in, public},
    wire::{Wire, name},
    world::World,
};

/// All that exist.
const VERSIONS: [&str; 12] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
/// One of each way to resolve state, and of each form of redactions.
const KINDS: [&str; 5] = ["1", "2", "6", "11", "12"];

/// A public room of `ada` on `one.test`, in which `bob` of `two.test` is too.
struct Scene {
    wire: Wire,
    one: World,
    two: World,
    ada: OwnedUserId,
    bob: OwnedUserId,
    room: OwnedRoomId,
}

impl Scene {
    async fn new(version: &str) -> Self {
        let wire = Wire::default();
        let (one, two) = (wire.server("one.test"), wire.server("two.test"));
        let (ada, bob) = (one.user("ada"), two.user("bob"));
        let room = public(&one, &ada, version).await;
        come_in(&two, &bob, &room, &one).await;
        wire.deliver(&[&one, &two]).await;
        Self { wire, one, two, ada, bob, room }
    }

    async fn deliver(&self) {
        self.wire.deliver(&[&self.one, &self.two]).await;
    }

    /// What the servers have for each other is lost.
    async fn lose(&self) {
        self.wire.set_down("two.test", true);
        self.deliver().await;
        self.wire.set_down("two.test", false);
    }

    async fn say(&self, count: usize) -> Vec<OwnedEventId> {
        say(&self.one, &self.ada, &self.room, count).await
    }

    /// Hands over single events of `one.test`, in this order.
    async fn hand_to_two(&self, ids: &[OwnedEventId]) -> Vec<ReceiveOutcome> {
        let mut outcomes = Vec::new();
        for id in ids {
            let pdus = vec![pdu_of(&self.one, id).await.json().clone()];
            outcomes.extend(self.two.rooms.receive(&name("one.test"), &self.room, pdus).await);
        }
        outcomes
    }

    async fn hand_to_one(&self, ids: &[OwnedEventId]) -> Vec<ReceiveOutcome> {
        let mut outcomes = Vec::new();
        for id in ids {
            let pdus = vec![pdu_of(&self.two, id).await.json().clone()];
            outcomes.extend(self.one.rooms.receive(&name("two.test"), &self.room, pdus).await);
        }
        outcomes
    }

    async fn assert_same_state(&self, case: &str) {
        let (one, two) = (state(&self.one, &self.room).await, state(&self.two, &self.room).await);
        assert_eq!(one, two, "{case}");
    }
}

async fn say(world: &World, user: &UserId, room: &RoomId, count: usize) -> Vec<OwnedEventId> {
    let mut ids = Vec::with_capacity(count);
    for n in 0..count {
        ids.push(world.send(user, room, &format!("message {n}")).await.expect("sends"));
    }
    ids
}

async fn pdu_of(world: &World, id: &EventId) -> Arc<Pdu> {
    let event = world.rooms.event_by_id(id).await.expect("reads").expect("it is stored");
    Arc::clone(&event.pdu)
}

async fn view(world: &World, room: &RoomId) -> Arc<RoomView> {
    world.rooms.room(room).await.expect("reads").expect("the room exists")
}

/// The current state.
async fn state(world: &World, room: &RoomId) -> BTreeMap<(String, String), OwnedEventId> {
    let entries = world.rooms.state_iter(view(world, room).await.state).await.expect("reads");
    entries.into_iter().map(|(event_type, key, id)| ((event_type, key), id)).collect()
}

/// The whole history that a user sees, the newest first.
async fn history(world: &World, viewer: &UserId, room: &RoomId) -> Vec<Arc<StoredEvent>> {
    let filter = RoomEventFilter::default();
    let (mut events, mut from): (Vec<_>, Option<String>) = (Vec::new(), None);
    for _ in 0..100 {
        let dir = Direction::Backward;
        let query =
            MessagesQuery { from: from.as_deref(), to: None, dir, limit: 50, filter: &filter };
        let page = world.rooms.messages(viewer, room, query).await.expect("reads");
        events.extend(page.chunk);
        from = page.end;
        if from.is_none() {
            return events;
        }
    }
    panic!("the pages do not end");
}

/// What was said, the oldest first.
async fn messages(world: &World, viewer: &UserId, room: &RoomId) -> Vec<OwnedEventId> {
    let mut events = history(world, viewer, room).await;
    events.retain(|event| event.pdu.event_type() == "m.room.message");
    events.reverse();
    events.iter().map(|event| event.event_id().clone()).collect()
}

/// Whether a client finds the event in any way.
async fn is_shown(world: &World, viewer: &UserId, room: &RoomId, id: &EventId) -> bool {
    let rooms = &world.rooms;
    let up_to = world.store.log().position();
    let timeline = rooms.timeline(room, 0, up_to, usize::MAX, false).await.expect("reads");
    let filter = RoomEventFilter::default();
    let context = rooms.context(viewer, room, id, 10, &filter).await;
    let state = state(world, room).await;
    let found = [
        timeline.iter().any(|event| event.event_id() == id),
        history(world, viewer, room).await.iter().any(|event| event.event_id() == id),
        rooms.event(viewer, room, id).await.is_ok(),
        context.is_ok(),
        state.values().any(|other| other == id),
    ];
    let is_shown = found[0];
    // What is in the state without a place in the timeline is a fault of its own.
    assert!(found[..4].iter().all(|other| *other == is_shown), "{id}: {found:?}");
    assert!(is_shown || !found[4], "{id} is not shown and is in the state");
    is_shown
}

fn accepted(outcome: &ReceiveOutcome) -> bool {
    matches!(outcome.result, Ok(Received::Accepted))
}
