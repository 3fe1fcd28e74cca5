//! The rules against the specification's examples, against tables of cases, against properties, and
//! against ruma's implementation of the same rules.

mod acl;
mod auth;
mod auth_events;
mod canonical;
mod client;
mod differential;
mod format;
mod peek;
mod policy;
mod policy_rules;
mod properties;
mod redaction;
mod requests;
mod resolution;
mod room;
mod signatures_batch;
mod signing;
mod template;
mod tolerant;
