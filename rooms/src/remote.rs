//! Memberships of local users in rooms that other servers answer for, and history that they have.
//!
//! Each function asks one server after the other until one has an answer. What a stranger hands
//! out is checked before it is signed or kept.

mod backfill;
mod candidates;
mod flights;
pub(crate) mod hierarchy;
mod history;
mod invite;
mod join;
mod knock;
mod leave;
mod moment;
mod queries;
mod taken_back;

pub(crate) use self::{
    backfill::{FailedGaps, Filled},
    flights::Flights,
};
use crate::ports::RemoteError;

/// The more telling of two reasons why nothing came of a request.
fn worse(known: Option<RemoteError>, new: RemoteError) -> RemoteError {
    match (known, &new) {
        (Some(refused @ RemoteError::Refused { .. }), _) => refused,
        (Some(known), RemoteError::Unreachable { .. }) => known,
        _ => new,
    }
}
