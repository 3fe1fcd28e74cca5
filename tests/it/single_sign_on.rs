//! Single sign-on as a browser and a client go through it, and as somebody who means harm does.

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    identity_provider::{IdentityProvider, Signed},
    moderation::administrator,
    server::{Answer, Server},
    user::{User, segment},
};

const PUBLIC: &str = "public_url = \"http://x.test\"\n[rate_limits]\nenabled = false\n";
const CLIENT: &str = "https://app.test/#/home";
const TRUSTED: &str = "[login]\ntrusted_clients = [\"https://app.test/\"]\n";
const PASSWORD: &str = "correct horse";

/// What a browser was shown.
struct Visit {
    status: StatusCode,
    headers: HeaderMap,
    html: String,
}

impl Visit {
    #[track_caller]
    fn location(&self) -> &str {
        assert_eq!(self.status, 302, "{}", self.html);
        self.headers["location"].to_str().expect("text")
    }

    /// The cookie as the browser sends it.
    fn cookie(&self) -> String {
        let cookie = self.headers["set-cookie"].to_str().expect("text");
        for attribute in ["; HttpOnly", "; SameSite=Lax", "; Path=/_matrix/client/unstable/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        cookie.split(';').next().expect("a value").to_owned()
    }

    /// Where the only link leads whose address has this in it.
    #[track_caller]
    fn link(&self, with: &str) -> String {
        let links = self.html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let found: Vec<_> = links.filter(|link| link.contains(with)).collect();
        let [link] = found.as_slice() else { panic!("{found:?} in {}", self.html) };
        link.replace("&amp;", "&")
    }

    #[track_caller]
    fn login_token(&self) -> String {
        let url = match self.status.as_u16() {
            302 => self.location().to_owned(),
            _ => self.link("loginToken="),
        };
        let url = url::Url::parse(&url).expect("a URL");
        let token = url.query_pairs().find(|(name, _)| name == "loginToken");
        token.unwrap_or_else(|| panic!("no token: {url}")).1.into_owned()
    }

    #[track_caller]
    fn refused(&self, row: &str, status: u16) {
        assert_eq!(self.status, status, "{row}: {}", self.html);
        assert!(!self.html.contains("loginToken"), "{row}: {}", self.html);
        assert!(self.headers.get("location").is_none(), "{row}");
    }
}

impl Server {
    async fn browse(&self, path: &str, cookie: Option<&str>) -> Visit {
        self.browse_with(Method::GET, path, cookie, "").await
    }

    async fn submit(&self, path: &str, form: &str) -> Visit {
        self.browse_with(Method::POST, path, None, form).await
    }

    async fn browse_with(
        &self,
        method: Method,
        path: &str,
        cookie: Option<&str>,
        form: &str,
    ) -> Visit {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("Content-Type", "application/x-www-form-urlencoded");
        if let Some(cookie) = cookie {
            request = request.header("Cookie", cookie);
        }
        let request = request.body(Full::from(form.to_owned())).expect("a request");
        let (status, headers, body) = self.exchange(request).await;
        let html = String::from_utf8(body.to_vec()).expect("text");
        Visit { status, headers, html }
    }

    async fn leave(&self, provider: &str, client: &str) -> Visit {
        let client = segment(client);
        let path = format!("/_matrix/client/v3/login/sso/redirect{provider}?redirectUrl={client}");
        self.browse(&path, None).await
    }

    /// All of it, with the provider's consent.
    async fn come(&self, provider: &IdentityProvider, claims: Value) -> Visit {
        let left = self.leave("/op", CLIENT).await;
        let back = provider.consent(left.location(), claims);
        self.browse(&back, Some(&left.cookie())).await
    }

    async fn come_by_cas(&self, provider: &IdentityProvider, user: &str) -> Visit {
        let left = self.leave("/cas", CLIENT).await;
        let back = provider.cas_login(left.location(), user, false);
        self.browse(&back, None).await
    }

    async fn log_in_by_token(&self, token: &str) -> Answer {
        self.post("/v3/login", json!({ "type": "m.login.token", "token": token })).await
    }

    /// Whoever the page is for, logged in.
    async fn logged_in(&self, visit: &Visit) -> User<'_> {
        User::new(self, &self.log_in_by_token(&visit.login_token()).await.ok())
    }

    async fn exists(&self, localpart: &str) -> bool {
        let path = format!("/v3/register/available?username={localpart}");
        self.get(&path).await.status != 200
    }
}

async fn start(sections: impl FnOnce(&IdentityProvider) -> String) -> (Server, IdentityProvider) {
    let provider = IdentityProvider::start().await;
    let sections = format!("{PUBLIC}{}", sections(&provider));
    (Server::with(&sections).await, provider)
}

async fn with_oidc(more: &str) -> (Server, IdentityProvider) {
    start(|provider| format!("{TRUSTED}{}", provider.oidc_section(more))).await
}

async fn with_cas(more: &str) -> (Server, IdentityProvider) {
    start(|provider| format!("{TRUSTED}{}", provider.cas_section(more))).await
}

fn ada_claims() -> Value {
    json!({ "sub": "007", "preferred_username": "Ada L", "name": "Ada Lovelace" })
}

#[tokio::test]
async fn clients_are_told_of_the_providers() {
    let (server, _provider) = start(|provider| {
        format!("{}{}", provider.oidc_section("brand = \"op\""), provider.cas_section(""))
    })
    .await;
    let flows = server.get("/v3/login").await.ok();
    let flow = |kind: &str| {
        let mut flows = flows["flows"].as_array().expect("a list").iter();
        flows.find(|flow| flow["type"] == kind).cloned()
    };
    let expected = json!([
        { "id": "op", "name": "The <OP>", "brand": "op" },
        { "id": "cas", "name": "CAS" },
    ]);
    assert_eq!(flow("m.login.sso").expect("listed")["identity_providers"], expected);
    assert!(flow("m.login.cas").is_some() && flow("m.login.token").is_some());

    let page = server.leave("", CLIENT).await;
    assert!(page.html.contains("The &lt;OP&gt;") && !page.html.contains("<OP>"), "{}", page.html);
    let left = server.browse(&page.link("/redirect/cas?"), None).await;
    assert!(left.location().contains("/cas/login?service="));

    let plain = Server::start().await;
    let flows = plain.get("/v3/login").await.ok().to_string();
    assert!(!flows.contains("sso") && !flows.contains("cas"), "{flows}");
    for path in ["sso/redirect", "sso/redirect/op", "cas/redirect", "cas/ticket"] {
        let path = format!("/v3/login/{path}?redirectUrl=https%3A%2F%2Fapp.test&ticket=x");
        plain.get(&path).await.refused(&path, 404, "M_UNRECOGNIZED");
    }
}

#[tokio::test]
async fn who_comes_by_openid_logs_in_and_is_the_same_next_time() {
    let (server, provider) = with_oidc("").await;
    let first = server.come(&provider, ada_claims()).await;
    assert!(first.location().starts_with("https://app.test/?loginToken="), "{}", first.location());
    assert!(first.location().ends_with("#/home"));
    let ada = server.logged_in(&first).await;
    assert_eq!(ada.id, "@ada=20l:x.test");
    let name = ada.get(&format!("/v3/profile/{}/displayname", segment(&ada.id))).await.ok();
    assert_eq!(name["displayname"], "Ada Lovelace");

    // By their subject: what they are called may change.
    let renamed = json!({ "sub": "007", "preferred_username": "king", "name": "Ada King" });
    let again = server.come(&provider, renamed).await;
    assert_eq!(server.logged_in(&again).await.id, ada.id);
    // And somebody else of that name is somebody else.
    let other = json!({ "sub": "008", "preferred_username": "ada l", "name": "Another" });
    let other = server.come(&provider, other).await;
    assert_eq!(server.logged_in(&other).await.id, "@ada=20l1:x.test");
}

#[tokio::test]
async fn what_the_id_token_lacks_is_asked_for() {
    let (server, provider) = with_oidc("").await;
    let left = server.leave("/op", CLIENT).await;
    let more = json!({ "sub": "1", "preferred_username": "bob", "name": "Bob" });
    let back = provider.consent_with(left.location(), json!({ "sub": "1" }), more);
    let bob = server.browse(&back, Some(&left.cookie())).await;
    assert_eq!(server.logged_in(&bob).await.id, "@bob:x.test");

    let left = server.leave("/op", CLIENT).await;
    let of_another = json!({ "sub": "1", "preferred_username": "eve", "name": "Eve" });
    let back = provider.consent_with(left.location(), json!({ "sub": "2" }), of_another);
    server.browse(&back, Some(&left.cookie())).await.refused("another's userinfo", 502);
    assert!(!server.exists("eve").await);
}

#[tokio::test]
async fn a_token_that_is_not_for_us_now_makes_nobody() {
    let eve = || json!({ "sub": "9", "preferred_username": "eve", "name": "Eve" });
    let now = crate::server::START_MS / 1000;
    let twists: [(&str, &'static str, Value); 9] = [
        ("another nonce", "nonce", json!("guessed")),
        ("no nonce", "nonce", Value::Null),
        ("another issuer", "iss", json!("https://evil.test")),
        ("another audience", "aud", json!("another")),
        ("another party", "azp", json!("another")),
        ("expired", "exp", json!(now - 121)),
        ("never expires", "exp", json!("never")),
        ("of the future", "iat", json!(now + 600)),
        ("nobody", "sub", json!("")),
    ];
    let (server, provider) = with_oidc("").await;
    for (row, claim, value) in twists {
        provider.twist(move |claims| {
            claims.insert(claim.to_owned(), value.clone());
        });
        server.come(&provider, eve()).await.refused(row, 403);
    }
    provider.twist(|_| {});
    for signed in [Signed::ByAnother, Signed::BySecret, Signed::Not] {
        provider.sign(signed);
        server.come(&provider, eve()).await.refused(&format!("{signed:?}"), 403);
    }
    assert!(!server.exists("eve").await);
    provider.sign(Signed::Well);
    assert_eq!(server.logged_in(&server.come(&provider, eve()).await).await.id, "@eve:x.test");
}

#[tokio::test]
async fn only_the_browser_that_left_comes_back_and_once() {
    let (server, provider) = with_oidc("").await;
    let left = server.leave("/op", CLIENT).await;
    let back = provider.consent(left.location(), ada_claims());
    let another = server.leave("/op", CLIENT).await.cookie();
    // Each attempt spends the state, so each has one of its own.
    server.browse(&back, Some(&another)).await.refused("another browser", 400);
    server.browse(&back, Some(&left.cookie())).await.refused("after another browser", 400);
    let left = server.leave("/op", CLIENT).await;
    let back = provider.consent(left.location(), ada_claims());
    server.browse(&back, None).await.refused("no cookie", 400);

    let left = server.leave("/op", CLIENT).await;
    let back = provider.consent(left.location(), ada_claims());
    server.browse(&back, Some(&left.cookie())).await.login_token();
    server.browse(&back, Some(&left.cookie())).await.refused("twice", 400);
    let guessed = format!("{}&state=guessed", back.split("&state").next().expect("a code"));
    server.browse(&guessed, Some(&left.cookie())).await.refused("another state", 400);

    let left = server.leave("/op", CLIENT).await;
    let back = provider.consent(left.location(), ada_claims());
    server.clock.advance(15 * 60 * 1000);
    server.browse(&back, Some(&left.cookie())).await.refused("too late", 400);
    assert!(server.exists("ada=20l").await, "the one good attempt made her");
}

#[tokio::test]
async fn what_a_provider_says_against_it_is_shown_as_text() {
    let (server, provider) = with_oidc("").await;
    let left = server.leave("/op", CLIENT).await;
    let state = provider.consent(left.location(), ada_claims());
    let (path, state) = state.split_once("?code=").expect("a code");
    let state = state.split_once('&').expect("a state").1;
    let said = segment("<script>alert(1)</script>");
    let path = format!("{path}?error=access_denied&error_description={said}&{state}");
    let page = server.browse(&path, Some(&left.cookie())).await;
    page.refused("denied", 403);
    assert!(page.html.contains("&lt;script&gt;") && !page.html.contains("<script>alert"));

    let stopped = "http://127.0.0.1:9";
    let sections = format!(
        "{PUBLIC}[[login.oidc]]\nid = \"op\"\nname = \"OP\"\nissuer = \"{stopped}\"\nclient_id = \"x\"\n"
    );
    Server::with(&sections).await.leave("/op", CLIENT).await.refused("no answer", 502);
}

#[tokio::test]
async fn a_client_that_is_not_trusted_is_asked_about() {
    let (server, provider) = with_oidc("").await;
    let hostile = "https://evil.test/?a=\"><script>alert(1)</script>&loginToken=x";
    for (client, shown) in [
        (hostile, "evil.test"),
        ("https://app.test.evil.test/", "app.test.evil.test"),
        ("https://app.test@evil.test/", "evil.test"),
        ("http://app.test/", "app.test"),
        ("io.evil.app:/callback", "io.evil.app:"),
    ] {
        let left = server.leave("/op", client).await;
        let back = provider.consent(left.location(), ada_claims());
        let page = server.browse(&back, Some(&left.cookie())).await;
        assert_eq!(page.status, 200, "{client}");
        assert!(page.html.contains(&format!("<strong>{shown}</strong>")), "{}", page.html);
        assert!(!page.html.contains("<script"), "{}", page.html);
        let policy = page.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(server.logged_in(&page).await.id, "@ada=20l:x.test");
    }
    for nowhere in ["javascript:alert(1)", "data:text/html,x", "/here", ""] {
        let path = format!("/v3/login/sso/redirect/op?redirectUrl={}", segment(nowhere));
        server.get(&path).await.refused(nowhere, 400, "M_INVALID_PARAM");
    }
    server.get("/v3/login/sso/redirect").await.refused("nowhere", 400, "M_MISSING_PARAM");
    let unknown = "/v3/login/sso/redirect/none?redirectUrl=https%3A%2F%2Fapp.test";
    server.get(unknown).await.refused("no provider", 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_login_token_is_good_once_and_for_two_minutes() {
    let (server, provider) = with_oidc("").await;
    let token = server.come(&provider, ada_claims()).await.login_token();
    server.log_in_by_token(&token).await.ok();
    server.log_in_by_token(&token).await.refused("twice", 403, "M_FORBIDDEN");
    let token = server.come(&provider, ada_claims()).await.login_token();
    server.clock.advance(2 * 60 * 1000);
    server.log_in_by_token(&token).await.refused("late", 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn names_that_exist_are_only_adopted_where_the_operator_says_so() {
    for (section, expected) in
        [("", "@bob1:x.test"), ("allow_existing_users = true", "@bob:x.test")]
    {
        let (server, provider) = with_cas(section).await;
        server.user_with_password("bob", PASSWORD).await;
        let page = server.come_by_cas(&provider, "bob").await;
        assert_eq!(server.logged_in(&page).await.id, expected, "{section}");
    }
    let (server, provider) = with_cas("register_new_users = false").await;
    server.come_by_cas(&provider, "eve").await.refused("a newcomer", 403);
    assert!(!server.exists("eve").await);
}

#[tokio::test]
async fn who_comes_by_cas_is_made_a_user() {
    let (server, provider) = with_cas("display_name_attribute = \"cn\"").await;
    let page = server.come_by_cas(&provider, "_Cas.User!").await;
    let user = server.logged_in(&page).await;
    assert_eq!(user.id, "@=5fcas.user=21:x.test");
    let name = user.get(&format!("/v3/profile/{}/displayname", segment(&user.id))).await.ok();
    assert_eq!(name["displayname"], "Name of _Cas.User!");

    let left = server.browse("/_matrix/client/r0/login/cas/redirect?redirectUrl=io.app:/x", None);
    assert!(left.await.location().starts_with(&format!("{}/cas/login?", provider.base())));
}

#[tokio::test]
async fn a_ticket_is_good_once_and_for_what_it_was_given_for() {
    let (server, provider) = with_cas("").await;
    let left = server.leave("/cas", CLIENT).await;
    let back = provider.cas_login(left.location(), "ada", false);
    server.browse(&back, None).await.login_token();
    server.browse(&back, None).await.refused("replayed", 403);

    // Given for one client, presented for another.
    let back = provider.cas_login(left.location(), "ada", false);
    let moved = back.replace("app.test", "evil.test");
    assert_ne!(moved, back);
    server.browse(&moved, None).await.refused("another client", 403);
    // Given for another service altogether.
    let ticket = provider.cas_ticket("ada", "https://mail.test/", false);
    let of_another = format!("{}&ticket={ticket}", back.split("&ticket").next().expect("a query"));
    server.browse(&of_another, None).await.refused("another service", 403);
    for junk in ["", "a%20b", "%0a"] {
        let path = format!("{}&ticket={junk}", back.split("&ticket").next().expect("a query"));
        server.browse(&path, None).await.refused(junk, 403);
    }
}

/// A user who came by SSO once more, with a device to be deleted.
struct Deletion<'s> {
    user: User<'s>,
    session: String,
    flows: Value,
}

impl Deletion<'_> {
    async fn try_again(&self, more: Value) -> Answer {
        let mut auth = json!({ "session": self.session });
        for (name, value) in more.as_object().into_iter().flatten() {
            auth[name] = value.clone();
        }
        let path = format!("/v3/devices/{}", self.user.device);
        self.user.call(Method::DELETE, &path, json!({ "auth": auth }).to_string()).await
    }

    async fn page(&self) -> Visit {
        let path = "/_matrix/client/v3/auth/m.login.sso/fallback/web?session=";
        self.user.server.browse(&format!("{path}{}", self.session), None).await
    }
}

async fn begin_deletion(user: User<'_>) -> Deletion<'_> {
    let path = format!("/v3/devices/{}", user.device);
    let answer = user.call(Method::DELETE, &path, "{}".to_owned()).await;
    assert_eq!(answer.status, 401);
    let session = answer.body["session"].as_str().expect("a session").to_owned();
    Deletion { user, session, flows: answer.body["flows"].clone() }
}

#[tokio::test]
async fn who_came_by_sso_confirms_by_sso() {
    let (server, provider) = with_oidc("").await;
    let visit = server.come(&provider, ada_claims()).await;
    let deletion = begin_deletion(server.logged_in(&visit).await).await;
    assert_eq!(deletion.flows, json!([{ "stages": ["m.login.sso"] }]), "she has no password");
    deletion.try_again(json!({ "type": "m.login.sso" })).await.refused(
        "at once",
        401,
        "M_FORBIDDEN",
    );

    let page = deletion.page().await;
    assert!(page.html.contains("log devices out") && page.html.contains("@ada=20l:x.test"));
    assert!(page.html.contains("Continue with The &lt;OP&gt;"));
    let back = provider.consent(&page.link("/authorize?"), ada_claims());
    server.browse(&back, None).await.refused("another browser", 400);
    let page = deletion.page().await;
    let back = provider.consent(&page.link("/authorize?"), ada_claims());
    let done = server.browse(&back, Some(&page.cookie())).await;
    assert_eq!(done.status, 200);
    let script = done.html.split("src=\"").nth(1).and_then(|rest| rest.split('"').next());
    let script = server.browse(script.expect("a script"), None).await;
    assert!(
        script.html.contains("onAuthDone")
            && script.headers["content-type"] == "text/javascript; charset=utf-8"
    );

    deletion.try_again(Value::Null).await.ok();
    deletion.user.get("/v3/account/whoami").await.refused("deleted", 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn an_account_that_is_locked_or_over_is_not_logged_in_to() {
    let (server, provider) = start(|provider| {
        format!("{TRUSTED}{}[registration]\nshared_secret = \"s\"\n", provider.oidc_section(""))
    })
    .await;
    let root = administrator(&server, "root").await;
    let ada = server.come(&provider, ada_claims()).await;
    let ada = server.logged_in(&ada).await;
    let lock = async |locked: bool| {
        let path = format!("/v1/admin/lock/{}", segment(&ada.id));
        root.put(&path, json!({ "locked": locked })).await.ok();
    };
    lock(true).await;
    let token = server.come(&provider, ada_claims()).await.login_token();
    server.log_in_by_token(&token).await.refused("locked", 401, "M_USER_LOCKED");
    lock(false).await;

    let begun = ada.post("/v3/account/deactivate", json!({})).await;
    let session = begun.body["session"].as_str().expect("a session").to_owned();
    let path = "/_matrix/client/v3/auth/m.login.sso/fallback/web?session=";
    let page = server.browse(&format!("{path}{session}"), None).await;
    assert!(page.html.contains("close the account"), "{}", page.html);
    let back = provider.consent(&page.link("/authorize?"), ada_claims());
    server.browse(&back, Some(&page.cookie())).await;
    ada.post("/v3/account/deactivate", json!({ "auth": { "session": session } })).await.ok();
    server.come(&provider, ada_claims()).await.refused("over", 403);
}

#[tokio::test]
async fn another_identity_does_not_confirm() {
    let (server, provider) = with_oidc("").await;
    let visit = server.come(&provider, ada_claims()).await;
    server.come(&provider, json!({ "sub": "9", "preferred_username": "eve", "name": "Eve" })).await;
    for (row, sub) in [("another user", "9"), ("a stranger", "10")] {
        let visit = server.come(&provider, ada_claims()).await;
        let deletion = begin_deletion(server.logged_in(&visit).await).await;
        let page = deletion.page().await;
        let claims = json!({ "sub": sub, "preferred_username": "eve", "name": "Eve" });
        let back = provider.consent(&page.link("/authorize?"), claims);
        let shown = server.browse(&back, Some(&page.cookie())).await;
        assert!(shown.html.contains("somebody else"), "{row}: {}", shown.html);
        deletion.try_again(Value::Null).await.refused(row, 403, "M_FORBIDDEN");
        // The session is spoiled for good.
        deletion.try_again(Value::Null).await.refused(row, 403, "M_FORBIDDEN");
        deletion.user.get("/v3/account/whoami").await.ok();
    }
    assert!(!server.exists("eve1").await, "who confirms is not made a user");
    server.logged_in(&visit).await;
}

#[tokio::test]
async fn to_confirm_by_cas_the_password_is_given_anew() {
    let (server, provider) = with_cas("allow_existing_users = true").await;
    server.user_with_password("bob", PASSWORD).await;
    let page = server.come_by_cas(&provider, "bob").await;
    let deletion = begin_deletion(server.logged_in(&page).await).await;
    let both = json!([{ "stages": ["m.login.password"] }, { "stages": ["m.login.sso"] }]);
    assert_eq!(deletion.flows, both);
    let link = deletion.page().await.link("/cas/login?");
    assert!(link.ends_with("&renew=true"), "{link}");
    // Whoever has a stolen access token sends the user to the CAS server themselves, without.
    let back = provider.cas_login(&link, "bob", false);
    server.browse(&back, None).await.refused("without a password", 403);
    let back = provider.cas_login(&link, "bob", true);
    assert_eq!(server.browse(&back, None).await.status, 200);
    deletion.try_again(Value::Null).await.ok();

    let unknown = "/_matrix/client/v3/auth/m.login.sso/fallback/web?session=unknown";
    server.browse(unknown, None).await.refused("no session", 404);
}

fn captcha(provider: &IdentityProvider, more: &str) -> String {
    let (base, secret) = (provider.base(), crate::identity_provider::CAPTCHA_SECRET);
    format!(
        "[captcha]\npublic_key = \"pub\\\"lic\"\nprivate_key = \"{secret}\"\n\
         verify_url = \"{base}/siteverify\"\n[registration]\n{more}\n"
    )
}

#[tokio::test]
async fn who_registers_solves_a_captcha() {
    let (server, _provider) = start(|provider| captcha(provider, "require_captcha = true")).await;
    let begun = server.post("/v3/register", json!({ "username": "ada" })).await;
    assert_eq!(begun.status, 401);
    assert_eq!(begun.body["flows"], json!([{ "stages": ["m.login.recaptcha"] }]));
    assert_eq!(begun.body["params"]["m.login.recaptcha"], json!({ "public_key": "pub\"lic" }));
    let session = begun.body["session"].as_str().expect("a session");
    let answer = async |response: Option<&str>| {
        let auth = json!({ "type": "m.login.recaptcha", "session": session, "response": response });
        server.post("/v3/register", json!({ "username": "ada", "auth": auth })).await
    };
    answer(None).await.refused("nothing", 401, "M_CAPTCHA_NEEDED");
    answer(Some("robot")).await.refused("a robot", 401, "M_CAPTCHA_INVALID");
    let dummy = json!({ "type": "m.login.dummy", "session": session });
    let dummy = server.post("/v3/register", json!({ "username": "ada", "auth": dummy })).await;
    assert_eq!(dummy.status, 401);
    assert!(!server.exists("ada").await);
    answer(Some("human")).await.ok();
}

#[tokio::test]
async fn stages_are_completed_on_pages_too() {
    let (server, _provider) = start(|provider| {
        let more = "require_captcha = true\nrequire_token = true\nterms_url = \"https://x.test/t\"";
        captcha(provider, more)
    })
    .await;
    let token = crate::accounts::registration_token(&server, 1).await;
    let token = format!("token={token}");
    let begun = server.post("/v3/register", json!({ "username": "ada" })).await;
    let session = begun.body["session"].as_str().expect("a session").to_owned();
    let page = |stage: &str| {
        format!("/_matrix/client/v3/auth/m.login.{stage}/fallback/web?session={session}")
    };
    let shown = server.browse(&page("recaptcha"), None).await;
    assert!(shown.html.contains("data-sitekey=\"pub&quot;lic\""), "{}", shown.html);
    for (stage, wrong) in
        [("recaptcha", "g-recaptcha-response=robot"), ("registration_token", "token=x")]
    {
        assert_eq!(server.submit(&page(stage), wrong).await.status, 403, "{stage}");
    }
    let session_only = || json!({ "auth": { "session": session } });
    for (stage, form) in [
        ("recaptcha", "g-recaptcha-response=human"),
        ("registration_token", &*token),
        ("terms", ""),
    ] {
        let before = server.post("/v3/register", session_only()).await;
        assert_eq!(before.status, 401, "before {stage}");
        let done = server.submit(&page(stage), form).await;
        assert_eq!(done.status, 200, "{stage}: {}", done.html);
    }
    let user = server.post("/v3/register", session_only()).await.ok();
    assert_eq!(user["user_id"], "@ada:x.test");
    let gone = server.submit(&page("terms"), "").await;
    assert_eq!(gone.status, 404, "the session is spent");
}
