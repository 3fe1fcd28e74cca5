//! What a browser is shown that comes back from an identity provider.

use ::sso::{Arrival, SsoError};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::page::{Page, escape};

pub(super) fn redirect(url: &str) -> Response {
    let Ok(to) = HeaderValue::try_from(url) else {
        return failed(SsoError::Provider("its URL does not go into a header".to_owned()));
    };
    let headers = [
        (header::LOCATION, to),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::FOUND, headers).into_response()
}

pub(super) fn arrived(arrival: Arrival) -> Response {
    match arrival {
        Arrival::LoggedIn { url, trusted: true, .. } => redirect(&url),
        Arrival::LoggedIn { user_id, client, url, trusted: false } => {
            // Whoever made the link that led here may want the account for themselves.
            let (user_id, client, url) =
                (escape(user_id.as_str()), escape(&client.shown()), escape(&url));
            let html = format!(
                "<p>You are about to give <strong>{client}</strong> access to your account \
                 <strong>{user_id}</strong>.</p>\
                 <p>If you do not know {client}, or did not want to log in there, close this \
                 window.</p><p><a href=\"{url}\" rel=\"noreferrer\">Continue to {client}</a></p>"
            );
            Page::new(StatusCode::OK, "Log in", html).into_response()
        }
        Arrival::Confirmed => Page::done().into_response(),
        // For browsers, an answer as good as another: it is the client's request that is refused.
        Arrival::OtherUser => {
            let html = "<p>You have logged in as somebody else than the one whose account this is \
                        about. Nothing was changed. Go back to your client and begin again.</p>";
            Page::new(StatusCode::OK, "Not the same user", html).into_response()
        }
    }
}

pub(in crate::routes) fn failed(error: SsoError) -> Response {
    let (status, text) = match &error {
        SsoError::NoProvider => (StatusCode::NOT_FOUND, "There is no such identity provider."),
        SsoError::Provider(_) | SsoError::Nameless => (
            StatusCode::BAD_GATEWAY,
            "The identity provider does not answer as it should. Try again later, or ask whoever \
             runs this server.",
        ),
        SsoError::Refused(_) => (StatusCode::FORBIDDEN, "The identity provider refused:"),
        SsoError::InvalidProof(_) => (
            StatusCode::FORBIDDEN,
            "The identity provider does not confirm who you are. Begin again in your client.",
        ),
        SsoError::Expired => (
            StatusCode::BAD_REQUEST,
            "This was begun too long ago, or in another browser, or was done already. Begin again \
             in your client.",
        ),
        SsoError::NoNewcomers => (
            StatusCode::FORBIDDEN,
            "You have no account here, and this server does not make one for you.",
        ),
        SsoError::Name(_) => {
            (StatusCode::FORBIDDEN, "What you are called cannot be the name of an account here.")
        }
        SsoError::NameTaken => {
            (StatusCode::CONFLICT, "Your name is taken here, and so are those like it.")
        }
        SsoError::Deactivated => (StatusCode::FORBIDDEN, "This account has been deactivated."),
        SsoError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "Try again in a moment."),
    };
    match &error {
        SsoError::Provider(_) | SsoError::Nameless | SsoError::Store(_) => {
            tracing::warn!(%error, "single sign-on fails");
        }
        _ => tracing::info!(%error, "somebody is not signed on"),
    }
    let said = match &error {
        SsoError::Refused(said) => format!("<p>{}</p>", escape(said)),
        _ => String::new(),
    };
    Page::new(status, "That did not work", format!("<p>{text}</p>{said}")).into_response()
}
