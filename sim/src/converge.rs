//! After everything has been delivered: do the servers agree?

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use ruma::{OwnedEventId, OwnedUserId};

use crate::world::World;

/// Rounds in which each server says something, so that all branches end up in one event.
const ROUNDS: usize = 4;

type State = BTreeMap<(String, String), OwnedEventId>;

/// How a history ended.
#[derive(Clone, Debug, Default)]
pub struct Converged {
    /// Servers that are in the room and were compared.
    pub compared: usize,
    pub differences: Vec<Difference>,
    /// Of each server that is in the room.
    pub states: BTreeMap<usize, State>,
}

/// Two servers that both hold each other to be in the room, and an entry they disagree about.
#[derive(Clone, Debug)]
pub struct Difference {
    pub servers: (usize, usize),
    pub key: (String, String),
    pub events: (Option<OwnedEventId>, Option<OwnedEventId>),
}

impl World {
    /// Heals the network, delivers everything, lets each server speak so that everybody learns of
    /// every branch, and compares.
    pub async fn converge(&mut self) -> anyhow::Result<Converged> {
        self.network.heal();
        self.collect().await?;
        self.deliver_all().await?;
        for _ in 0..ROUNDS {
            for at in 0..self.servers.len() {
                self.tick();
                self.all_say(at).await?;
            }
            self.collect().await?;
            self.deliver_all().await?;
            if self.extremities().await?.len() <= 1 {
                break;
            }
        }
        // One more, so that no branch is left that only some have merged.
        for at in 0..self.servers.len() {
            self.all_say(at).await?;
            self.collect().await?;
            self.deliver_all().await?;
        }
        self.compare().await
    }

    /// Each of the server's users, since the others may not hold all of them to be in the room: what
    /// such a one says is soft-failed, and ties nothing together.
    async fn all_say(&self, at: usize) -> anyhow::Result<()> {
        let Some(view) = self.servers[at].view(&self.room).await? else { return Ok(()) };
        for user in view.local_joined.iter().cloned().collect::<Vec<OwnedUserId>>() {
            self.say(at, &user).await?;
        }
        Ok(())
    }

    /// The sets of extremities that servers in the room have.
    async fn extremities(&self) -> anyhow::Result<BTreeSet<BTreeSet<OwnedEventId>>> {
        let mut sets = BTreeSet::new();
        for server in &self.servers {
            if let Some(view) = server.view(&self.room).await? {
                sets.insert(view.extremities.iter().cloned().collect());
            }
        }
        Ok(sets)
    }

    /// Compares the current states of servers that hold each other to be in the room. One that
    /// thinks so alone is told nothing by the others, and can know no better.
    pub async fn compare(&self) -> anyhow::Result<Converged> {
        let mut views = BTreeMap::new();
        let mut converged = Converged::default();
        for server in &self.servers {
            let Some(view) = server.view(&self.room).await? else { continue };
            let state = server.rooms.state_iter(view.state).await?;
            let state = state.into_iter().map(|(event_type, key, id)| ((event_type, key), id));
            converged.states.insert(server.index, state.collect());
            views.insert(server.index, view);
        }
        let mut compared = BTreeSet::new();
        for (&left, left_view) in &views {
            for (&right, right_view) in views.range(left + 1..) {
                let mutual = left_view.servers.contains_key(self.network.name(right))
                    && right_view.servers.contains_key(self.network.name(left));
                if mutual {
                    compared.extend([left, right]);
                    let states = &converged.states;
                    let found = differences((left, right), &states[&left], &states[&right]);
                    converged.differences.extend(found);
                }
            }
        }
        converged.compared = compared.len();
        Ok(converged)
    }

    /// A difference for people to read.
    pub async fn describe(&self, difference: &Difference) -> anyhow::Result<String> {
        let Difference { servers: (left, right), key, events } = difference;
        let mut text = format!("{} {:?}:", key.0, key.1);
        for (server, id) in [(left, &events.0), (right, &events.1)] {
            let told = match id {
                None => "nothing".to_owned(),
                Some(id) => {
                    let event = self.servers[*server].event(id).await?;
                    let event = event.with_context(|| format!("{id} is in a state"))?;
                    format!("{id} by {} {}", event.pdu.sender(), event.pdu.content_str())
                }
            };
            text.push_str(&format!("\n    s{server} has {told}"));
        }
        Ok(text)
    }
}

fn differences(servers: (usize, usize), left: &State, right: &State) -> Vec<Difference> {
    let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differing = keys.into_iter().filter(|key| left.get(*key) != right.get(*key));
    differing
        .map(|key| Difference {
            servers,
            key: key.clone(),
            events: (left.get(key).cloned(), right.get(key).cloned()),
        })
        .collect()
}
