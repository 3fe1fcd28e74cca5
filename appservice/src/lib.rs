//! Application services (Matrix v1.19, "Application Service API"): bridges and bots that the operator
//! has registered.
//!
//! What they may do is asked by the client-server API; a request of theirs is one of a user whom
//! they act as. What happens is told to those who are interested in it, in transactions. Start reading
//! at `registration.rs` and `appservices.rs`, then `deliveries.rs`.

mod appservices;
mod body;
mod call;
mod deliveries;
mod follow;
mod interest;
mod namespaces;
mod pending;
mod ports;
mod query;
mod queue;
mod registration;
mod store;
mod third_party;

pub use appservices::{Appservices, RegisteredTwice};
pub use deliveries::{Config, Pieces, deliver};
pub use ports::{Answer, Call, Method, Transport, TransportFuture};
pub use query::PingError;
pub use registration::{Registration, RegistrationError};
pub use third_party::ThirdParty;
