//! What no client should send: refused with the right error, and nothing stays behind.

mod bodies;
mod encryption;
mod names;
mod queries;
mod settings;
mod sliding;
mod state;
mod undisturbed;
