//! Single sign-on: users who prove to another system who they are ([spec]).
//!
//! A browser is sent to an identity provider (OpenID Connect or CAS) and comes back with a proof,
//! which is checked with the provider. The one who came is found, or made, as a user here. They either
//! log in, for which their client gets a token, or confirm something that they began.
//!
//! Start reading at `sso.rs`, then `arrive.rs`; `oidc.rs` and `cas.rs` are the two protocols. Cookies,
//! pages and paths are the edge's business; how HTTP reaches a provider is the binary's (`http.rs`).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#sso-client-loginauthentication

mod arrive;
mod cas;
mod client_url;
mod config;
mod http;
mod localpart;
mod oidc;
mod sso;
mod template;

pub use arrive::{Arrival, MayBeNamed};
pub use client_url::ClientUrl;
pub use config::{CasProvider, Config, ConfigError, Newcomers, OidcProvider, Provider};
pub use http::{Answer, Ask, AskFuture, Http};
pub use oidc::{CALLBACK_PATH, Callback};
pub use sso::{Goal, Pieces, Sso, SsoError};
