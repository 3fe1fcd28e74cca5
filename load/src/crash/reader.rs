//! Readers: each follows its user's rooms by long-poll or WebSocket, keeps the token of the last
//! batch that it processed across kills, and remembers what it was told.

use std::{
    collections::{BTreeSet, HashSet},
    mem,
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::{
    history::Events,
    verdict::{self, Told},
    world::World,
};
use crate::{
    client::{Account, Client, Sync},
    socket::Socket,
};

const READERS: usize = 8;
const LONG_POLL_MS: u32 = 10_000;
/// A socket that has more to tell tells it within this time.
const QUIET: Duration = Duration::from_secs(3);
const CATCH_UP_BATCHES_MAX: usize = 10_000;
const GAP_PAGES_MAX: usize = 1000;

pub(super) struct Reader {
    account: Account,
    rooms: BTreeSet<String>,
    over_socket: bool,
    since: String,
    seen: HashSet<String>,
    told: Told,
    gaps: Vec<Gap>,
    repeated: u64,
}

/// A limited timeline: what lies before it must be fetched.
struct Gap {
    room: String,
    prev_batch: String,
    /// What was known before the batch that left the gap.
    first_of_batch: Option<String>,
}

impl Reader {
    pub(super) async fn all(world: &World) -> anyhow::Result<Vec<Self>> {
        let mut readers = Vec::with_capacity(READERS);
        for number in 0..READERS {
            let user = number * 2;
            let account = world.accounts[user].clone();
            let rooms: BTreeSet<String> = world.room_ids_of(user).into_iter().collect();
            let mut client = Client::new(world.address, &account);
            let mut reader = Self {
                account,
                rooms,
                over_socket: number % 2 == 1,
                since: String::new(),
                seen: HashSet::new(),
                told: Told::default(),
                gaps: Vec::new(),
                repeated: 0,
            };
            let first = client.sync(None, 0).await.context("initial sync")?;
            reader.absorb(first);
            reader.fill_gaps(world.address).await?;
            readers.push(reader);
        }
        Ok(readers)
    }

    /// Reads until the connection breaks.
    pub(super) async fn read_until_broken(mut self, address: SocketAddr) -> Self {
        // The error is the kill; what it did not tell, the next batch must.
        drop(self.read(address).await);
        self
    }

    async fn read(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        if !self.over_socket {
            let mut client = Client::new(address, &self.account);
            loop {
                let since = self.since.clone();
                let batch = client.sync(Some(&since), LONG_POLL_MS).await?;
                self.absorb(batch);
            }
        }
        let mut socket = Socket::open(address, &self.account).await?;
        socket.start_sync(Some(&self.since)).await?;
        loop {
            self.absorb_frame(&mut socket).await?;
        }
    }

    async fn absorb_frame(&mut self, socket: &mut Socket) -> anyhow::Result<()> {
        let frame = socket.next().await?;
        if let (Some(seq), Some(batch)) = (frame.seq, frame.data) {
            self.absorb(batch);
            socket.acknowledge(seq).await?;
        }
        Ok(())
    }

    /// Takes a batch in, and only then its token.
    fn absorb(&mut self, batch: Sync) {
        for (room, joined) in batch.rooms.join {
            let timeline = joined.timeline;
            if let (true, Some(prev_batch)) = (timeline.limited, timeline.prev_batch) {
                let first_of_batch = timeline.events.first().map(|event| event.event_id.clone());
                self.gaps.push(Gap { room: room.clone(), prev_batch, first_of_batch });
            }
            let order = self.told.in_order.entry(room).or_default();
            for event in timeline.events {
                if self.seen.insert(event.event_id.clone()) {
                    order.push(event.event_id);
                } else {
                    self.repeated += 1;
                    verdict::example(self.repeated, || {
                        format!("repeated to {}: {}", self.account.user_id, event.event_id)
                    });
                }
            }
        }
        self.since = batch.next_batch;
    }

    /// The events of this reader's rooms.
    pub(super) fn expected(&self, history: &Events) -> Events {
        history
            .iter()
            .filter(|(room, _)| self.rooms.contains(*room))
            .map(|(room, entries)| (room.clone(), entries.clone()))
            .collect()
    }

    /// Reads on from the kept token until there is no more.
    pub(super) async fn catch_up(
        &mut self,
        address: SocketAddr,
        expected: &Events,
    ) -> anyhow::Result<()> {
        if self.over_socket {
            self.catch_up_over_socket(address, expected).await?;
        } else {
            self.catch_up_by_polling(address).await?;
        }
        self.fill_gaps(address).await
    }

    async fn catch_up_by_polling(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let mut client = Client::new(address, &self.account);
        for _ in 0..CATCH_UP_BATCHES_MAX {
            let since = self.since.clone();
            let batch = client.sync(Some(&since), 0).await.context("sync from a kept token")?;
            let is_last = batch.rooms.join.values().all(|room| room.timeline.events.is_empty());
            self.absorb(batch);
            if is_last {
                return Ok(());
            }
        }
        bail!("sync never comes to an end")
    }

    async fn catch_up_over_socket(
        &mut self,
        address: SocketAddr,
        expected: &Events,
    ) -> anyhow::Result<()> {
        let mut socket = Socket::open(address, &self.account).await?;
        socket.start_sync(Some(&self.since)).await.context("sync.start from a kept token")?;
        for _ in 0..CATCH_UP_BATCHES_MAX {
            if self.gaps.is_empty() && self.knows_all(expected) {
                return Ok(());
            }
            match tokio::time::timeout(QUIET, self.absorb_frame(&mut socket)).await {
                Ok(result) => result?,
                // The verdict counts what is missing.
                Err(_) => return Ok(()),
            }
            self.fill_gaps(address).await?;
        }
        bail!("the socket never comes to an end")
    }

    fn knows_all(&self, expected: &Events) -> bool {
        expected.values().flatten().all(|entry| self.seen.contains(&entry.event_id))
    }

    async fn fill_gaps(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let mut client = Client::new(address, &self.account);
        for gap in mem::take(&mut self.gaps) {
            self.fill(&mut client, gap).await?;
        }
        Ok(())
    }

    /// Pages back from the gap's token until something that was known before.
    async fn fill(&mut self, client: &mut Client, gap: Gap) -> anyhow::Result<()> {
        let mut from = Some(gap.prev_batch);
        for _ in 0..GAP_PAGES_MAX {
            let page = client.messages_back(&gap.room, from.as_deref()).await.context("gap")?;
            for event in page.chunk {
                if gap.first_of_batch.as_ref() == Some(&event.event_id) {
                    bail!("prev_batch of {} points into its own batch", gap.room);
                }
                if !self.seen.insert(event.event_id.clone()) {
                    return Ok(());
                }
                self.told.filled.entry(gap.room.clone()).or_default().insert(event.event_id);
            }
            from = page.end;
            if from.is_none() {
                return Ok(());
            }
        }
        bail!("the gap of {} has no end", gap.room)
    }

    /// What was told since the last call.
    pub(super) fn take_order(&mut self) -> Told {
        mem::take(&mut self.told)
    }

    pub(super) fn take_repeated(&mut self) -> u64 {
        mem::take(&mut self.repeated)
    }
}
