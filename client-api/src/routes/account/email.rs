//! `…/email/requestToken` and `…/msisdn/requestToken`, and the page to which a mail leads ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3registeremailrequesttoken

use accounts::{Accounts, ConfirmedEmail, EmailPurpose, EmailTokenError, EmailTokenRequest};
use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::{
    error::Error,
    extract::{OpenRaw, json},
    gate::Gate,
    limits::Action,
    respond::RawJson,
};

/// Below `/_matrix`, which proxies pass on.
const CONFIRM_PATH: &str = "/_matrix/client/unstable/meridian/email/confirm";

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let mut router = Router::new().route(CONFIRM_PATH, get(follow_link).post(confirm));
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}");
        router = router
            .route(&format!("{base}/register/email/requestToken"), post(token_to_register))
            .route(&format!("{base}/account/3pid/email/requestToken"), post(token_to_add))
            .route(&format!("{base}/account/password/email/requestToken"), post(token_to_reset));
        for subject in ["account/3pid", "account/password", "register"] {
            let path = format!("{base}/{subject}/msisdn/requestToken");
            router = router.route(&path, post(msisdn_not_supported));
        }
    }
    router
}

async fn msisdn_not_supported(OpenRaw { .. }: OpenRaw) -> Error {
    medium_not_supported("This server sends no messages to phones")
}

fn medium_not_supported(message: &'static str) -> Error {
    Error::new(StatusCode::BAD_REQUEST, "M_THREEPID_MEDIUM_NOT_SUPPORTED", message)
}

async fn token_to_register(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    request: OpenRaw,
) -> Result<RawJson, Error> {
    if !gate.config().registration.enabled {
        return Err(Error::forbidden("Registration has been disabled"));
    }
    request_token(&gate, &accounts, EmailPurpose::Register, request).await
}

async fn token_to_add(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    request: OpenRaw,
) -> Result<RawJson, Error> {
    request_token(&gate, &accounts, EmailPurpose::AddToAccount, request).await
}

async fn token_to_reset(
    State(gate): State<Gate>,
    State(accounts): State<Accounts>,
    request: OpenRaw,
) -> Result<RawJson, Error> {
    request_token(&gate, &accounts, EmailPurpose::ResetPassword, request).await
}

async fn request_token(
    gate: &Gate,
    accounts: &Accounts,
    purpose: EmailPurpose,
    OpenRaw { body, address, .. }: OpenRaw,
) -> Result<RawJson, Error> {
    #[derive(Deserialize)]
    struct Body {
        client_secret: String,
        email: String,
        send_attempt: u64,
        next_link: Option<String>,
    }
    let public_url = gate.config().public_url.as_deref().filter(|_| accounts.sends_mail());
    let public_url =
        public_url.ok_or_else(|| medium_not_supported("This server sends no mails"))?;
    gate.limit_address(Action::Mail, address)?;
    let body: Body = json(&body)?;
    let request = EmailTokenRequest {
        purpose,
        email: &body.email,
        client_secret: &body.client_secret,
        send_attempt: body.send_attempt,
        next_link: body.next_link.as_deref(),
        link: &format!("{}{CONFIRM_PATH}", public_url.trim_end_matches('/')),
    };
    let sid = accounts.request_email_token(request).await?;
    Ok(RawJson(json!({ "sid": sid }).to_string().into()))
}

/// `sid` and `token` of a link.
#[derive(Deserialize)]
struct Link {
    sid: String,
    token: String,
}

impl Link {
    fn read(text: &[u8]) -> Option<Self> {
        let link: Self = serde_html_form::from_bytes(text).ok()?;
        let is_ours =
            |text: &str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_ours(&link.sid) && is_ours(&link.token)).then_some(link)
    }
}

/// A link may be followed by a program that looks for harm in mails: where a password would be at
/// stake, the reader has to press a button.
async fn follow_link(State(accounts): State<Accounts>, request: OpenRaw) -> Response {
    let query = request.parts.uri.query().unwrap_or_default();
    let Some(link) = Link::read(query.as_bytes()) else { return gone() };
    match accounts.email_token_purpose(&link.sid, &link.token) {
        Some(EmailPurpose::ResetPassword) => ask_to_confirm(&link),
        Some(EmailPurpose::Register | EmailPurpose::AddToAccount) => {
            match accounts.confirm_email(&link.sid, &link.token) {
                Some(ConfirmedEmail { next_link: Some(next_link), .. }) => go_on(&next_link),
                Some(_) => confirmed(),
                None => gone(),
            }
        }
        None => gone(),
    }
}

/// "This option is ignored when submitting 3PID validation information through a POST request", so
/// no `next_link` is followed.
async fn confirm(State(accounts): State<Accounts>, OpenRaw { body, .. }: OpenRaw) -> Response {
    let link = Link::read(&body);
    match link.and_then(|link| accounts.confirm_email(&link.sid, &link.token)) {
        Some(_) => confirmed(),
        None => gone(),
    }
}

fn go_on(next_link: &str) -> Response {
    match HeaderValue::try_from(next_link) {
        Ok(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Err(_) => confirmed(),
    }
}

fn confirmed() -> Response {
    page(StatusCode::OK, "Your email address is confirmed. Go on where you gave it.", "")
}

fn gone() -> Response {
    let text = "This link is no longer good. Ask for another mail where you gave your address.";
    page(StatusCode::NOT_FOUND, text, "")
}

fn ask_to_confirm(link: &Link) -> Response {
    let text = "Somebody asked to reset the password of your account. Was it you?";
    let form = format!(
        "<form method=\"post\"><input type=\"hidden\" name=\"sid\" value=\"{}\">\
         <input type=\"hidden\" name=\"token\" value=\"{}\">\
         <button>It was me: let me choose a new password</button></form>",
        link.sid, link.token
    );
    page(StatusCode::OK, text, &form)
}

/// Text and form are ours. Nothing is loaded, and the address of the page is told to nobody.
fn page(status: StatusCode, text: &str, form: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Email address</title>\
         <p>{text}</p>{form}</html>"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, html).into_response()
}

impl From<EmailTokenError> for Error {
    fn from(error: EmailTokenError) -> Self {
        let text = error.to_string();
        let bad = |errcode| Self::new(StatusCode::BAD_REQUEST, errcode, text.clone());
        match error {
            EmailTokenError::NotOffered => bad("M_THREEPID_MEDIUM_NOT_SUPPORTED"),
            EmailTokenError::InvalidAddress(_) | EmailTokenError::InvalidClientSecret => {
                bad("M_INVALID_PARAM")
            }
            EmailTokenError::InUse => bad("M_THREEPID_IN_USE"),
            EmailTokenError::NotFound => bad("M_THREEPID_NOT_FOUND"),
            EmailTokenError::TooMany(wait) => Self::limit_exceeded(wait),
            EmailTokenError::NotSent => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", text)
            }
            EmailTokenError::Store(error) => error.into(),
        }
    }
}
