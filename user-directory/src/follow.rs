//! Follows the log of facts from a durable position.

use std::time::Duration;

use rooms::{RoomEventFact, stream};
use ruma::RoomId;
use storage::{Batch, LoggedFact, Position};

use crate::{UserDirectory, index::News, store::DirectoryStore};

/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);
/// Facts after which the position is written although nothing changed, so that a start does not
/// read the whole log again.
const CHECKPOINT: u64 = 100_000;

impl UserDirectory {
    /// Keeps the index up to date until the store is closed.
    pub async fn follow(self) {
        let store = &self.inner.store;
        let mut written = loop {
            match store.followed().await {
                Ok(position) => break position,
                Err(error) => tracing::error!(%error, "the user directory cannot be read"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let mut follower = store.0.follow(written);
        loop {
            let facts = match follower.next().await {
                Ok(Some(facts)) => facts,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "the log cannot be read");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(last) = facts.last().map(|fact| fact.position) else { continue };
            let mut news = News::default();
            facts.iter().for_each(|fact| note(&mut news, fact));
            if !news.is_empty() {
                self.insist(&mut news, last).await;
                written = last;
            } else if last > written + CHECKPOINT && self.checkpoint(last).await {
                written = last;
            }
        }
    }

    async fn insist(&self, news: &mut News, last: Position) {
        while let Err(error) = self.take(news, last).await {
            tracing::error!(%error, "the user directory cannot be written");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn checkpoint(&self, position: Position) -> bool {
        let mut batch = Batch::new();
        DirectoryStore::put_followed(&mut batch, position);
        self.inner.store.commit(batch).await.is_ok()
    }
}

fn note(news: &mut News, logged: &LoggedFact) {
    if logged.fact.stream != stream::EVENT {
        return;
    }
    let Some(fact) = RoomEventFact::from_fact(&logged.fact) else { return };
    let Ok(room) = RoomId::parse(&*logged.fact.subject) else { return };
    match fact.event_type.as_str() {
        "m.room.member" => {
            if let Some((user, _)) = fact.membership {
                news.members.entry(user).or_default().insert(room);
            }
        }
        "m.room.join_rules" | "m.room.history_visibility" if fact.state_key.is_some() => {
            news.rooms.insert(room);
        }
        _ => news.redacted.extend(fact.redacts),
    }
}
