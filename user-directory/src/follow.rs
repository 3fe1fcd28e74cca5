//! Follows the log of facts from a durable position.

use std::time::Duration;

use rooms::{RoomEventFact, stream};
use ruma::RoomId;
use storage::{Batch, LoggedFact};

use crate::{UserDirectory, index::News};

/// After a failure of the store, which usually ends the process.
const PAUSE: Duration = Duration::from_secs(1);

impl UserDirectory {
    /// Keeps the index up to date until the store is closed. The log is kept for it from this call on.
    pub fn follow(self) -> impl Future<Output = ()> + Send {
        // The index is made of the log alone, so it begins where the log does.
        let mut log = self.inner.store.0.consume("user directory", 0);
        async move {
            while let Some(facts) = log.next().await {
                let mut news = News::default();
                facts.iter().for_each(|fact| note(&mut news, fact));
                if !news.is_empty() {
                    log.commit(self.insist(&mut news).await).await;
                }
            }
        }
    }

    async fn insist(&self, news: &mut News) -> Batch {
        loop {
            match self.take(news).await {
                Ok(batch) => return batch,
                Err(error) => tracing::error!(%error, "the user directory cannot be written"),
            }
            tokio::time::sleep(PAUSE).await;
        }
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
