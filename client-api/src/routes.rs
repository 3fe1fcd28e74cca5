//! The route table. Each group exposes `router()`; the list below is the whole API.

mod account;
mod admin;
mod alias;
mod appservice;
mod around;
mod auth;
mod config;
mod context;
mod dehydrated_device;
mod delayed_event;
mod device;
mod directory;
mod discovery;
mod filter;
mod keys;
mod legacy;
mod media;
mod membership;
mod message;
mod mutual_rooms;
mod notifications;
mod openid;
mod presence;
mod profile;
mod push;
mod pusher;
mod read_marker;
mod receipt;
mod redact;
mod relations;
mod report;
mod room;
mod room_keys;
mod search;
mod session;
mod signing_keys;
mod space;
mod sso;
mod state;
mod sync;
mod tag;
mod thirdparty;
mod thread_subscription;
mod threads;
mod threepid_invite;
mod to_device;
mod typing;
mod unsubscribe;
mod user_directory;
mod voip;

use ::media::Media;
use ::presence::Presence;
use ::push::Push;
use ::rooms::Rooms;
use ::search::Search;
use ::sso::Sso;
use ::sync::Sync as SyncEngine;
use ::user_directory::UserDirectory;
use accounts::Accounts;
use axum::{
    Router,
    extract::FromRef,
    handler::Handler,
    routing::{MethodFilter, on},
};
use delayed_events::DelayedEvents;
use devices::Devices;
use ruma::api::{IncomingRequest, path_builder::PathBuilder as _};

use self::around::Around;
pub use self::{
    account::close_account,
    sync::ws::{Pieces, Sockets},
    unsubscribe::unsubscribe_url,
};
use crate::{error::Error, gate::Gate};

/// The client-server API.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    DelayedEvents: FromRef<S>,
    Devices: FromRef<S>,
    Media: FromRef<S>,
    Presence: FromRef<S>,
    Push: FromRef<S>,
    Rooms: FromRef<S>,
    Search: FromRef<S>,
    Sockets: FromRef<S>,
    Sso: FromRef<S>,
    SyncEngine: FromRef<S>,
    UserDirectory: FromRef<S>,
{
    Router::new()
        .merge(account::router())
        .merge(admin::router())
        .merge(alias::router())
        .merge(appservice::router())
        .merge(auth::router())
        .merge(config::router())
        .merge(context::router())
        .merge(dehydrated_device::router())
        .merge(delayed_event::router())
        .merge(device::router())
        .merge(directory::router())
        .merge(discovery::router())
        .merge(filter::router())
        .merge(keys::router())
        .merge(legacy::router())
        .merge(media::router())
        .merge(membership::router())
        .merge(message::router())
        .merge(mutual_rooms::router())
        .merge(notifications::router())
        .merge(openid::router())
        .merge(presence::router())
        .merge(profile::router())
        .merge(push::router())
        .merge(pusher::router())
        .merge(read_marker::router())
        .merge(receipt::router())
        .merge(redact::router())
        .merge(relations::router())
        .merge(report::router())
        .merge(room::router())
        .merge(room_keys::router())
        .merge(search::router())
        .merge(session::router())
        .merge(signing_keys::router())
        .merge(space::router())
        .merge(sso::router())
        .merge(state::router())
        .merge(sync::router())
        .merge(tag::router())
        .merge(thirdparty::router())
        .merge(thread_subscription::router())
        .merge(threads::router())
        .merge(to_device::router())
        .merge(typing::router())
        .merge(unsubscribe::router())
        .merge(user_directory::router())
        .merge(voip::router())
        .method_not_allowed_fallback(async || Error::method_not_allowed())
        .fallback(async || Error::unrecognized())
        .layer(Around)
}

/// Registers a handler under every path, stable and unstable, that ruma knows for an endpoint.
pub(crate) trait EndpointExt<S> {
    fn endpoint<T, H, A>(self, handler: H) -> Self
    where
        T: IncomingRequest,
        H: Handler<A, S>,
        A: 'static;
}

impl<S> EndpointExt<S> for Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    fn endpoint<T, H, A>(self, handler: H) -> Self
    where
        T: IncomingRequest,
        H: Handler<A, S>,
        A: 'static,
    {
        let filter = MethodFilter::try_from(T::METHOD).expect("ruma uses only known methods");
        T::PATH_BUILDER
            .all_paths()
            .fold(self, |router, path| router.route(path, on(filter, handler.clone())))
    }
}
