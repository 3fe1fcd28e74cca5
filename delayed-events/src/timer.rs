//! Sending what is due.

use std::time::Duration;

use rooms::NewEvent;
use ruma::{OwnedEventId, UserId};
use serde_json::value::RawValue;

use crate::{
    DelayedEvents, Error, Failure,
    store::{DelayedRecord, Due, Ended},
};

/// The wall clock may be set: it is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// What fails for reasons of ours is tried again after this time.
const RETRY: Duration = Duration::from_secs(30);

/// Takes the mark off, whatever happens.
struct Sending<'a> {
    events: &'a DelayedEvents,
    id: &'a str,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.events.inner.timers.lock().sending.remove(self.id);
    }
}

impl DelayedEvents {
    /// Sends each event when its time has come. Waits without work while nothing is due.
    pub async fn run(self) {
        loop {
            let sooner = self.inner.sooner.notified();
            match self.send_due().await {
                None => sooner.await,
                Some(wait) => {
                    let wait = wait.min(LOOK_AGAIN);
                    // Whichever is first; nothing is lost by either.
                    let _elapsed = tokio::time::timeout(wait, sooner).await;
                }
            }
        }
    }

    /// Sends everything that is due, in the order of its times. Returns how long it is until the next.
    pub async fn send_due(&self) -> Option<Duration> {
        loop {
            let now = self.inner.clock.now_ms();
            let due = {
                let mut timers = self.inner.timers.lock();
                let (at, ..) = timers.due.first()?;
                if *at > now {
                    return Some(Duration::from_millis(*at - now));
                }
                timers.due.pop_first()?
            };
            self.fire(due).await;
        }
    }

    async fn fire(&self, due: Due) {
        let (at, user, id) = &due;
        match self.try_to_send(user, id, Some(*at)).await {
            Ok(()) | Err(Error::NotFound | Error::Finalised) => {}
            // By its user, who may be told that it cannot be: then it stays scheduled.
            Err(Error::Sending) => self.try_later(due),
            Err(error) => match Failure::of(&error) {
                Some(failure) => {
                    let ended = Ended::Failed(failure, error.to_string());
                    if let Err(error) = self.end(user, id, ended).await {
                        tracing::warn!(%error, %user, "a delayed event is not marked as failed");
                        self.try_later(due);
                    }
                }
                None => {
                    tracing::warn!(%error, %user, "a delayed event is sent later");
                    self.try_later(due);
                }
            },
        }
    }

    /// In memory only: after a restart it is tried at once.
    fn try_later(&self, (_, user, id): Due) {
        let later = u64::try_from(RETRY.as_millis()).unwrap_or(u64::MAX);
        self.set_timer((self.inner.clock.now_ms().saturating_add(later), user, id));
    }

    /// A user asks for it. If it fails it stays scheduled.
    pub(crate) async fn send_now(&self, user: &UserId, id: &str) -> Result<(), Error> {
        self.try_to_send(user, id, None).await
    }

    /// `due_at`: when it was to be sent, by the timer.
    async fn try_to_send(&self, user: &UserId, id: &str, due_at: Option<u64>) -> Result<(), Error> {
        let inner = &*self.inner;
        let record = {
            let _lock = inner.lock(user).await;
            let record = inner.store.latest(user, id).await?.ok_or(Error::NotFound)?;
            match &record.ended {
                None => {}
                Some((_, Ended::Sent(_))) => return Ok(inner.store.0.barrier().wait().await?),
                Some(_) => return Err(Error::Finalised),
            }
            // It was put off, and has a timer of its own.
            if due_at.is_some_and(|_| record.due() > inner.clock.now_ms()) {
                return Ok(());
            }
            if !inner.timers.lock().sending.insert(id.to_owned()) {
                return Err(Error::Sending);
            }
            record
        };
        let sending = Sending { events: self, id };
        let event_id = self.deliver(user, id, &record).await?;
        self.end(user, id, Ended::Sent(event_id.to_string())).await?;
        drop(sending);
        Ok(())
    }

    async fn deliver(
        &self,
        user: &UserId,
        id: &str,
        record: &DelayedRecord,
    ) -> Result<OwnedEventId, Error> {
        let account = self.inner.accounts.user(user).await?;
        if account.is_none_or(|user| user.deactivated || user.locked || user.suspended) {
            return Err(Error::Forbidden("the account may not send anything at the moment"));
        }
        let content: &RawValue = serde_json::from_str(&record.content)
            .map_err(|_| Error::Invalid("the content of an event is a JSON object"))?;
        let event = NewEvent {
            room_id: &record.room_id,
            sender: user,
            event_type: &record.event_type,
            state_key: record.state_key.as_deref(),
            content,
            // Sent again after a crash in between, it is the same event.
            txn: Some(rooms::Txn::of_delayed(id)),
            timestamp: record.timestamp,
        };
        Ok(self.inner.rooms.send(event).await?)
    }

    async fn end(&self, user: &UserId, id: &str, ended: Ended) -> Result<(), Error> {
        let inner = &*self.inner;
        let pending = {
            let _lock = inner.lock(user).await;
            let Some(before) = inner.store.latest(user, id).await? else { return Ok(()) };
            let mut after = before.clone();
            after.ended = Some((inner.clock.now_ms(), ended));
            let pending = inner.store.put(user, id, Some(&before), &after, &[])?;
            inner.timers.lock().due.remove(&(before.due(), user.to_owned(), id.to_owned()));
            pending
        };
        pending.await?;
        Ok(())
    }
}
