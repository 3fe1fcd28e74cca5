//! `[policy_server]`: whether this region is one for rooms, and what it recommends there.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context as _, ensure};
use events::{PolicyLists, PolicyRules, SigningKey};
use ruma::{OwnedRoomId, RoomId};

use super::section::section;

section! {
    /// Being the policy server of rooms: one whose word an event needs before anybody in such a room
    /// sees it, wherever its sender is. How a room comes to use it is told in docs/policy-server.md.
    /// In patterns `*` stands for any text, `?` for one character.
    pub struct PolicyServer {
        /// Whether this region is a policy server.
        enabled: bool = false,
        /// The ids of the rooms that it serves. Left empty, those are all that a user of this region
        /// is in.
        rooms: Vec<String> = Vec::new(),
        /// Users to whom no rule applies, such as moderators and bots: "@mod:example.org".
        trusted_senders: Vec<String> = Vec::new(),
        /// Servers whose users may say nothing, such as "*.spam.example".
        denied_servers: Vec<String> = Vec::new(),
        /// Users who may say nothing, such as "@spam*:*".
        denied_senders: Vec<String> = Vec::new(),
        /// Kinds of events, or of messages, that nobody may send, such as "m.sticker" or "m.image".
        denied_types: Vec<String> = Vec::new(),
        /// Words and phrases that nobody may use in messages, names, topics and reasons, such as
        /// "cheap pills" or "casino*". Case and punctuation play no part; "https" stands for links.
        /// What is encrypted cannot be looked into.
        denied_text: Vec<String> = Vec::new(),
        /// How many users one message may mention.
        mentions_max: Option<usize> = None,
        /// The largest content of an event, in bytes.
        content_bytes_max: Option<usize> = None,
        /// Events of one user in one room: [per second, burst].
        sender_rate: Option<(f64, u32)> = None,
        /// Events of all users together in one room: [per second, burst].
        room_rate: Option<(f64, u32)> = None,
    }
}

impl PolicyServer {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        self.room_ids()?;
        self.rules()?;
        for (key, rate) in [("sender_rate", self.sender_rate), ("room_rate", self.room_rate)] {
            let is_rate = rate.is_none_or(|(per_second, burst)| per_second >= 0.0 && burst > 0);
            ensure!(is_rate, "[policy_server] `{key}` lets no event pass");
        }
        Ok(())
    }

    /// `key` is the one that recommends.
    pub(crate) fn config(&self, key: SigningKey) -> anyhow::Result<rooms::PolicyServerConfig> {
        let rate = |(per_second, burst)| rooms::PolicyRate { per_second, burst };
        Ok(rooms::PolicyServerConfig {
            key,
            rooms: self.room_ids()?,
            rules: Arc::new(self.rules()?),
            sender_rate: self.sender_rate.map(rate),
            room_rate: self.room_rate.map(rate),
        })
    }

    fn room_ids(&self) -> anyhow::Result<BTreeSet<OwnedRoomId>> {
        let parse = |id: &String| {
            RoomId::parse(id)
                .with_context(|| format!("[policy_server] `rooms`: {id:?} is no room id"))
        };
        self.rooms.iter().map(parse).collect()
    }

    fn rules(&self) -> anyhow::Result<PolicyRules> {
        let lists = PolicyLists {
            trusted_senders: self.trusted_senders.clone(),
            denied_servers: self.denied_servers.clone(),
            denied_senders: self.denied_senders.clone(),
            denied_types: self.denied_types.clone(),
            denied_text: self.denied_text.clone(),
            mentions_max: self.mentions_max,
            content_bytes_max: self.content_bytes_max,
        };
        PolicyRules::new(&lists).context("[policy_server]: a pattern cannot be used")
    }
}
