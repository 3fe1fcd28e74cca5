//! Writers: each sends one message after the other, over HTTP or a WebSocket, and remembers what it
//! tried and what was acknowledged.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use rand::{RngExt as _, rngs::StdRng};

use super::{
    verdict::{self, Tally},
    world::World,
};
use crate::{
    client::{self, Account, Client, Refusal},
    socket::Socket,
};

const WRITERS: usize = 64;
/// A server that refuses everything must not keep a writer busy for ever.
const REFUSALS_MAX: usize = 200;
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);

/// One message. Its text is its transaction id, so that history tells which attempt it came from.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) user: usize,
    pub(super) room: String,
    pub(super) transaction: String,
    pub(super) over_socket: bool,
    /// Set when the server acknowledged it.
    pub(super) event_id: Option<String>,
}

pub(super) struct Writer {
    address: SocketAddr,
    account: Account,
    user: usize,
    rooms: Vec<String>,
    number: usize,
    round: u32,
}

enum Transport {
    Http(Box<Client>),
    Socket(Box<Socket>),
}

impl Transport {
    async fn open(address: SocketAddr, account: &Account, socket: bool) -> anyhow::Result<Self> {
        Ok(if socket {
            Self::Socket(Box::new(Socket::open(address, account).await?))
        } else {
            Self::Http(Box::new(Client::new(address, account)))
        })
    }

    async fn send(&mut self, room: &str, transaction: &str) -> anyhow::Result<String> {
        match self {
            Self::Http(client) => client.send(room, transaction, transaction).await,
            Self::Socket(socket) => {
                socket.send(room, transaction, client::message(transaction)).await
            }
        }
    }
}

impl Writer {
    pub(super) fn all(world: &World, round: u32) -> Vec<Self> {
        (0..WRITERS)
            .map(|number| {
                let user = number % world.accounts.len();
                Self {
                    address: world.address,
                    account: world.accounts[user].clone(),
                    user,
                    rooms: world.room_ids_of(user),
                    number,
                    round,
                }
            })
            .collect()
    }

    /// Half of the writers of each user.
    fn over_socket(&self) -> bool {
        (self.number / 16).is_multiple_of(2)
    }

    /// Sends until the connection breaks. The last attempt may be unanswered.
    pub(super) async fn write(self, acknowledged: Arc<AtomicU64>) -> Vec<Attempt> {
        let over_socket = self.over_socket();
        let mut attempts = Vec::new();
        let Ok(mut transport) = Transport::open(self.address, &self.account, over_socket).await
        else {
            return attempts;
        };
        let mut refusals = 0;
        while refusals < REFUSALS_MAX {
            let count = attempts.len();
            let room = self.rooms[count % self.rooms.len()].clone();
            let transaction = format!("r{}w{}n{count}", self.round, self.number);
            let sent = transport.send(&room, &transaction).await;
            let event_id = sent.as_ref().ok().cloned();
            let user = self.user;
            attempts.push(Attempt { user, room, transaction, over_socket, event_id });
            match sent {
                Ok(_) => {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if error.is::<Refusal>() => {
                    if refusals == 0 {
                        eprintln!("writer {}: {error:#}", self.number);
                    }
                    refusals += 1;
                    tokio::time::sleep(REFUSAL_PAUSE).await;
                }
                Err(_) => break,
            }
        }
        attempts
    }
}

/// Sends again what was not answered. Afterwards every attempt has an event.
pub(super) async fn retry_unanswered(
    world: &World,
    attempts: &mut [Attempt],
) -> anyhow::Result<Tally> {
    let acknowledged = attempts.iter().filter(|attempt| attempt.event_id.is_some()).count() as u64;
    let mut tally = Tally { acknowledged, ..Tally::default() };
    let mut again = Again::new(world);
    for attempt in attempts.iter_mut().filter(|attempt| attempt.event_id.is_none()) {
        again.send(attempt, &mut tally).await?;
    }
    Ok(tally)
}

/// Sends again some of what was answered: each must be answered as it was.
pub(super) async fn retry_answered(
    world: &World,
    attempts: &mut [Attempt],
    random: &mut StdRng,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut again = Again::new(world);
    for index in sample(attempts, random) {
        again.send(&mut attempts[index], &mut tally).await?;
    }
    Ok(tally)
}

/// Connections for retries, opened when they are needed.
struct Again<'a> {
    world: &'a World,
    transports: BTreeMap<(usize, bool), Transport>,
}

impl<'a> Again<'a> {
    fn new(world: &'a World) -> Self {
        Self { world, transports: BTreeMap::new() }
    }

    /// Once over the transport of the attempt and once over the other: a transaction id means the
    /// same on both.
    async fn send(&mut self, attempt: &mut Attempt, tally: &mut Tally) -> anyhow::Result<()> {
        for over_socket in [attempt.over_socket, !attempt.over_socket] {
            let transport = match self.transports.entry((attempt.user, over_socket)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let account = &self.world.accounts[attempt.user];
                    let address = self.world.address;
                    entry.insert(Transport::open(address, account, over_socket).await?)
                }
            };
            let event_id = transport
                .send(&attempt.room, &attempt.transaction)
                .await
                .with_context(|| format!("retry of {}", attempt.transaction))?;
            tally.retried += 1;
            let known = attempt.event_id.get_or_insert_with(|| event_id.clone());
            if *known != event_id {
                tally.changed += 1;
                verdict::example(tally.changed, || {
                    format!("{}: {known}, then {event_id}", attempt.transaction)
                });
            }
        }
        Ok(())
    }
}

/// Each writer's last attempt, the likeliest to be lost, and some from anywhere.
fn sample(attempts: &[Attempt], random: &mut StdRng) -> Vec<usize> {
    if attempts.is_empty() {
        return Vec::new();
    }
    // A transaction id starts with its round and its writer.
    let writer = |attempt: &Attempt| attempt.transaction.split('n').next().map(str::to_owned);
    let is_last =
        |index: &usize| attempts.get(index + 1).map(writer) != Some(writer(&attempts[*index]));
    let mut chosen: Vec<usize> = (0..attempts.len()).filter(is_last).collect();
    chosen.extend((0..WRITERS).map(|_| random.random_range(0..attempts.len())));
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}
