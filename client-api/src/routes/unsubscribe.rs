//! Where the mails of email pushers are ended, without a login.
//!
//! The link is in a mail, and may be followed by a program that looks for harm in mails: the reader has
//! to press a button, or their mail program does (RFC 8058).

use ::push::Push;
use axum::{
    Router,
    extract::{FromRef, State},
    routing::get,
};
use http::StatusCode;
use serde::Deserialize;

use crate::{error::Error, extract::OpenRaw, gate::Gate, page::Page};

/// Below `/_matrix`, which proxies pass on.
const PATH: &str = "/_matrix/client/unstable/meridian/email/unsubscribe";

/// Where that is, below the public URL of a server: a ticket is to be appended.
pub fn unsubscribe_url(public_url: &str) -> String {
    format!("{}{PATH}?ticket=", public_url.trim_end_matches('/'))
}

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Push: FromRef<S>,
{
    Router::new().route(PATH, get(ask).post(unsubscribe))
}

/// A mail program's button sends a body, and the ticket is in the address all the same.
fn ticket(request: &OpenRaw) -> Option<String> {
    #[derive(Deserialize)]
    struct Query {
        ticket: String,
    }
    let query = request.parts.uri.query().unwrap_or_default();
    serde_html_form::from_str(query).ok().map(|Query { ticket }| ticket)
}

async fn ask(State(push): State<Push>, request: OpenRaw) -> Page {
    match ticket(&request) {
        Some(ticket) if push.is_ticket(&ticket) => Page::new(
            StatusCode::OK,
            "Mails about unread messages",
            "<p>You get mails when you have not read messages for a while.</p>\
             <form method=\"post\"><button>Send me no more of them</button></form>",
        ),
        _ => not_good(),
    }
}

async fn unsubscribe(State(push): State<Push>, request: OpenRaw) -> Result<Page, Error> {
    let is_done = match ticket(&request) {
        Some(ticket) => push.unsubscribe(&ticket).await?,
        None => false,
    };
    Ok(match is_done {
        true => Page::new(
            StatusCode::OK,
            "Mails about unread messages",
            "<p>You get no more of them. You can ask for them again in the settings of your \
             client.</p>",
        ),
        false => not_good(),
    })
}

fn not_good() -> Page {
    let html =
        "<p>This link is not good. You can end the mails in the settings of your client.</p>";
    Page::new(StatusCode::NOT_FOUND, "Mails about unread messages", html)
}
