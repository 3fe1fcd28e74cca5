//! What a waiting request or connection sleeps on.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use futures_util::task::AtomicWaker;
use ruma::{OwnedDeviceId, RoomId};

use crate::{Filter, sliding::Interest};

/// A kind of change, as far as it matters for whether somebody wants to be woken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    Event {
        room: &'a RoomId,
    },
    Receipt {
        room: &'a RoomId,
    },
    Typing {
        room: &'a RoomId,
    },
    Membership {
        room: &'a RoomId,
    },
    RoomAccountData {
        room: &'a RoomId,
        event_type: &'a str,
    },
    AccountData {
        event_type: &'a str,
    },
    ToDevice {
        device: Option<&'a str>,
    },
    OneTimeKeys {
        device: Option<&'a str>,
    },
    /// `own`: of the user's own devices or keys, or of how they alone see somebody's.
    DeviceLists {
        own: bool,
    },
    Presence,
    Profiles,
    ThreadSubscriptions,
}

impl Change<'_> {
    /// Whether the change can wait for others of its kind: none of these is worth a computation
    /// of its own for each of many connections.
    pub(crate) fn can_wait(self) -> bool {
        matches!(
            self,
            Self::Typing { .. }
                | Self::Receipt { .. }
                | Self::Presence
                | Self::Profiles
                | Self::OneTimeKeys { .. }
                // Somebody is about to verify a device of their own, which others are not.
                | Self::DeviceLists { own: false }
        )
    }
}

/// What a sleeper is to be woken for.
#[derive(Debug)]
pub(crate) enum Wanted {
    Filtered(Arc<Filter>),
    Sliding(Arc<Interest>),
}

/// One sleeper. Marked dirty by the hub; computes from its own last token when it wakes, so any
/// number of marks costs one computation.
///
/// Only one task sleeps on it, which there are very many of: it holds no place in a queue, and takes
/// no lock to look.
#[derive(Debug)]
pub(crate) struct Waiter {
    device: Option<OwnedDeviceId>,
    wanted: Wanted,
    waker: AtomicWaker,
    dirty: AtomicBool,
    /// Among those who are woken later.
    queued: AtomicBool,
    wakes: AtomicU64,
}

impl Waiter {
    pub(crate) fn new(device: Option<OwnedDeviceId>, wanted: Wanted) -> Self {
        Self {
            device,
            wanted,
            waker: AtomicWaker::new(),
            dirty: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            wakes: AtomicU64::new(0),
        }
    }

    pub(crate) fn wants(&self, change: Change<'_>) -> bool {
        let filter = match &self.wanted {
            Wanted::Filtered(filter) => filter,
            Wanted::Sliding(interest) => {
                return self.is_concerned(change) && interest.wants(change);
            }
        };
        match change {
            Change::Event { room } | Change::Membership { room } => filter.wants_room(room),
            Change::Receipt { room } => {
                filter.wants_room(room) && filter.ephemeral.wants_type("m.receipt")
            }
            Change::Typing { room } => {
                filter.wants_room(room)
                    && filter.ephemeral.wants_room(room)
                    && filter.ephemeral.wants_type("m.typing")
            }
            Change::RoomAccountData { room, event_type } => {
                filter.wants_room(room)
                    && filter.room_account_data.wants_room(room)
                    && filter.room_account_data.wants_type(event_type)
            }
            Change::AccountData { event_type } => filter.account_data.wants_type(event_type),
            Change::DeviceLists { .. } => self.device.is_some(),
            Change::ToDevice { .. } | Change::OneTimeKeys { .. } => self.is_concerned(change),
            // `/v3/sync` has no place for them.
            Change::Profiles | Change::ThreadSubscriptions => false,
            Change::Presence => filter.presence.wants_type("m.presence"),
        }
    }

    /// Whether the change is not one of another device's.
    fn is_concerned(&self, change: Change<'_>) -> bool {
        match change {
            Change::ToDevice { device } | Change::OneTimeKeys { device } => {
                device.is_none() || device == self.device.as_ref().map(|device| device.as_str())
            }
            _ => true,
        }
    }

    /// Wakes the sleeper, now or as soon as it sleeps.
    pub(crate) fn wake(&self) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.waker.wake();
        }
    }

    /// Whether the sleeper is still to be put among those who are woken later.
    pub(crate) fn queue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn wake_queued(&self) {
        self.queued.store(false, Ordering::Release);
        self.wake();
    }

    /// To be called before computing: what is marked later is news.
    pub(crate) fn clear(&self) {
        self.dirty.store(false, Ordering::Release);
    }

    /// Resolves once the waiter was woken after the last [`clear`](Self::clear).
    pub(crate) fn woken(&self) -> impl Future<Output = ()> + Send {
        poll_fn(|context| {
            if self.dirty.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            self.waker.register(context.waker());
            // Who marked it before that woke nobody.
            if self.dirty.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }
}
