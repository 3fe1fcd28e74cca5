//! Push notifications: who is to be told of an event outside of a sync, and the way to the push
//! gateways that tell them.
//!
//! Start reading at [`Push`], then `pushers.rs` (what a user's devices asked for), `follow.rs` (whom
//! an event notifies) and `queue.rs` (how it gets there). `notifications.rs` is the list that
//! clients ask for.

mod badge;
mod error;
mod follow;
mod gateways;
mod notice;
mod notifications;
mod ports;
mod pusher;
mod pushers;
mod queue;
mod registry;
mod service;
mod store;

pub use error::PusherError;
pub use notifications::{Notification, NotificationsPage, NotificationsQuery};
pub use ports::{Gateway, GatewayAnswer, GatewayFuture};
pub use pusher::{NewPusher, Pusher};
pub use service::{Config, OpenError, Pieces, Push};
pub use store::DeadLetter;
