//! `/login/sso/*` and `/login/cas/*`: to an identity provider and back ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#sso-client-loginauthentication

mod answer;

use ::sso::{CALLBACK_PATH, Callback, ClientUrl, Goal, Provider, Sso};
use accounts::Accounts;
use axum::{
    Router,
    extract::{FromRef, State},
    response::Response,
    routing::get,
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};

pub(super) use self::answer::failed;
use self::answer::{arrived, redirect};
use crate::{
    error::Error,
    extract::OpenRaw,
    gate::Gate,
    limits::Action,
    page::{Page, escape},
};

const COOKIE: &str = "meridian_sso";
/// As long as somebody may be away at a provider.
const COOKIE_SECONDS: u32 = 15 * 60;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Sso: FromRef<S>,
{
    let mut router = Router::new().route(CALLBACK_PATH, get(oidc_callback));
    for version in ["r0", "v3"] {
        let base = format!("/_matrix/client/{version}/login");
        router = router
            .route(&format!("{base}/sso/redirect"), get(to_any_provider))
            .route(&format!("{base}/sso/redirect/{{idp_id}}"), get(to_provider))
            .route(&format!("{base}/cas/redirect"), get(to_cas))
            .route(&format!("{base}/cas/ticket"), get(cas_ticket));
    }
    router
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Error> {
    serde_html_form::from_str(parts.uri.query().unwrap_or_default())
        .map_err(|_| Error::invalid_param("The query is not valid"))
}

/// Where a client wants to have its token.
fn client(parts: &Parts) -> Result<ClientUrl, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Query {
        redirect_url: Option<String>,
    }
    let Query { redirect_url } = query(parts)?;
    let url = redirect_url.ok_or_else(|| Error::missing_param("redirectUrl is missing"))?;
    ClientUrl::parse(&url)
        .ok_or_else(|| Error::invalid_param("redirectUrl is not the URL of a client"))
}

fn admit(gate: &Gate, request: &OpenRaw) -> Result<(), Error> {
    if gate.is_unlimited(&request.parts) {
        return Ok(());
    }
    gate.limit_address(Action::Login, request.address)
}

async fn to_any_provider(
    State(gate): State<Gate>,
    State(sso): State<Sso>,
    request: OpenRaw,
) -> Result<Response, Error> {
    admit(&gate, &request)?;
    let client = client(&request.parts)?;
    match sso.providers() {
        [] => Err(Error::unrecognized()),
        [only] => depart(&gate, &sso, &only.id, client).await,
        several => Ok(choose(several, &client)),
    }
}

async fn to_provider(
    State(gate): State<Gate>,
    State(sso): State<Sso>,
    request: OpenRaw,
) -> Result<Response, Error> {
    admit(&gate, &request)?;
    // What an id may consist of is the same with and without percent-encoding.
    let id = request.parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    if sso.providers().is_empty() {
        return Err(Error::unrecognized());
    }
    if !sso.providers().iter().any(|provider| provider.id == id) {
        return Err(Error::not_found("There is no such identity provider"));
    }
    depart(&gate, &sso, &id, client(&request.parts)?).await
}

async fn to_cas(
    State(gate): State<Gate>,
    State(sso): State<Sso>,
    request: OpenRaw,
) -> Result<Response, Error> {
    admit(&gate, &request)?;
    let cas = sso.cas().ok_or_else(Error::unrecognized)?;
    depart(&gate, &sso, &cas.id, client(&request.parts)?).await
}

async fn depart(
    gate: &Gate,
    sso: &Sso,
    provider: &str,
    client: ClientUrl,
) -> Result<Response, Error> {
    let browser = sso.new_browser();
    Ok(match sso.begin(provider, Goal::LogIn(client), &browser).await {
        Ok(url) => with_cookie(gate, &browser, redirect(&url)),
        Err(error) => failed(error),
    })
}

/// One link for each provider.
fn choose(providers: &[Provider], client: &ClientUrl) -> Response {
    use axum::response::IntoResponse as _;
    let query = serde_html_form::to_string([("redirectUrl", client.as_str())]);
    let query = escape(&query.unwrap_or_default());
    let link = |provider: &Provider| {
        let (id, name) = (escape(&provider.id), escape(&provider.name));
        let path = format!("/_matrix/client/v3/login/sso/redirect/{id}?{query}");
        format!("<li><a href=\"{path}\">{name}</a></li>")
    };
    let links: String = providers.iter().map(link).collect();
    let html = format!("<p>Where do you want to log in?</p><ul>{links}</ul>");
    Page::new(StatusCode::OK, "Log in", html).into_response()
}

/// Makes the browser one that is known again when it comes back.
pub(super) fn with_cookie(gate: &Gate, browser: &str, mut response: Response) -> Response {
    let is_https = gate.config().public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    let secure = if is_https { "; Secure" } else { "" };
    // Lax: the provider's redirect is a navigation from another site.
    let cookie = format!(
        "{COOKIE}={browser}; Path={CALLBACK_PATH}; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax{secure}"
    );
    if let Ok(cookie) = cookie.try_into() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = values.flat_map(|value| value.split(';')).map(str::trim);
    cookies.find_map(|cookie| cookie.strip_prefix(COOKIE)?.strip_prefix('='))
}

async fn cas_ticket(
    State(gate): State<Gate>,
    State(sso): State<Sso>,
    request: OpenRaw,
) -> Result<Response, Error> {
    #[derive(Deserialize)]
    struct Query {
        ticket: Option<String>,
        session: Option<String>,
    }
    admit(&gate, &request)?;
    if sso.cas().is_none() {
        return Err(Error::unrecognized());
    }
    let Query { ticket, session } = query(&request.parts)?;
    let ticket = ticket.ok_or_else(|| Error::missing_param("ticket is missing"))?;
    let goal = match session {
        Some(session) => Goal::Confirm(session),
        None => Goal::LogIn(client(&request.parts)?),
    };
    let may_be_named = |user_id: &ruma::UserId| gate.may_name_user(user_id, None).is_ok();
    let arrival = sso.take_cas_ticket(&ticket, goal, &may_be_named).await;
    Ok(arrival.map_or_else(failed, arrived))
}

async fn oidc_callback(
    State(gate): State<Gate>,
    State(sso): State<Sso>,
    request: OpenRaw,
) -> Result<Response, Error> {
    admit(&gate, &request)?;
    let callback: Callback = query(&request.parts)?;
    let browser = cookie(&request.parts.headers);
    let may_be_named = |user_id: &ruma::UserId| gate.may_name_user(user_id, None).is_ok();
    let arrival = sso.take_oidc_callback(callback, browser, &may_be_named).await;
    Ok(arrival.map_or_else(failed, arrived))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::cookie;

    #[test]
    fn the_cookie_is_found_among_others() {
        for (value, expected) in [
            ("meridian_sso=abc", Some("abc")),
            ("a=b; meridian_sso=abc; c=d", Some("abc")),
            ("xmeridian_sso=abc", None),
            ("meridian_sso_2=abc", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_static(value));
            assert_eq!(cookie(&headers), expected, "{value}");
        }
    }
}
