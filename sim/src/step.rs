//! What users and the network do, one thing at a time.

use anyhow::Context as _;
use rooms::{Error, MembershipChange, NewEvent, Profile, Redaction};
use ruma::{OwnedUserId, events::room::member::MembershipState};
use serde_json::{Value, json, value::to_raw_value};

use crate::world::World;

/// Those who may be wrong about a room: refusals are part of history.
fn tolerate(result: Result<(), Error>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Error::Internal(reason)) => anyhow::bail!("internal error: {reason}"),
        Err(_) => Ok(false),
    }
}

impl World {
    /// One thing that a user does somewhere. Whether it is allowed is for their server to say.
    pub(crate) async fn act(&mut self) -> anyhow::Result<()> {
        self.tick();
        let all: Vec<(usize, OwnedUserId)> = self
            .servers
            .iter()
            .flat_map(|server| server.users.iter().map(|user| (server.index, user.clone())))
            .collect();
        let (at, user) = self.pick(&all).context("there are users")?.clone();
        let (_, target) = self.pick(&all).context("there are users")?.clone();
        let joined = match self.servers[at].view(&self.room).await? {
            Some(view) => view.local_joined.contains(&user),
            None => false,
        };
        let choice = self.rng.below(100);
        let what;
        let done = if !joined {
            what = "join";
            let via = self.rng.below(self.servers.len() as u64) as usize;
            tolerate(self.join(at, &user, via).await)?
        } else {
            (what, _) = *CHOICES.iter().find(|(_, up_to)| choice < *up_to).context("a choice")?;
            self.act_as_member(what, at, &user, &target).await?
        };
        if self.trace {
            println!("{user} {what} ({target}): {}", if done { "done" } else { "refused" });
        }
        self.collect().await
    }

    async fn act_as_member(
        &self,
        what: &str,
        at: usize,
        user: &OwnedUserId,
        target: &OwnedUserId,
    ) -> anyhow::Result<bool> {
        let rooms = &self.servers[at].rooms;
        let change = MembershipChange { room_id: &self.room, sender: user, target, reason: None };
        let result = match what {
            "message" => return self.say(at, user).await,
            "topic" => {
                let topic = self.rng.below(1000);
                return self
                    .set(at, user, "m.room.topic", &json!({ "topic": topic.to_string() }))
                    .await;
            }
            "name" => {
                let name = self.rng.below(1000);
                return self
                    .set(at, user, "m.room.name", &json!({ "name": name.to_string() }))
                    .await;
            }
            "join rule" => {
                let rule = self.pick(&["public", "public", "invite"]).context("a rule")?;
                return self
                    .set(at, user, "m.room.join_rules", &json!({ "join_rule": rule }))
                    .await;
            }
            "power" => return self.change_power(at, user, target).await,
            "redact" => return self.redact(at, user).await,
            "kick" => rooms.kick(change).await,
            "ban" => rooms.ban(change).await,
            "unban" => rooms.unban(change).await,
            "invite" => rooms.invite(change, Profile::default(), false).await,
            _ => rooms.leave(&self.room, user, None).await,
        };
        tolerate(result)
    }

    /// Sends a message.
    pub(crate) async fn say(&self, at: usize, user: &OwnedUserId) -> anyhow::Result<bool> {
        let content = json!({ "msgtype": "m.text", "body": self.rng.below(1000).to_string() });
        self.send(at, user, "m.room.message", None, &content).await
    }

    /// Sets state of an empty key. Returns whether it was allowed.
    pub async fn set(
        &self,
        at: usize,
        user: &OwnedUserId,
        event_type: &str,
        content: &Value,
    ) -> anyhow::Result<bool> {
        self.send(at, user, event_type, Some(""), content).await
    }

    async fn send(
        &self,
        at: usize,
        user: &OwnedUserId,
        event_type: &str,
        state_key: Option<&str>,
        content: &Value,
    ) -> anyhow::Result<bool> {
        let content = to_raw_value(content)?;
        let event = NewEvent {
            room_id: &self.room,
            sender: user,
            event_type,
            state_key,
            content: &content,
            txn: None,
            timestamp: None,
        };
        tolerate(self.servers[at].rooms.send(event).await.map(drop))
    }

    /// Somebody's power, or what an action needs. Everybody may always send messages, since the
    /// messages after healing tie the branches together.
    async fn change_power(
        &self,
        at: usize,
        user: &OwnedUserId,
        target: &OwnedUserId,
    ) -> anyhow::Result<bool> {
        let server = &self.servers[at];
        let Some(view) = server.view(&self.room).await? else { return Ok(false) };
        let current = server.rooms.state_get(view.state, "m.room.power_levels", "").await?;
        let mut content: Value = match current {
            Some(event) => event.pdu.content_as().context("our own power levels")?,
            None => json!({}),
        };
        let level = *self.pick(&[0, 50, 50, 75, 100, 100]).context("a level")?;
        match self.rng.below(6) {
            0 => content["ban"] = json!(level),
            1 => content["kick"] = json!(level),
            2 => content["invite"] = json!(level),
            3 => content["state_default"] = json!(level),
            _ => content["users"][target.as_str()] = json!(level),
        }
        self.set(at, user, "m.room.power_levels", &content).await
    }

    async fn redact(&self, at: usize, user: &OwnedUserId) -> anyhow::Result<bool> {
        let server = &self.servers[at];
        let Some(view) = server.view(&self.room).await? else { return Ok(false) };
        let state = server.rooms.state_iter(view.state).await?;
        let ids: Vec<_> =
            state.into_iter().map(|(.., id)| id).chain(view.extremities.clone()).collect();
        let Some(target) = self.pick(&ids) else { return Ok(false) };
        let redaction =
            Redaction { room_id: &self.room, sender: user, target, reason: None, txn: None };
        tolerate(server.rooms.redact(redaction).await.map(drop))
    }

    /// One thing that the network does.
    pub(crate) async fn disturb(&mut self) -> anyhow::Result<()> {
        let count = self.servers.len();
        match self.rng.below(20) {
            0 => {
                let sides: Vec<u8> = (0..count).map(|_| self.rng.below(2) as u8).collect();
                self.tell(&format!("split {sides:?}"));
                self.network.split(sides);
            }
            1 => {
                self.tell("heal");
                self.network.heal();
            }
            2 => self.network.set_loss(*self.pick(&[0, 100, 300]).context("a loss")?),
            3 => {
                let skew = self.rng.below(600_000);
                let server = self.pick(&self.servers).context("a server")?;
                server.clock.advance(skew);
            }
            4 => {
                if let Some(&(from, to)) = self.pick(&self.outboxes.waiting()) {
                    self.tell(&format!("{from} only sends its latest to {to}"));
                    self.outboxes.keep_latest(from, to);
                }
            }
            _ => {
                let waiting = self.outboxes.waiting();
                if let Some(&(from, to)) = self.pick(&waiting) {
                    let limit = 1 + self.rng.below(6) as usize;
                    self.deliver(from, to, limit).await?;
                }
            }
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        if self.trace {
            println!("{what}");
        }
    }

    /// Whether the server's own view has the user in the room.
    pub async fn is_joined(&self, at: usize, user: &OwnedUserId) -> anyhow::Result<bool> {
        let membership = self.servers[at].rooms.membership(user, &self.room).await?;
        Ok(membership == Some(MembershipState::Join))
    }
}

/// What members do, each up to its bound out of a hundred.
const CHOICES: &[(&str, u64)] = &[
    ("message", 22),
    ("topic", 30),
    ("name", 36),
    ("join rule", 41),
    ("power", 61),
    ("redact", 65),
    ("kick", 74),
    ("ban", 81),
    ("unban", 87),
    ("invite", 93),
    ("leave", 100),
];
