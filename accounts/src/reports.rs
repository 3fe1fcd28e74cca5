//! What users report to the operator: rooms, events and other users ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#reporting-content

use std::collections::BTreeMap;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::{
    Accounts, StoreError,
    store::{ReportKey, ReportRecord},
};

/// Reports that wait for the operator, of everybody and of one user: nobody fills the list alone.
const REPORTS_MAX: usize = 10_000;
const REPORTS_PER_USER_MAX: usize = 100;
const REASON_BYTES_MAX: usize = 4096;

/// What is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    Room(OwnedRoomId),
    Event(OwnedRoomId, OwnedEventId),
    User(OwnedUserId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub reporter: OwnedUserId,
    pub reported: Reported,
    pub reason: Option<String>,
    /// Milliseconds since the epoch.
    pub ts: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("a reason has at most {REASON_BYTES_MAX} bytes")]
    TooLarge,
    /// The operator has to read some first.
    #[error("too many reports wait to be read")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many reports there are, by who made them.
#[derive(Debug, Default)]
pub(crate) struct ReportCounts {
    total: usize,
    by_reporter: BTreeMap<OwnedUserId, usize>,
}

impl ReportCounts {
    fn of(reports: &[(ReportKey, ReportRecord)]) -> Self {
        let mut counts = Self::default();
        reports.iter().for_each(|(_, report)| counts.add(&report.reporter));
        counts
    }

    fn add(&mut self, reporter: &OwnedUserId) {
        self.total += 1;
        *self.by_reporter.entry(reporter.clone()).or_default() += 1;
    }

    fn is_full_for(&self, reporter: &OwnedUserId) -> bool {
        let own = self.by_reporter.get(reporter).copied().unwrap_or(0);
        self.total >= REPORTS_MAX || own >= REPORTS_PER_USER_MAX
    }
}

impl From<(ReportKey, ReportRecord)> for Report {
    fn from(((ts, _), record): (ReportKey, ReportRecord)) -> Self {
        let ReportRecord { reporter, room_id, event_id, user_id, reason } = record;
        let reported = match (room_id, event_id, user_id) {
            (Some(room_id), Some(event_id), _) => Reported::Event(room_id, event_id),
            (Some(room_id), None, _) => Reported::Room(room_id),
            (None, _, Some(user_id)) => Reported::User(user_id),
            // Nothing here writes such a row.
            (None, _, None) => Reported::User(reporter.clone()),
        };
        Self { reporter, reported, reason, ts }
    }
}

impl Accounts {
    /// Keeps a report until the operator takes it.
    pub async fn report(
        &self,
        reporter: OwnedUserId,
        reported: Reported,
        reason: Option<String>,
    ) -> Result<(), ReportError> {
        if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
            return Err(ReportError::TooLarge);
        }
        let (room_id, event_id, user_id) = match reported {
            Reported::Room(room_id) => (Some(room_id), None, None),
            Reported::Event(room_id, event_id) => (Some(room_id), Some(event_id), None),
            Reported::User(user_id) => (None, None, Some(user_id)),
        };
        let record = ReportRecord { reporter, room_id, event_id, user_id, reason };
        let inner = &self.inner;
        let kept = {
            let mut counts = inner.reports.lock().await;
            let counts = match &mut *counts {
                Some(counts) => counts,
                none => none.insert(ReportCounts::of(&inner.store.reports().await?)),
            };
            if counts.is_full_for(&record.reporter) {
                return Err(ReportError::TooMany);
            }
            let kept =
                inner.store.put_report((inner.clock.now_ms(), inner.rng.next_u64()), &record)?;
            counts.add(&record.reporter);
            kept
        };
        kept.await.map_err(StoreError::from)?;
        tracing::warn!(
            reporter = %record.reporter, room.id = ?record.room_id, event.id = ?record.event_id,
            user.id = ?record.user_id, "a user has reported something"
        );
        Ok(())
    }

    /// All reports, oldest first.
    pub async fn reports(&self) -> Result<Vec<Report>, StoreError> {
        let reports = self.inner.store.reports().await?;
        Ok(reports.into_iter().map(Report::from).collect())
    }

    /// As [`reports`](Self::reports), which are forgotten then.
    pub async fn take_reports(&self) -> Result<Vec<Report>, StoreError> {
        let inner = &self.inner;
        let mut counts = inner.reports.lock().await;
        let reports = inner.store.reports().await?;
        let keys: Vec<_> = reports.iter().map(|(key, _)| *key).collect();
        inner.store.delete_reports(&keys).await?;
        *counts = None;
        Ok(reports.into_iter().map(Report::from).collect())
    }
}
