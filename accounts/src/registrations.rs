//! What a registration that takes several requests has said, and how it ended: a client may leave
//! out of later requests what the first one said, and one whose answer was lost may ask again.
//!
//! In memory, for as long as the session of user-interactive authentication lives.

use std::time::Duration;

use ruma::OwnedUserId;

use crate::{Accounts, once::ShortLived};

const KEPT: usize = 10_000;
/// Of the first request. It holds a name, a password and what a device is called.
const REQUEST_BYTES_MAX: usize = 4096;

struct Registration {
    request: String,
    user_id: Option<OwnedUserId>,
}

pub(crate) struct Registrations(ShortLived<Registration>);

impl Registrations {
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self(ShortLived::new(lifetime, KEPT))
    }
}

impl Accounts {
    /// Keeps the first request of a session; later ones change nothing.
    pub fn remember_registration(&self, session: &str, request: &str) {
        let (registrations, now) = (&self.inner.registrations.0, self.inner.clock.now_ms());
        let is_known = registrations.with(session, now, |_| ()).is_some();
        if !is_known && request.len() <= REQUEST_BYTES_MAX {
            let registration = Registration { request: request.to_owned(), user_id: None };
            registrations.insert(session, registration, now);
        }
    }

    /// The first request of a session.
    pub fn remembered_registration(&self, session: &str) -> Option<String> {
        let now = self.inner.clock.now_ms();
        self.inner.registrations.0.with(session, now, |known| known.request.clone())
    }

    /// What the session was for is done. The request, and the password in it, are forgotten.
    pub fn finish_registration(&self, session: &str, user_id: OwnedUserId) {
        let now = self.inner.clock.now_ms();
        self.inner.registrations.0.with(session, now, |known| {
            known.request = String::new();
            known.user_id = Some(user_id);
        });
    }

    /// The user whom the session has registered already.
    pub fn finished_registration(&self, session: &str) -> Option<OwnedUserId> {
        let now = self.inner.clock.now_ms();
        self.inner.registrations.0.with(session, now, |known| known.user_id.clone()).flatten()
    }
}
