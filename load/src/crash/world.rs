//! Who takes part in a crash run: users, and rooms that each have a few of them.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::client::{self, Account, Client};

const USERS: usize = 16;
/// Room `r` has the users from `r` on, so every user is in as many rooms as a room has users.
const ROOM_USERS: usize = 4;

pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) accounts: Vec<Account>,
    pub(super) rooms: Vec<String>,
}

impl World {
    pub(super) async fn create(address: SocketAddr) -> anyhow::Result<Self> {
        let mut accounts = Vec::with_capacity(USERS);
        for user in 0..USERS {
            let account = client::register(address, &format!("crash{user}")).await;
            accounts.push(account.context("register")?);
        }
        let mut rooms = Vec::with_capacity(USERS);
        for room in 0..USERS {
            let mut creator = Client::new(address, &accounts[room]);
            let room_id = creator.create_room().await.context("create a room")?;
            for member in 1..ROOM_USERS {
                let account = &accounts[(room + member) % USERS];
                Client::new(address, account).join(&room_id).await.context("join")?;
            }
            rooms.push(room_id);
        }
        Ok(Self { address, accounts, rooms })
    }

    /// The rooms that a user is in, as indices.
    pub(super) fn rooms_of(user: usize) -> impl Iterator<Item = usize> {
        (0..ROOM_USERS).map(move |back| (user + USERS - back) % USERS)
    }

    pub(super) fn room_ids_of(&self, user: usize) -> Vec<String> {
        Self::rooms_of(user).map(|room| self.rooms[room].clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_is_the_same_from_both_sides() {
        for room in 0..USERS {
            let members: Vec<usize> =
                (0..USERS).filter(|user| World::rooms_of(*user).any(|r| r == room)).collect();
            let mut expected: Vec<usize> = (0..ROOM_USERS).map(|m| (room + m) % USERS).collect();
            expected.sort_unstable();
            assert_eq!(members, expected);
        }
    }
}
