//! OpenID Connect, the authorization code flow with PKCE ([spec]).
//!
//! [spec]: https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth

mod id_token;
mod metadata;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use stdx::Rng;
use url::{Url, form_urlencoded};

use self::{
    id_token::Expected,
    metadata::{Cached, Metadata},
};
use crate::{
    OidcProvider, SsoError,
    arrive::Person,
    http::{Ask, Http},
    template::{Claims, Template, claim},
};

/// Where a browser comes back to, below the server's URL and below `/_matrix`, which proxies pass on.
/// Providers are told it, so it does not change.
pub const CALLBACK_PATH: &str = "/_matrix/client/unstable/meridian/sso/callback";
/// 256 bits; PKCE wants a verifier of 43 to 128 characters.
const SECRET_CHARS: usize = 43;
/// The longest code that is passed on, in bytes.
const CODE_BYTES_MAX: usize = 4096;

/// What a provider's redirect says.
#[derive(Clone, Debug, Deserialize)]
pub struct Callback {
    pub state: String,
    pub code: Option<String>,
    pub error: Option<String>,
    pub error_description: Option<String>,
}

impl Callback {
    pub(crate) fn code(self) -> Result<String, SsoError> {
        if let Some(error) = self.error {
            let text = self.error_description.unwrap_or(error);
            return Err(SsoError::Refused(text.chars().take(200).collect()));
        }
        let code = self.code.filter(|code| !code.is_empty() && code.len() <= CODE_BYTES_MAX);
        code.ok_or_else(|| SsoError::InvalidProof("there is no code".to_owned()))
    }
}

/// What proves that an answer belongs to a question, and is told to no browser.
#[derive(Debug)]
pub(crate) struct Secrets {
    nonce: String,
    code_verifier: String,
}

impl Secrets {
    pub(crate) fn new(rng: &Rng) -> Self {
        let code_verifier = rng.alphanumeric(SECRET_CHARS);
        Self { nonce: rng.alphanumeric(SECRET_CHARS), code_verifier }
    }
}

pub(crate) struct Oidc {
    pub(crate) config: OidcProvider,
    localpart: Option<Template>,
    display_name: Option<Template>,
    redirect_uri: String,
    cached: Cached,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<String>,
    id_token: Option<String>,
}

fn unexpected(what: &str) -> SsoError {
    SsoError::Provider(what.to_owned())
}

impl Oidc {
    /// The templates are good: the configuration was checked.
    pub(crate) fn new(config: OidcProvider, public_url: &str) -> Self {
        Self {
            localpart: Template::parse(&config.localpart),
            display_name: config.display_name.as_deref().and_then(Template::parse),
            redirect_uri: format!("{public_url}{CALLBACK_PATH}"),
            cached: Cached::default(),
            config,
        }
    }

    pub(crate) async fn login_url(
        &self,
        http: &dyn Http,
        now: u64,
        state: &str,
        secrets: &Secrets,
    ) -> Result<String, SsoError> {
        let metadata = self.metadata(http, now).await?;
        let mut url = Url::parse(&metadata.authorization_endpoint)
            .map_err(|_| unexpected("its authorization endpoint is no URL"))?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&secrets.code_verifier));
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.config.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.config.scopes.join(" ")),
            ("state", state),
            ("nonce", &secrets.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        Ok(url.into())
    }

    /// Exchanges the code for who came.
    pub(crate) async fn redeem(
        &self,
        http: &dyn Http,
        now: u64,
        code: &str,
        secrets: &Secrets,
    ) -> Result<Person, SsoError> {
        let metadata = self.metadata(http, now).await?;
        let tokens = self.exchange(http, &metadata, code, secrets).await?;
        let id_token = tokens.id_token.ok_or_else(|| unexpected("it gave no ID token"))?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client_id: &self.config.client_id,
            nonce: &secrets.nonce,
        };
        let mut claims = self.verify(http, now, &metadata, &id_token, &expected).await?;
        if let (Some(url), Some(token)) = (&metadata.userinfo_endpoint, &tokens.access_token)
            && !self.is_covered(&claims)
        {
            add_userinfo(http, url, token, &mut claims).await?;
        }
        self.person(&claims)
    }

    fn is_covered(&self, claims: &Claims) -> bool {
        let templates = self.localpart.iter().chain(&self.display_name);
        claims.contains_key(&self.config.subject_claim)
            && templates.into_iter().all(|template| template.is_covered(claims))
    }

    fn person(&self, claims: &Claims) -> Result<Person, SsoError> {
        let subject = claim(claims, &self.config.subject_claim)
            .ok_or_else(|| unexpected("it does not say who the user is"))?;
        Ok(Person {
            subject,
            name: self.localpart.as_ref().and_then(|template| template.fill(claims)),
            display_name: self.display_name.as_ref().and_then(|template| template.fill(claims)),
        })
    }

    fn token_request(&self, metadata: &Metadata, code: &str, secrets: &Secrets) -> Ask {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &secrets.code_verifier),
        ]);
        let authorization = match &self.config.client_secret {
            Some(secret) if metadata.takes_basic() => Some(basic(&self.config.client_id, secret)),
            secret => {
                form.append_pair("client_id", &self.config.client_id);
                form.extend_pairs(secret.iter().map(|secret| ("client_secret", secret)));
                None
            }
        };
        Ask { url: metadata.token_endpoint.clone(), authorization, form: Some(form.finish()) }
    }

    async fn exchange(
        &self,
        http: &dyn Http,
        metadata: &Metadata,
        code: &str,
        secrets: &Secrets,
    ) -> Result<TokenAnswer, SsoError> {
        let ask = self.token_request(metadata, code, secrets);
        let answer = http.ask(ask).await.map_err(SsoError::Provider)?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body)
                .map_err(|error| SsoError::Provider(format!("its tokens: {error}"))),
            // `invalid_grant`: of all that may be wrong, what the browser brought.
            400 => Err(SsoError::InvalidProof(error_code(&answer.body))),
            status => Err(SsoError::Provider(format!(
                "it answered {status} to a code: {}",
                error_code(&answer.body)
            ))),
        }
    }
}

fn error_code(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["error"].as_str().unwrap_or("no reason given").chars().take(64).collect()
}

/// Both parts are encoded as in a form before they are joined (RFC 6749, section 2.3.1).
fn basic(client_id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let both = format!("{}:{}", encode(client_id), encode(secret));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(both))
}

/// What the ID token says itself counts more.
async fn add_userinfo(
    http: &dyn Http,
    url: &str,
    token: &str,
    claims: &mut Claims,
) -> Result<(), SsoError> {
    let authorization = Some(format!("Bearer {token}"));
    let ask = Ask { authorization, ..Ask::get(url) };
    let answer = http.ask(ask).await.map_err(SsoError::Provider)?;
    if answer.status != 200 {
        return Err(SsoError::Provider(format!("its userinfo endpoint: {}", answer.status)));
    }
    let more: Claims = serde_json::from_slice(&answer.body)
        .map_err(|error| SsoError::Provider(format!("its userinfo: {error}")))?;
    if more.get("sub") != claims.get("sub") {
        return Err(unexpected("its userinfo is about somebody else"));
    }
    for (name, value) in more {
        claims.entry(name).or_insert(value);
    }
    Ok(())
}
