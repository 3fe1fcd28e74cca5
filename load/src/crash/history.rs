//! The rooms as the server tells them after a restart, read by pagination.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};

use super::world::World;
use crate::client::Client;

/// More pages than any run writes: a server that never ends a history is stopped here.
const PAGES_MAX: usize = 10_000;

/// An event and the text that its writer gave it, if it is a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) event_id: String,
    pub(super) text: Option<String>,
}

/// Events of each room, oldest first.
pub(super) type Events = BTreeMap<String, Vec<Entry>>;

/// How far each room has been read.
#[derive(Default)]
pub(super) struct Histories {
    newest: BTreeMap<String, String>,
}

pub(super) struct New {
    pub(super) events: Events,
    /// Rooms whose newest event of the round before is gone.
    pub(super) broken: u64,
}

impl Histories {
    /// What is new since the last call.
    pub(super) async fn read_new(&mut self, world: &World) -> anyhow::Result<New> {
        let mut new = New { events: Events::new(), broken: 0 };
        for (index, room) in world.rooms.iter().enumerate() {
            let until = self.newest.get(room).cloned();
            let (entries, found) = read(world, index, until.as_deref()).await?;
            new.broken += u64::from(until.is_some() && !found);
            if let Some(last) = entries.last() {
                self.newest.insert(room.clone(), last.event_id.clone());
            }
            new.events.insert(room.clone(), entries);
        }
        Ok(new)
    }

    pub(super) async fn read_whole(&self, world: &World) -> anyhow::Result<Events> {
        let mut events = Events::new();
        for (index, room) in world.rooms.iter().enumerate() {
            events.insert(room.clone(), read(world, index, None).await?.0);
        }
        Ok(events)
    }
}

/// Events after `until`, and whether that was found.
async fn read(
    world: &World,
    room: usize,
    until: Option<&str>,
) -> anyhow::Result<(Vec<Entry>, bool)> {
    // A room's creator has the room's index.
    let mut client = Client::new(world.address, &world.accounts[room]);
    let mut entries = Vec::new();
    let mut from: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = client.messages_back(&world.rooms[room], from.as_deref()).await;
        let page = page.with_context(|| format!("messages of {}", world.rooms[room]))?;
        for event in page.chunk {
            if Some(event.event_id.as_str()) == until {
                entries.reverse();
                return Ok((entries, true));
            }
            entries.push(Entry { event_id: event.event_id, text: event.content.body });
        }
        let Some(end) = page.end else {
            entries.reverse();
            return Ok((entries, false));
        };
        ensure!(from.as_ref() != Some(&end), "messages of {} do not end", world.rooms[room]);
        from = Some(end);
    }
    anyhow::bail!("messages of {}: more than {PAGES_MAX} pages", world.rooms[room])
}
