//! The works whose instructions are counted. Each makes ready first, does its work once without being
//! counted, so that caches are as they are most of the time, and then as often as it says.

mod protocol;
mod server;

use std::path::Path;

use anyhow::Context as _;

pub(crate) use self::{
    protocol::client_frame,
    server::{Crowd, prepare},
};

pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// What is counted in one run is divided by this.
    pub(crate) times: u64,
    run: fn(u64, Option<&Path>) -> anyhow::Result<()>,
}

pub(crate) const ALL: &[Work] = &[
    Work { name: "authorise a message", times: 20, run: protocol::authorise },
    Work { name: "heartbeat", times: 1000, run: server::heartbeats },
    Work { name: "parse and verify a PDU", times: 20, run: protocol::parse_and_verify },
    Work { name: "presence sweep, a user who goes away", times: 10_000, run: server::sweep },
    Work { name: "state change, 10000 entries", times: 20, run: server::state_change },
    Work { name: "sync difference, 50 of 10000 entries", times: 5, run: server::sync_difference },
    Work { name: "websocket frame, read and written", times: 1000, run: protocol::frames },
];

/// `prepared` is a directory that [`prepare`] has filled; not every work needs it.
pub(crate) fn run(name: &str, prepared: Option<&Path>) -> anyhow::Result<()> {
    let work = ALL.iter().find(|work| work.name == name);
    let work = work.with_context(|| format!("there is no work {name:?}"))?;
    (work.run)(work.times, prepared)
}
