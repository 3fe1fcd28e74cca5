//! Ids that were given out for content that is still to come, and who waits for it. In memory, as
//! they are in the store.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use ruma::UserId;
use tokio::sync::Notify;

use crate::error::Error;

struct Waiting {
    user: String,
    expires_ts: u64,
    arrival: Arc<Notify>,
}

#[derive(Default)]
struct State {
    by_id: HashMap<String, Waiting>,
    by_user: HashMap<String, Vec<String>>,
}

#[derive(Default)]
pub(crate) struct Pending(Mutex<State>);

impl State {
    fn add(&mut self, user: &str, media_id: String, expires_ts: u64) {
        self.by_user.entry(user.to_owned()).or_default().push(media_id.clone());
        let waiting = Waiting { user: user.to_owned(), expires_ts, arrival: Arc::default() };
        self.by_id.insert(media_id, waiting);
    }

    fn remove(&mut self, media_id: &str) {
        let Some(waiting) = self.by_id.remove(media_id) else { return };
        if let Some(ids) = self.by_user.get_mut(&waiting.user) {
            ids.retain(|id| id != media_id);
            if ids.is_empty() {
                self.by_user.remove(&waiting.user);
            }
        }
        waiting.arrival.notify_waiters();
    }
}

impl Pending {
    pub(crate) fn load(rows: Vec<(String, String, u64)>) -> Self {
        let mut state = State::default();
        for (user, media_id, expires_ts) in rows {
            state.add(&user, media_id, expires_ts);
        }
        Self(Mutex::new(state))
    }

    /// Takes an id for a user who has fewer than `max`, or says in how many milliseconds one
    /// expires. Returns the ids that have expired meanwhile.
    pub(crate) fn reserve(
        &self,
        user: &UserId,
        media_id: &str,
        (now, expires_ts): (u64, u64),
        max: usize,
    ) -> Result<Vec<String>, u64> {
        let mut state = self.0.lock();
        let state = &mut *state;
        let ids = state.by_user.get(user.as_str()).cloned().unwrap_or_default();
        let expiry = |id: &String| state.by_id.get(id).map_or(0, |waiting| waiting.expires_ts);
        let (expired, live): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| expiry(id) <= now);
        if live.len() >= max {
            return Err(live.iter().map(expiry).min().unwrap_or_default().saturating_sub(now));
        }
        for id in &expired {
            state.remove(id);
        }
        state.add(user.as_str(), media_id.to_owned(), expires_ts);
        Ok(expired)
    }

    /// Whether the user may upload under the id; `Ok(false)` if it waits for nothing.
    pub(crate) fn may_upload(
        &self,
        user: &UserId,
        media_id: &str,
        now: u64,
    ) -> Result<bool, Error> {
        match self.0.lock().by_id.get(media_id) {
            Some(waiting) if waiting.expires_ts <= now => Ok(false),
            Some(waiting) if waiting.user != user.as_str() => Err(Error::NotYours),
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    /// What tells of the arrival, if the id waits for content.
    pub(crate) fn arrival(&self, media_id: &str, now: u64) -> Option<Arc<Notify>> {
        let state = self.0.lock();
        let waiting = state.by_id.get(media_id).filter(|waiting| now < waiting.expires_ts)?;
        Some(Arc::clone(&waiting.arrival))
    }

    /// The content is there, or will not come.
    pub(crate) fn end(&self, media_id: &str) {
        self.0.lock().remove(media_id);
    }
}
