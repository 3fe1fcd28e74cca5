//! Sync against the real domain crates, on the memory engine.

mod busy;
mod chain;
mod connection;
mod ephemeral;
mod filters;
mod keys;
mod membership;
mod push_rules;
mod slide;
mod sliding_connections;
mod sliding_extensions;
mod sliding_profiles;
mod sliding_rooms;
mod sliding_stream;
mod state;
mod timeline;
mod tokens;
mod unread;
mod wake;
mod world;
