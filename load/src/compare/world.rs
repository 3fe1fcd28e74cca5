//! What a server holds before it is measured: the same people and rooms on each, made through the
//! client-server API.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use crate::{
    bench::population::Population,
    client::{Account, Client},
};

/// How many write at once.
pub(super) const WRITERS: usize = 16;
const AT_ONCE: usize = 8;
/// Every so many rooms a line says how far it is.
const TOLD_EVERY: usize = 100;

#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) members: usize,
    pub(super) rooms: usize,
}

pub(super) struct World {
    crowd: Population,
    /// Everybody is in it.
    pub(super) hall: String,
    /// Room `n` was made by writer `n % WRITERS`; the collector is in all of them.
    pub(super) rooms: Vec<String>,
    /// Two members beside the writer.
    pub(super) parlour: String,
}

impl World {
    pub(super) async fn create(
        name: &str,
        address: std::net::SocketAddr,
        size: Size,
    ) -> anyhow::Result<Self> {
        let Size { members, rooms: count } = size;
        println!("compare: {name}: {members} users, {count} rooms");
        let crowd = Population::create(address, "person", members.max(WRITERS + 1)).await?;
        let hall = Client::new(address, &crowd.accounts[0]).create_room().await?;
        crowd.join_all(&hall).await?;
        let parlour = Client::new(address, &crowd.accounts[0]).create_room().await?;
        for account in &crowd.accounts[1..3] {
            Client::new(address, account).join(&parlour).await?;
        }
        let done = AtomicUsize::new(0);
        let collector = crowd.accounts.last().context("there are users")?;
        let rooms = stream::iter(0..count)
            .map(|number| {
                let (owner, done) = (&crowd.accounts[number % WRITERS], &done);
                async move {
                    let mut owner = Client::new(address, owner);
                    let room = owner.create_room_with(&described(number)).await?;
                    Client::new(address, collector).join(&room).await?;
                    owner.send(&room, "first", "Welcome aboard.").await?;
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(TOLD_EVERY) {
                        println!("compare: {name}: {done} of {count} rooms");
                    }
                    anyhow::Ok(room)
                }
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { crowd, hall, rooms, parlour })
    }

    pub(super) fn people(&self) -> &[Account] {
        &self.crowd.accounts
    }

    /// In all rooms.
    pub(super) fn collector(&self) -> &Account {
        &self.crowd.accounts[self.crowd.accounts.len() - 1]
    }

    pub(super) fn client(&self, account: &Account) -> Client {
        Client::new(self.crowd.address, account)
    }
}

fn described(number: usize) -> serde_json::Value {
    json!({
        "preset": "public_chat",
        "name": format!("Pier {number}"),
        "topic": "Departures, delays and lost umbrellas",
    })
}
