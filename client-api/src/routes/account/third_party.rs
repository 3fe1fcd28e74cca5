//! Email addresses and phone numbers of an account ([spec]).
//!
//! There is nothing to send a mail or a message with, and no identity server is asked, so none can
//! be added. The answers say so, in the specification's words.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#adding-account-administrative-contact-information

use axum::{Router, extract::FromRef, http::StatusCode, routing::post};
use ruma::api::client::account::get_3pids;

use crate::{
    error::Error,
    extract::{Authed, AuthedRaw, OpenRaw},
    gate::Gate,
    respond::Matrix,
    routes::EndpointExt as _,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
{
    let mut router = Router::new().endpoint::<get_3pids::v3::Request, _, _>(get_3pids);
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}");
        for change in ["3pid", "3pid/add", "3pid/bind", "3pid/delete", "3pid/unbind"] {
            router = router.route(&format!("{base}/account/{change}"), post(change_denied));
        }
        for subject in ["account/3pid", "account/password", "register"] {
            for medium in ["email", "msisdn"] {
                let path = format!("{base}/{subject}/{medium}/requestToken");
                router = router.route(&path, post(medium_not_supported));
            }
        }
    }
    router
}

async fn get_3pids(
    Authed { .. }: Authed<get_3pids::v3::Request>,
) -> Matrix<get_3pids::v3::Response> {
    Matrix(get_3pids::v3::Response { threepids: Vec::new() })
}

async fn change_denied(AuthedRaw { .. }: AuthedRaw) -> Error {
    Error::forbidden("Third-party identifiers cannot be changed on this server")
}

async fn medium_not_supported(OpenRaw { .. }: OpenRaw) -> Error {
    Error::new(
        StatusCode::BAD_REQUEST,
        "M_THREEPID_MEDIUM_NOT_SUPPORTED",
        "This server sends neither mails nor messages to phones",
    )
}
