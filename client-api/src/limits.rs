//! Rate limits per user or address and kind of action.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock as _, state::keyed::HashMapStateStore};
use parking_lot::Mutex;
use ruma::OwnedUserId;
use tokio::time::Instant;

use crate::{
    config::{Rate, RateLimits},
    error::Error,
};

/// Keys one limiter remembers before it forgets those whose allowance is full again.
const KEYS_MAX: usize = 100_000;

/// What is limited; each has an allowance of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Message,
    Login,
    FailedLogin,
    Registration,
    Join,
    Invite,
    RoomCreation,
    /// Mails, which cost more than an answer and have a reader who did not ask.
    Mail,
    Other,
}

/// Whose allowance is used.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    User(OwnedUserId),
    Address(IpAddr),
    Account(String),
}

type Limiter = RateLimiter<Subject, HashMapStateStore<Subject>, governor::clock::DefaultClock>;

pub(crate) struct Limits {
    enabled: bool,
    /// Accounts for which too many log-ins failed, and until when none is tried.
    blocked: Mutex<HashMap<String, Instant>>,
    limiters: [Limiter; 9],
}

fn limiter(rate: Rate) -> Limiter {
    let per_second = if rate.per_second > 0.0 { rate.per_second } else { f64::MIN_POSITIVE };
    let interval = Duration::try_from_secs_f64(1.0 / per_second)
        .unwrap_or(Duration::from_secs(24 * 60 * 60))
        .max(Duration::from_nanos(1));
    let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(interval).expect("the interval is not zero").allow_burst(burst);
    RateLimiter::hashmap(quota)
}

impl Limits {
    pub(crate) fn new(rates: &RateLimits) -> Self {
        let by_action = [
            rates.message,
            rates.login,
            rates.failed_login,
            rates.registration,
            rates.join,
            rates.invite,
            rates.room_creation,
            rates.mail,
            rates.other,
        ];
        Self { enabled: rates.enabled, blocked: Mutex::default(), limiters: by_action.map(limiter) }
    }

    pub(crate) fn are_enabled(&self) -> bool {
        self.enabled
    }

    /// Uses one unit of the subject's allowance, or says when there will be one.
    pub(crate) fn check(&self, action: Action, subject: &Subject) -> Result<(), Error> {
        self.spend(action, subject).map_err(Error::limit_exceeded)
    }

    pub(crate) fn check_blocked(&self, account: &str) -> Result<(), Error> {
        let now = Instant::now();
        match self.blocked.lock().get(account) {
            Some(until) if *until > now => Err(Error::limit_exceeded(*until - now)),
            _ => Ok(()),
        }
    }

    /// Only failures count, so whoever knows the password is never refused for logging in often.
    pub(crate) fn login_failed(&self, account: &str) {
        let subject = Subject::Account(account.to_owned());
        let Err(wait) = self.spend(Action::FailedLogin, &subject) else { return };
        let now = Instant::now();
        let mut blocked = self.blocked.lock();
        if blocked.len() > KEYS_MAX {
            blocked.retain(|_, until| *until > now);
        }
        blocked.insert(account.to_owned(), now + wait);
    }

    /// The error is how long to wait.
    fn spend(&self, action: Action, subject: &Subject) -> Result<(), Duration> {
        if !self.enabled {
            return Ok(());
        }
        let limiter = &self.limiters[action as usize];
        if limiter.len() > KEYS_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(subject).map_err(|until| until.wait_time_from(limiter.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Limits, Subject};
    use crate::config::{Rate, RateLimits};

    #[test]
    fn a_burst_passes_and_the_next_is_told_when() {
        let slow = Rate { per_second: 0.001, burst: 3 };
        let limits = Limits::new(&RateLimits { login: slow, ..RateLimits::default() });
        let here = Subject::Address([127, 0, 0, 1].into());
        let there = Subject::Address([127, 0, 0, 2].into());
        for _ in 0..3 {
            limits.check(Action::Login, &here).expect("within the burst");
        }
        let refused = limits.check(Action::Login, &here).expect_err("beyond the burst");
        assert_eq!(refused.errcode(), "M_LIMIT_EXCEEDED");
        let wait = refused.to_json()["retry_after_ms"].as_u64().expect("a delay");
        assert!((900_000..=1_000_000).contains(&wait), "{wait}");
        limits.check(Action::Login, &there).expect("another address has its own allowance");
        limits.check(Action::Message, &here).expect("another action has its own allowance");
    }
}
