//! The end of the checklist, under the room's writer: judged, then committed or kept aside.

use std::sync::Arc;

use events::Pdu;
use ruma::RoomId;

use super::{
    Received,
    auth_events::Verdict,
    outliers::{Held, side_event},
};
use crate::{
    Error, EventStatus, RoomView, Root,
    commit::Submitted,
    draft::{Relay, Says},
    room::Writer,
    rooms::Inner,
    store::{Gaps, PendingRedaction, PendingRedactions, SideEvents},
};

/// What becomes of an event that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It is kept, since others may refer to it, and not shown.
    Keep,
    /// It is refused: whoever hands it in learns why, and nothing is left behind.
    Refuse,
}

#[must_use = "nothing is acknowledged before it is durable"]
pub(crate) struct Taken {
    pub(crate) verdict: Received,
    /// Of an accepted event.
    pub(crate) submitted: Option<Submitted>,
}

/// Branches of a room. They are joined long before (`heal.rs`), unless no local user may.
const BRANCHES_MAX: usize = 500;

/// Refuses an event that would add a branch to too many. One that joins some is welcome.
fn check_branches(view: &RoomView, pdu: &Pdu) -> Result<(), Error> {
    let joined = pdu.prev_events().iter().any(|id| view.extremities.contains(id));
    if joined || view.extremities.len() < BRANCHES_MAX {
        return Ok(());
    }
    Err(Error::TooLarge("the room has too many branches".to_owned()))
}

/// An event that has passed all checks.
struct Allowed {
    pdu: Arc<Pdu>,
    state_before: Root,
    /// Some of what comes right before it is not known.
    has_gap: bool,
    relay: Relay,
}

/// Which state an event fails by.
enum Judgement {
    Allowed,
    Rejected(String),
    SoftFailed(String),
}

impl Inner {
    /// Judges a verified event whose auth events are known. `gap` are the states
    /// that stand for events which come right before it and are not.
    pub(crate) async fn take(
        &self,
        room_id: &RoomId,
        pdu: Arc<Pdu>,
        gap: Vec<Root>,
        relay: Relay,
        strictness: Strictness,
    ) -> Result<Taken, Error> {
        let writer = self.writer(room_id).await?.ok_or(Error::NotFound("the room"))?;
        // Another task may have been faster.
        if self.has_judged(pdu.event_id()).await? {
            drop(writer);
            self.store.barrier().wait().await?;
            let verdict = Received::Known;
            return Ok(Taken { verdict, submitted: None });
        }
        let view = writer.view().clone();
        check_branches(&view, &pdu)?;
        let has_gap = !gap.is_empty();
        let state_before = self.state_before(view.version, &pdu, gap).await?;
        let (status, verdict) = match self.judge(&view, &pdu, state_before).await? {
            Judgement::Allowed => {
                let allowed = Allowed { pdu, state_before, has_gap, relay };
                let submitted = Some(self.commit_allowed(writer, allowed, None).await?);
                return Ok(Taken { verdict: Received::Accepted, submitted });
            }
            Judgement::Rejected(reason) => (EventStatus::Rejected, Received::Rejected(reason)),
            Judgement::SoftFailed(reason) => {
                (EventStatus::SoftFailed, Received::SoftFailed(reason))
            }
        };
        if strictness == Strictness::Refuse {
            let (Received::Rejected(reason) | Received::SoftFailed(reason)) = verdict else {
                return Err(Error::Internal("only a refused event has a reason".to_owned()));
            };
            return Err(Error::Forbidden(reason));
        }
        tracing::debug!(event_id = %pdu.event_id(), ?verdict, "an event is kept aside");
        let event = side_event(pdu, view.version, status, Some(state_before));
        self.store_aside(vec![event]).await?;
        Ok(Taken { verdict, submitted: None })
    }

    /// An event of a local user that was made on a state which may not be the newest any more.
    pub(crate) async fn take_own(
        &self,
        writer: Writer,
        pdu: Arc<Pdu>,
        says: &Says<'_>,
    ) -> Result<Submitted, Error> {
        let view = writer.view().clone();
        let state_before = self.state_before(view.version, &pdu, Vec::new()).await?;
        match self.judge(&view, &pdu, state_before).await? {
            Judgement::Allowed => {}
            Judgement::Rejected(reason) | Judgement::SoftFailed(reason) => {
                return Err(Error::Forbidden(reason));
            }
        }
        let relay = Relay::Everybody;
        let allowed = Allowed { pdu, state_before, has_gap: false, relay };
        self.commit_allowed(writer, allowed, Some(says)).await
    }

    /// `says`: of a local user's event, for its transaction.
    async fn commit_allowed(
        &self,
        mut writer: Writer,
        allowed: Allowed,
        says: Option<&Says<'_>>,
    ) -> Result<Submitted, Error> {
        let Allowed { pdu, state_before, has_gap, relay } = allowed;
        let room = Arc::clone(&writer.room);
        let mut draft = writer.draft(self);
        let redaction = draft.take_in(Arc::clone(&pdu), state_before, relay).await?;
        if let Some(says) = says {
            draft.note_transaction(says);
        }
        let redaction = match redaction {
            Some(target) => {
                let earlier = draft.pending_redaction(&target).await?;
                Some((target, PendingRedaction::with(earlier, pdu.event_id())))
            }
            None => None,
        };
        let outcome = draft.submit(&room, |batch| {
            batch.derive_delete::<SideEvents>(pdu.event_id(), ());
            if has_gap {
                batch.put::<Gaps>(room.id(), (pdu.depth(), pdu.event_id()), &());
            }
            if let Some((target, record)) = redaction {
                batch.put::<PendingRedactions>(room.id(), &target, &record);
            }
        })?;
        Ok(writer.finish(outcome))
    }

    /// As [`Inner::take`] judges, without the current state, which says nothing about the past.
    pub(crate) async fn judge_historic(
        &self,
        view: &RoomView,
        pdu: &Pdu,
        state_before: Root,
    ) -> Result<Verdict, Error> {
        let by_auth_events = self.check_auth_events(view.version, pdu, &Held::new()).await?;
        if by_auth_events.is_err() || pdu.event_type() == "m.room.create" {
            return Ok(by_auth_events);
        }
        self.check_by_state(view.version, &view.create, pdu, state_before).await
    }

    async fn judge(
        &self,
        view: &RoomView,
        pdu: &Pdu,
        state_before: Root,
    ) -> Result<Judgement, Error> {
        let RoomView { version, create, state: current, .. } = view;
        let by_auth_events: Verdict = self.check_auth_events(version, pdu, &Held::new()).await?;
        if let Err(reason) = by_auth_events {
            return Ok(Judgement::Rejected(reason));
        }
        if let Err(reason) = self.check_by_state(version, create, pdu, state_before).await? {
            return Ok(Judgement::Rejected(reason));
        }
        let by_current =
            self.check_by_current_state(version, create, pdu, state_before, *current).await?;
        if let Err(reason) = by_current {
            return Ok(Judgement::SoftFailed(reason));
        }
        if let Err(reason) = self.check_policy(view, pdu).await? {
            return Ok(Judgement::SoftFailed(reason));
        }
        Ok(Judgement::Allowed)
    }
}
