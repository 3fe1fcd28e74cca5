//! The rules of Matrix, pure: from values to values, for room versions 1 to 12.
//!
//! No I/O, no clock, no randomness: a caller hands in what a rule needs (state, auth events, keys)
//! and gets a value or a reason back. What a rule is called in the specification, it is called
//! here. Start with [`RoomVersion`] and [`Pdu`]; then [`sign_and_build`] for events that are made
//! here, [`check_auth`] for whether one is allowed, [`resolve`] for what the state is after a fork.

mod acl;
mod auth;
mod build;
pub mod canonical;
mod client;
mod format;
mod glob;
mod hash;
mod pdu;
mod peek;
mod policy;
mod redact;
mod resolve;
mod room_version;
mod sign;

pub use acl::ServerAcl;
pub use auth::{
    AuthError, Level, PowerLevels, auth_events_for, check_auth, check_state_independent,
};
pub use build::{
    BuildError, EventTemplate, TemplateExpectation, complete_template, sign_and_build,
};
pub use client::{ClientEvent, stripped};
pub use format::{FormatError, MAX_AUTH_EVENTS, MAX_ID_BYTES, MAX_PDU_BYTES, MAX_PREV_EVENTS};
pub use glob::Glob;
pub use hash::verify_content_hash;
pub use pdu::{Pdu, room_create_event_id};
pub use peek::{Peek, peek};
pub use policy::{Objection, PolicyLists, PolicyRules, UnusablePattern};
pub use resolve::{Partial, ResolveError, StateKey, StateMap, resolve, resolve_part};
pub use room_version::RoomVersion;
pub use sign::{
    PolicyServer, PublicKey, RequestError, RequestToSign, SignatureError, SigningKey,
    add_signature, policy_signature, required_keys, required_servers, sign_json, sign_request,
    signature_keys, verify_json, verify_request, verify_signature_of, verify_signatures,
    verify_signatures_batch,
};
