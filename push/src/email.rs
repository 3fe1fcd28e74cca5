//! Digests by mail of what is unread for a while.
//!
//! What notifies waits in the outbox as for every pusher, so that no restart loses it. When the oldest
//! has waited long enough, everything that is still unread goes into one mail, and the rooms in it are
//! not written about for some time, longer each time. When to look again is kept in memory, for those
//! pushers that have something waiting.

mod agenda;
mod digest;
mod letter;
mod ticket;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ruma::OwnedRoomId;
use storage::Position;
use sync::SyncError;
use tokio::sync::{Notify, Semaphore};

use self::{
    agenda::{Agenda, Next},
    digest::Unread,
    ticket::TicketKey,
};
use crate::{
    Push, Pusher,
    store::{Mailed, NoticeRecord, Throttle},
};

/// Mails that are written at a time.
const WRITING_MAX: usize = 8;
/// Notifications of one pusher that wait: the oldest are not written about.
pub(crate) const WAITING_MAX: usize = 500;
/// What a room's pause is multiplied with, from one mail to the next.
const PAUSE_GROWTH: u64 = 6;
/// The clock of the machine may be set: it is looked at this often, while anything waits.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What mails say of where they come from, and how soon they come.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// Who writes, where a pusher does not say it.
    pub brand: String,
    /// Where a mail is unsubscribed from; a ticket ([`Push::unsubscribe`]) is appended to it.
    pub unsubscribe_url: String,
    /// The web client where a mail leads to. `None`: to `matrix.to`.
    pub client_url: Option<String>,
    /// How long something has to be unread.
    pub delay: Duration,
    /// How long a room is not written about after a mail: first, and at most.
    pub pause_min: Duration,
    pub pause_max: Duration,
    /// After so long without anything to write about, a room's pause begins anew.
    pub calm: Duration,
    /// How often the clock is looked at, at least.
    pub look_every: Duration,
}

impl Default for MailConfig {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            brand: "Matrix".to_owned(),
            unsubscribe_url: String::new(),
            client_url: None,
            delay: Duration::from_secs(10 * 60),
            pause_min: Duration::from_secs(10 * 60),
            pause_max: day,
            calm: day,
            look_every: LOOK_EVERY,
        }
    }
}

pub(crate) struct Mails {
    config: MailConfig,
    key: TicketKey,
    agenda: Agenda,
    /// Something comes sooner than before.
    moved: Notify,
    writing: Arc<Semaphore>,
}

impl Mails {
    pub(crate) fn new(config: MailConfig, tickets: &[u8; 32]) -> Self {
        Self {
            config,
            key: TicketKey::new(tickets),
            agenda: Agenda::default(),
            moved: Notify::new(),
            writing: Arc::new(Semaphore::new(WRITING_MAX)),
        }
    }

    /// From when on a room may be written about, if what there is to write came at `ts`.
    fn due(&self, ts: u64, throttle: Option<&Throttle>) -> u64 {
        let ready = ts.saturating_add(ms(self.config.delay));
        match throttle {
            Some(throttle) if !self.is_calm(ts, throttle) => {
                ready.max(throttle.mailed_ts.saturating_add(throttle.pause_ms))
            }
            _ => ready,
        }
    }

    fn is_calm(&self, ts: u64, throttle: &Throttle) -> bool {
        ts.saturating_sub(throttle.mailed_ts) >= ms(self.config.calm)
    }

    /// The pause that begins with a mail whose oldest message of the room came at `ts`.
    fn next_throttle(&self, ts: u64, before: Option<&Throttle>, now: u64) -> Throttle {
        let grown = before.filter(|before| !self.is_calm(ts, before));
        let grown = grown.map(|before| before.pause_ms.saturating_mul(PAUSE_GROWTH));
        let pause_ms =
            grown.unwrap_or(0).clamp(ms(self.config.pause_min), ms(self.config.pause_max));
        Throttle { mailed_ts: now, pause_ms }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Push {
    /// Something was put into the outbox of an email pusher at `ts`.
    pub(crate) fn wake_for_mail(&self, pusher: &Arc<Pusher>, ts: u64) {
        if let Some(mails) = &self.inner.mails {
            let due = mails.due(ts, None);
            if mails.agenda.add(pusher, due, self.inner.clock.now_ms()) {
                mails.moved.notify_one();
            }
        }
    }

    pub(crate) async fn run_mails(self) {
        let Some(mails) = &self.inner.mails else { return };
        loop {
            let moved = mails.moved.notified();
            let now = self.inner.clock.now_ms();
            for pusher in mails.agenda.take_due(now) {
                let Ok(permit) = Arc::clone(&mails.writing).acquire_owned().await else { return };
                let this = self.clone();
                // Not cut short at the end of the process: what was handed over is noted down.
                self.inner.tasks.spawn("push mail", async move {
                    let _permit = permit;
                    this.look_and_note(&pusher).await;
                });
            }
            match mails.agenda.next_at() {
                Some(at) => {
                    let wait = Duration::from_millis(at.saturating_sub(now));
                    let wait = wait.min(mails.config.look_every).max(Duration::from_millis(1));
                    let _either = tokio::time::timeout(wait, moved).await;
                }
                None => moved.await,
            }
        }
    }

    async fn look_and_note(&self, pusher: &Pusher) {
        let Some(mails) = &self.inner.mails else { return };
        let next = match self.look(mails, pusher).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, user = %pusher.user_id, "what is to be mailed cannot be read");
                Next::Failed
            }
        };
        let now = self.inner.clock.now_ms();
        let pause = |failures| ms(self.inner.config.pause_after(failures));
        mails.agenda.note(pusher.id, next, now, pause);
        mails.moved.notify_one();
    }

    /// Writes a mail if it is time.
    async fn look(&self, mails: &Mails, pusher: &Pusher) -> Result<Next, SyncError> {
        let inner = &*self.inner;
        let current = inner.registry.current(pusher);
        let Some(pusher) = current.filter(|_| !inner.tasks.is_stopping()) else {
            return Ok(Next::Nothing);
        };
        if !inner.is_alive(&pusher).await {
            self.forget(&pusher).await;
            return Ok(Next::Nothing);
        }
        let surplus = inner.outbox.thin(pusher.id, WAITING_MAX).await?;
        let rows = inner.outbox.next(pusher.id, 0, WAITING_MAX + surplus.len()).await?;
        let (unread, mut mailed) = self.sort_out(&pusher, rows, surplus).await?;
        let throttles = inner.mail_store.throttles(pusher.id).await?;
        let due = unread.iter().map(|it| mails.due(it.ts, throttles.get(it.room()))).min();
        let now = inner.clock.now_ms();
        let next = match due {
            None => Next::Nothing,
            Some(due) if due > now => Next::At(due),
            Some(_) => match self.write(mails, &pusher, &unread).await? {
                Ok(()) => {
                    settle(&mut mailed, mails, &unread, &throttles, now);
                    Next::Nothing
                }
                Err(reason) => self.not_sent(mails, &pusher, unread, &reason).await,
            },
        };
        inner.mail_store.commit(pusher.id, &mailed).await.map_err(rooms::Error::from)?;
        Ok(next)
    }

    /// What there is to write about, oldest first; the rest is settled.
    async fn sort_out(
        &self,
        pusher: &Pusher,
        rows: Vec<(Position, NoticeRecord)>,
        surplus: Vec<(Position, NoticeRecord)>,
    ) -> Result<(Vec<Unread>, Mailed), SyncError> {
        let newest_surplus = surplus.iter().map(|(position, _)| *position).max().unwrap_or(0);
        let (mut unread, mut mailed) = (Vec::new(), Mailed::default());
        for (position, record) in rows {
            let told = match &record.event_id {
                Some(event_id) if pusher.is_on() && position > newest_surplus => {
                    self.inner.still_to_tell(&pusher.user_id, &record, event_id).await?
                }
                _ => None,
            };
            match told {
                Some((event, _actions)) => {
                    unread.push(Unread { position, ts: record.ts, event, record });
                }
                None => mailed.settled.push(position),
            }
        }
        Ok((unread, mailed))
    }

    /// The inner error says why the mail server has not taken it.
    async fn write(
        &self,
        mails: &Mails,
        pusher: &Pusher,
        unread: &[Unread],
    ) -> Result<Result<(), String>, SyncError> {
        let digest = self.inner.digest(mails, pusher, unread).await?;
        let oldest = unread.first().map_or(0, |it| it.position);
        let ticket = mails.key.ticket(&pusher.user_id, pusher.id);
        let unsubscribe = format!("{}{ticket}", mails.config.unsubscribe_url);
        let mut mail = letter::write(&digest, &pusher.pushkey, unsubscribe);
        mail.id = Some(mails.key.mail_id(pusher.id, oldest));
        let sent = self.inner.accounts.send_mail(mail).await;
        match &sent {
            Ok(()) => metrics::counter!("meridian_push_mails_total").increment(1),
            Err(_) => metrics::counter!("meridian_push_failures_total").increment(1),
        }
        Ok(sent.map_err(|error| error.to_string()))
    }

    async fn not_sent(
        &self,
        mails: &Mails,
        pusher: &Pusher,
        unread: Vec<Unread>,
        reason: &str,
    ) -> Next {
        tracing::warn!(user = %pusher.user_id, reason, "a digest cannot be mailed");
        let now = self.inner.clock.now_ms();
        if mails.agenda.fails_for(pusher.id, now) < ms(self.inner.config.give_up) {
            return Next::Failed;
        }
        let dead = unread.into_iter().map(|it| (it.position, it.record)).collect();
        self.bury(pusher, dead, reason).await;
        Next::Nothing
    }
}

/// What changes with a mail that was taken.
fn settle(
    mailed: &mut Mailed,
    mails: &Mails,
    unread: &[Unread],
    throttles: &BTreeMap<OwnedRoomId, Throttle>,
    now: u64,
) {
    for it in unread {
        mailed.settled.push(it.position);
        // The oldest of the room comes first.
        let next = || mails.next_throttle(it.ts, throttles.get(it.room()), now);
        mailed.throttles.entry(it.room().clone()).or_insert_with(next);
    }
    let is_calm = |(room, throttle): &(&OwnedRoomId, &Throttle)| {
        mails.is_calm(now, throttle) && !mailed.throttles.contains_key(*room)
    };
    let calm = throttles.iter().filter(is_calm).map(|(room, _)| room.clone()).collect();
    mailed.calm = calm;
}
