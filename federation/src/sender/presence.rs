//! Tells other servers who of ours is there: the latest state of each, to those who share a room
//! with them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use ::presence::PresenceChange;
use parking_lot::Mutex;
use ruma::{
    OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    events::room::member::MembershipState, presence::PresenceState,
};
use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};

use super::Sender;

/// States in one EDU.
pub(super) const STATES_MAX: usize = 50;
/// EDUs in one transaction.
pub(super) const EDUS_MAX: usize = 20;
// Another server of this kind looks at all of it.
const _: () = assert!(STATES_MAX * EDUS_MAX <= crate::edus::PRESENCE_MAX);
/// A server with more members in a room is not new there. Several may have joined in one moment.
const FIRST_MEMBERS: u64 = 3;
/// For how long it is remembered which servers share a room with a user.
const FRESH: Duration = Duration::from_secs(60);
/// Users of whom that is remembered.
const USERS_MAX: usize = 100_000;
/// "FEDERATION_PING_INTERVAL" of deployed servers, which believe nobody for more than half an hour.
const REFRESH: Duration = Duration::from_secs(25 * 60);

/// Which servers share a room with a user, as of a moment ago.
#[derive(Default)]
pub(super) struct Reach(Mutex<HashMap<OwnedUserId, Known>>);

/// When it was looked up, and what was found.
type Known = (Instant, Arc<[OwnedServerName]>);

impl Sender {
    /// `seen`: the sequence that the changes go on from.
    pub(super) async fn follow_presence(
        self,
        mut changes: Receiver<PresenceChange>,
        mut seen: u64,
    ) {
        let presence = &self.inner.presence;
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.tick().await;
        let mut online: BTreeSet<OwnedUserId> = BTreeSet::new();
        loop {
            let changed = tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => {
                        seen = change.sequence;
                        vec![change.user_id]
                    }
                    Err(RecvError::Lagged(_)) => {
                        let missed = presence.changed_since(seen).unwrap_or_default();
                        missed.into_iter().map(|(user, _)| user).collect()
                    }
                    Err(RecvError::Closed) => return,
                },
                // Otherwise the others take them for gone.
                _ = refresh.tick() => online.iter().cloned().collect(),
            };
            let own = self.inner.rooms.server_name();
            for user in changed.into_iter().filter(|user| user.server_name() == own) {
                self.tell_of(&user).await;
                match presence.get_cached(&user) {
                    Some(now) if now.presence != PresenceState::Offline => online.insert(user),
                    _ => online.remove(&user),
                };
            }
        }
    }

    async fn tell_of(&self, user: &UserId) {
        for server in self.reach_of(user).await.iter() {
            self.tell_of_to(user, server);
        }
    }

    fn tell_of_to(&self, user: &UserId, server: &ServerName) {
        let destination = self.destination(server);
        destination.pending.lock().add_presence(user.to_owned());
        if destination.start_quietly() {
            self.spawn_queue(destination);
        }
    }

    async fn reach_of(&self, user: &UserId) -> Arc<[OwnedServerName]> {
        let now = Instant::now();
        if let Some((at, servers)) = self.inner.reach.0.lock().get(user)
            && now.duration_since(*at) < FRESH
        {
            return Arc::clone(servers);
        }
        let mut servers = BTreeSet::new();
        match self.inner.rooms.rooms_of(user).await {
            Ok(rooms) => {
                for room in rooms.iter().filter(|room| room.membership == MembershipState::Join) {
                    servers.extend(self.servers_in(&room.room_id).await);
                }
            }
            Err(error) => tracing::warn!(%error, "whom to tell cannot be read"),
        }
        let servers: Arc<[OwnedServerName]> = servers.into_iter().collect();
        let mut reach = self.inner.reach.0.lock();
        if reach.len() >= USERS_MAX {
            reach.clear();
        }
        reach.insert(user.to_owned(), (now, Arc::clone(&servers)));
        servers
    }

    /// Somebody joined a room: one of ours is told of to the servers there, or a server that is new
    /// there is told of those of ours that are.
    pub(super) async fn introduce(&self, room: &RoomId, user: &UserId) {
        self.inner.reach.0.lock().remove(user);
        let is_there = |user: &UserId| {
            let presence = self.inner.presence.get_cached(user);
            presence.is_some_and(|now| now.presence != PresenceState::Offline)
        };
        if user.server_name() == self.inner.rooms.server_name() {
            if is_there(user) {
                for server in self.servers_in(room).await {
                    self.tell_of_to(user, &server);
                }
            }
            return;
        }
        let Ok(Some(view)) = self.inner.rooms.room(room).await else { return };
        let server = user.server_name();
        if view.servers.get(server).is_some_and(|members| *members > FIRST_MEMBERS) {
            return;
        }
        for local in view.local_joined.iter() {
            self.inner.reach.0.lock().remove(local);
            if is_there(local) {
                self.tell_of_to(local, server);
            }
        }
    }

    /// The content of an `m.presence` EDU.
    pub(super) async fn presence_of(&self, users: &[OwnedUserId]) -> Value {
        let now = self.inner.clock.now_ms();
        let mut push = Vec::with_capacity(users.len());
        for user in users {
            let Ok(presence) = self.inner.presence.get(user).await else { continue };
            let mut entry = json!({
                "user_id": user,
                "presence": presence.presence,
                "last_active_ago": presence
                    .last_active_ts
                    .map_or(0, |ts| now.saturating_sub(ts)),
            });
            if let Some(status) = &presence.status_msg {
                entry["status_msg"] = (**status).into();
            }
            if presence.presence == PresenceState::Online {
                entry["currently_active"] = presence.currently_active.into();
            }
            push.push(entry);
        }
        json!({ "push": push })
    }
}
