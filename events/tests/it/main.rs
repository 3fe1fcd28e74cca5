//! The rules against the specification's examples, against tables of cases, against properties, and
//! against ruma's implementation of the same rules.

mod acl;
mod auth;
mod auth_events;
mod canonical;
mod client;
mod differential;
mod format;
mod properties;
mod redaction;
mod resolution;
mod room;
mod signing;
mod template;
mod tolerant;
