//! What this server answers to others about the rooms that both are in.
//!
//! Every function takes the server that asks, and checks that it may: it is in the room (or would
//! join it), the room's access control list lets it in, and what it asks for belongs to the room it
//! names. An event that does not exist and one of another room look the same from outside.

mod accept;
mod access;
mod chain;
mod history;
mod invite;
mod make;
mod policy;
mod reads;
mod sight;
mod spaces;
mod third_party;

pub use self::{
    accept::JoinAnswer,
    history::{Backfilled, MissingQuery},
    invite::IncomingInvite,
    make::Made,
    policy::PolicyAnswer,
    reads::PeerState,
    spaces::PeerHierarchy,
    third_party::{SignedThirdParty, ThirdPartyExchange},
};
pub(crate) use self::{access::AclCache, invite::shown_state, third_party::Inviter};
