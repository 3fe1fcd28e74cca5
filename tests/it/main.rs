//! Whole regions in one process: what a client may do to them, and what it may not.

mod accounts;
mod bad_input;
mod closing;
mod contacts;
mod dehydrated;
mod delegation;
mod edge;
mod elsewhere;
mod event_size;
mod joins;
mod keys;
mod legacy;
mod media;
mod moderation;
mod openid;
mod peers;
mod push_gateway;
mod push_rules;
mod pushers;
mod replaced_rooms;
mod server;
mod sliding;
mod socket;
mod three_regions;
mod user;
mod websocket;
