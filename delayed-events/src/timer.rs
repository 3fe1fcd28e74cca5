//! Sending what is due.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use rooms::NewEvent;
use ruma::{OwnedEventId, OwnedUserId, UserId};
use serde_json::value::RawValue;

use crate::{
    DelayedEvents, Error, Failure,
    service::Timers,
    store::{DelayedRecord, Due, Ended},
};

/// The wall clock may be set: it is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// What fails for reasons of ours is tried again after this time.
const RETRY: Duration = Duration::from_secs(30);

/// Users whose events are sent at the same time. A room may have to ask its policy server first: one that
/// is slow holds up those who have events there.
const USERS_AT_ONCE: usize = 64;

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

/// What is due of each user, in the order of its times.
type DueByUser = BTreeMap<OwnedUserId, Vec<Due>>;

impl Timers {
    /// Takes what is due of users who are not busy, and says when the next will be.
    fn take_due(&mut self, now: u64, busy: &BTreeSet<OwnedUserId>) -> (DueByUser, Option<u64>) {
        let mut taken = DueByUser::new();
        let places = USERS_AT_ONCE.saturating_sub(busy.len());
        for due in self.due.iter().take_while(|(at, ..)| places > 0 && *at <= now) {
            let user = &due.1;
            if !busy.contains(user) && (taken.len() < places || taken.contains_key(user)) {
                taken.entry(user.clone()).or_default().push(due.clone());
            }
        }
        for due in taken.values().flatten() {
            self.due.remove(due);
        }
        (taken, self.due.iter().map(|(at, ..)| *at).find(|at| *at > now))
    }
}

impl DelayedEvents {
    /// Sends each event when its time has come. Waits without work while nothing is due.
    pub async fn run(self) {
        let mut sending = FuturesUnordered::new();
        let mut busy = BTreeSet::new();
        loop {
            let sooner = self.inner.sooner.notified();
            let (due, wait) = self.take_due(&busy);
            for (user, due) in due {
                busy.insert(user.clone());
                sending.push(self.fire_all(user, due));
            }
            // Whichever is first; nothing is lost by the others.
            tokio::select! {
                Some(user) = sending.next() => drop(busy.remove(&user)),
                () = tokio::time::sleep(wait.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)), if wait.is_some() => {}
                () = sooner => {}
            }
        }
    }

    /// Sends everything that is due, of each user in the order of its times. Returns how long it is
    /// until the next.
    pub async fn send_due(&self) -> Option<Duration> {
        loop {
            let (due, wait) = self.take_due(&BTreeSet::new());
            if due.is_empty() {
                return wait;
            }
            join_all(due.into_iter().map(|(user, due)| self.fire_all(user, due))).await;
        }
    }

    fn take_due(&self, busy: &BTreeSet<OwnedUserId>) -> (DueByUser, Option<Duration>) {
        let now = self.inner.clock.now_ms();
        let (due, next) = self.inner.timers.lock().take_due(now, busy);
        (due, next.map(|at| Duration::from_millis(at - now)))
    }

    async fn fire_all(&self, user: OwnedUserId, due: Vec<Due>) -> OwnedUserId {
        for due in due {
            self.fire(due).await;
        }
        user
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ruma::OwnedUserId;

    use super::{Timers, USERS_AT_ONCE};
    use crate::store::Due;

    fn due(at: u64, user: usize, id: &str) -> Due {
        let user = OwnedUserId::try_from(format!("@u{user}:x.test")).expect("an id");
        (at, user, id.to_owned())
    }

    #[test]
    fn whoever_is_busy_holds_up_nobody_else() {
        let mut timers = Timers::default();
        let all = [due(5, 1, "a"), due(6, 2, "b"), due(7, 1, "c"), due(8, 2, "d"), due(11, 3, "e")];
        timers.due.extend(all.clone());
        let busy = BTreeSet::from([all[0].1.clone()]);
        let (taken, next) = timers.take_due(10, &busy);
        let taken: Vec<_> = taken.into_values().flatten().collect();
        assert_eq!((taken, next), (vec![all[1].clone(), all[3].clone()], Some(11)));
        let (taken, _) = timers.take_due(10, &BTreeSet::new());
        let taken: Vec<_> = taken.into_values().flatten().collect();
        assert_eq!(taken, [all[0].clone(), all[2].clone()], "they are not forgotten");
        assert_eq!(timers.take_due(10, &BTreeSet::new()), (Default::default(), Some(11)));
    }

    #[test]
    fn many_users_are_taken_in_turn() {
        let mut timers = Timers::default();
        timers.due.extend((0..USERS_AT_ONCE + 5).map(|user| due(1, user, "a")));
        let (taken, _) = timers.take_due(1, &BTreeSet::new());
        assert_eq!(taken.len(), USERS_AT_ONCE);
        let busy: BTreeSet<_> = taken.into_keys().collect();
        assert!(timers.take_due(1, &busy).0.is_empty());
        assert_eq!(timers.take_due(1, &BTreeSet::new()).0.len(), 5);
    }
}
