//! What no client should send: refused with the right error, and nothing stays behind.

mod bodies;
mod names;
mod queries;
mod state;
