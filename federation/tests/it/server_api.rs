//! The server-server API as other servers meet it: they have names, keys and certificates of their
//! own, and ask over the router for what they like.

mod device_lists;
mod edus;
mod event;
pub(crate) mod home;
mod key_routes;
mod memberships;
mod peer;
mod queries;
mod reads;
mod requests;
mod transactions;
