//! `/auth/{stage}/fallback/web`: stages of user-interactive authentication on pages of ours ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#fallback

use ::sso::{Goal, Sso, SsoError};
use accounts::{Accounts, UiaAsked, UiaError};
use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::sso::with_cookie;
use crate::{
    error::Error,
    extract::OpenRaw,
    gate::Gate,
    limits::Action,
    page::{DONE_SCRIPT, DONE_SCRIPT_PATH, Page, escape},
};

/// The captcha's script, its frames and what they load. It styles its own elements.
const CAPTCHA_LOADS: &str = "script-src https://www.recaptcha.net https://www.gstatic.com; \
     frame-src https://www.recaptcha.net; connect-src https://www.recaptcha.net; \
     img-src https://www.gstatic.com; style-src 'unsafe-inline'";
const CAPTCHA_SCRIPT: &str = "https://www.recaptcha.net/recaptcha/api.js";

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Sso: FromRef<S>,
{
    let mut router = Router::new().route(DONE_SCRIPT_PATH, get(done_script));
    for version in ["r0", "v3"] {
        let path = |stage| format!("/_matrix/client/{version}/auth/{stage}/fallback/web");
        router = router
            .route(&path("m.login.recaptcha"), get(ask_captcha).post(take_captcha))
            .route(&path("m.login.registration_token"), get(ask_token).post(take_token))
            .route(&path("m.login.terms"), get(ask_terms).post(take_terms))
            .route(&path("m.login.sso"), get(ask_sso));
    }
    router
}

async fn done_script() -> Response {
    let kind = HeaderValue::from_static("text/javascript; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], DONE_SCRIPT).into_response()
}

/// There is no such session, or no longer.
struct Gone;

/// The session that a page is for, and what it was begun for.
fn asked(accounts: &Accounts, request: &OpenRaw) -> Result<(String, UiaAsked), Gone> {
    #[derive(Deserialize)]
    struct Query {
        session: String,
    }
    let query = request.parts.uri.query().unwrap_or_default();
    let session = serde_html_form::from_str(query).map(|Query { session }| session).ok();
    let found = session.and_then(|session| Some((accounts.uia_asked(&session)?, session)));
    found.map(|(asked, session)| (session, asked)).ok_or(Gone)
}

fn gone() -> Response {
    let html = "<p>This is no longer good. Go back to your client and begin again.</p>";
    Page::new(StatusCode::NOT_FOUND, "Too late", html).into_response()
}

fn failed(error: &UiaError) -> Response {
    match error {
        UiaError::UnknownSession => gone(),
        error => {
            tracing::warn!(%error, "a stage cannot be completed");
            let html = "<p>Try again in a moment.</p>";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Page::new(status, "That did not work", html).into_response()
        }
    }
}

/// A form that is posted to where the page is.
fn form(status: StatusCode, title: &'static str, text: &str, inputs: &str, button: &str) -> Page {
    let html =
        format!("<p>{text}</p><form method=\"post\">{inputs}<button>{button}</button></form>");
    Page::new(status, title, html)
}

fn captcha_page(gate: &Gate, status: StatusCode, text: &str) -> Response {
    let Some(key) = &gate.config().captcha_public_key else {
        return Error::unrecognized().into_response();
    };
    let inputs = format!(
        "<script src=\"{CAPTCHA_SCRIPT}\" async defer></script>\
         <div class=\"g-recaptcha\" data-sitekey=\"{}\"></div>",
        escape(key)
    );
    let page = form(status, "Are you a person?", text, &inputs, "Go on");
    page.that_loads(CAPTCHA_LOADS).into_response()
}

async fn ask_captcha(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    request: OpenRaw,
) -> Response {
    match asked(&accounts, &request) {
        Ok(_) => captcha_page(&gate, StatusCode::OK, "Solve this, and press the button."),
        Err(Gone) => gone(),
    }
}

async fn take_captcha(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    request: OpenRaw,
) -> Result<Response, Error> {
    #[derive(Deserialize)]
    struct Form {
        #[serde(rename = "g-recaptcha-response")]
        response: Option<String>,
    }
    gate.limit_address(Action::Registration, request.address)?;
    let (session, _) = match asked(&accounts, &request) {
        Ok(found) => found,
        Err(Gone) => return Ok(gone()),
    };
    let form: Option<Form> = serde_html_form::from_bytes(&request.body).ok();
    let response = form.and_then(|form| form.response).unwrap_or_default();
    Ok(match accounts.give_captcha(&session, &response).await {
        Ok(true) => Page::done().into_response(),
        Ok(false) => {
            captcha_page(&gate, StatusCode::FORBIDDEN, "That was not accepted. Try again.")
        }
        Err(error) => failed(&error),
    })
}

fn token_page(status: StatusCode, text: &str) -> Response {
    let inputs = "<label>Token <input name=\"token\" autocomplete=\"off\"></label>";
    form(status, "Registration token", text, inputs, "Go on").into_response()
}

async fn ask_token(State(accounts): State<Accounts>, request: OpenRaw) -> Response {
    let text = "To register here you need a token. Ask whoever runs this server for one.";
    match asked(&accounts, &request) {
        Ok(_) => token_page(StatusCode::OK, text),
        Err(Gone) => gone(),
    }
}

async fn take_token(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    request: OpenRaw,
) -> Result<Response, Error> {
    #[derive(Deserialize)]
    struct Form {
        token: String,
    }
    gate.limit_address(Action::Registration, request.address)?;
    let (session, _) = match asked(&accounts, &request) {
        Ok(found) => found,
        Err(Gone) => return Ok(gone()),
    };
    let form: Option<Form> = serde_html_form::from_bytes(&request.body).ok();
    let token = form.map(|form| form.token).unwrap_or_default();
    Ok(match accounts.give_registration_token(&session, token.trim()).await {
        Ok(true) => Page::done().into_response(),
        Ok(false) => token_page(StatusCode::FORBIDDEN, "This token is not valid."),
        Err(error) => failed(&error),
    })
}

async fn ask_terms(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    request: OpenRaw,
) -> Response {
    let Some(url) = &gate.config().registration.terms_url else {
        return Error::unrecognized().into_response();
    };
    if asked(&accounts, &request).is_err() {
        return gone();
    }
    let text = format!(
        "To register here you have to accept the <a href=\"{}\" target=\"_blank\" \
         rel=\"noreferrer\">terms of service</a>.",
        escape(url)
    );
    form(StatusCode::OK, "Terms of service", &text, "", "I accept them").into_response()
}

async fn take_terms(State(accounts): State<Accounts>, request: OpenRaw) -> Response {
    match asked(&accounts, &request) {
        Ok((session, _)) if accounts.accept_terms(&session) => Page::done().into_response(),
        Ok(_) => gone(),
        Err(Gone) => gone(),
    }
}

/// What is done with the account once it is confirmed.
fn purpose(path: &str) -> &'static str {
    let is = |end: &str| path.ends_with(end);
    if is("/delete_devices") || path.contains("/devices/") {
        "log devices out"
    } else if is("/account/deactivate") {
        "close the account for good"
    } else if is("/account/password") {
        "set a password"
    } else if is("/keys/device_signing/upload") {
        "replace the keys by which others know that it is you"
    } else if is("/account/3pid/add") {
        "add an address to the account"
    } else if is("/login/get_token") {
        "log in on another device"
    } else {
        "change the account"
    }
}

/// One link for each provider by which the user comes here. The cookie is set with the page, so that
/// it is this browser, and whoever read this, that finishes it.
async fn ask_sso(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    State(sso): State<Sso>,
    request: OpenRaw,
) -> Result<Response, Error> {
    gate.limit_address(Action::Login, request.address)?;
    let (session, asked) = match asked(&accounts, &request) {
        Ok(found) => found,
        Err(Gone) => return Ok(gone()),
    };
    let Some(user_id) = asked.user_id else { return Ok(gone()) };
    let browser = sso.new_browser();
    let links = match links(&sso, &user_id, &session, &browser).await {
        Ok(links) => links,
        Err(error) => return Ok(super::sso::failed(error)),
    };
    let html = format!(
        "<p>A client wants to <strong>{}</strong>: <strong>{}</strong>.</p>\
         <p>If it was not you who began this, close this window. Else confirm that it was:</p>\
         <ul>{links}</ul>",
        purpose(&asked.path),
        escape(user_id.as_str()),
    );
    let page = Page::new(StatusCode::OK, "Is it you?", html).into_response();
    Ok(with_cookie(&gate, &browser, page))
}

async fn links(
    sso: &Sso,
    user_id: &ruma::UserId,
    session: &str,
    browser: &str,
) -> Result<String, SsoError> {
    let providers = sso.providers_of(user_id).await?;
    if providers.is_empty() {
        return Err(SsoError::NoProvider);
    }
    let mut links = String::new();
    for provider in providers {
        let url = sso.begin(&provider.id, Goal::Confirm(session.to_owned()), browser).await?;
        let (url, name) = (escape(&url), escape(&provider.name));
        links.push_str(&format!("<li><a href=\"{url}\">Continue with {name}</a></li>"));
    }
    Ok(links)
}
