//! Push notifications: who is to be told of an event outside of a sync, and the way to the push
//! gateways that tell them.
//!
//! Start reading at [`Push`], then `pushers.rs` (what a user's devices asked for), `follow.rs` (whom
//! an event notifies) and `queue.rs` (how it gets to a gateway); `web_push.rs` is what differs for
//! push services, `email.rs` for those who are written mails. `notifications.rs` is the list that
//! clients ask for.

mod badge;
mod delivery;
mod email;
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
mod web_push;

pub use email::MailConfig;
pub use error::{ActivationError, PusherError};
pub use notifications::{Notification, NotificationsPage, NotificationsQuery};
pub use ports::{Gateway, GatewayAnswer, GatewayFuture, WebPushMessage};
pub use pusher::{Kind, NewPusher, Pusher};
pub use pushers::SetPusher;
pub use service::{Config, OpenError, Pieces, Push};
pub use store::DeadLetter;
