//! Where a client wants to be told its login token, and whether that needs a question first.

use url::Url;

use crate::ConfigError;

const BYTES_MAX: usize = 2048;
/// To go to one of these runs or shows what the URL itself says, here.
const NEVER: &[&str] =
    &["javascript", "vbscript", "data", "blob", "file", "filesystem", "about", "view-source"];

/// An address of a client, of any scheme that leads to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientUrl {
    /// As it was given, which a CAS server compares byte by byte.
    text: String,
    url: Url,
}

impl ClientUrl {
    /// `None` if it is no absolute URL, is longer than 2,048 bytes, or leads to no client.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > BYTES_MAX {
            return None;
        }
        let url = Url::parse(text).ok()?;
        (!NEVER.contains(&url.scheme())).then(|| Self { text: text.to_owned(), url })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a person is shown of it: the host, or the scheme of an app.
    pub fn shown(&self) -> String {
        match (self.url.host_str(), self.url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => format!("{}:", self.url.scheme()),
        }
    }

    /// With `loginToken` in its query, and no other of that name.
    pub(crate) fn with_token(&self, token: &str) -> String {
        let mut url = self.url.clone();
        let is_token = |name: &str| name == "loginToken";
        if url.query_pairs().any(|(name, _)| is_token(&name)) {
            let pairs = url.query_pairs().into_owned();
            let kept: Vec<_> = pairs.filter(|(name, _)| !is_token(name)).collect();
            url.query_pairs_mut().clear().extend_pairs(kept);
        }
        url.query_pairs_mut().append_pair("loginToken", token);
        url.into()
    }
}

/// Clients that the operator trusts.
#[derive(Clone, Debug)]
pub(crate) struct TrustedClients(Vec<Url>);

impl TrustedClients {
    pub(crate) fn new(urls: &[String]) -> Result<Self, ConfigError> {
        let parse = |text: &String| {
            let url = ClientUrl::parse(text).map(|client| client.url);
            url.ok_or_else(|| ConfigError::Client(text.clone()))
        };
        Ok(Self(urls.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// Whether the URL has the origin of one of them, and a path below its. A mere comparison of the
    /// beginnings would take `https://app.test.evil.test` for `https://app.test`.
    pub(crate) fn contain(&self, client: &ClientUrl) -> bool {
        let url = &client.url;
        // `https://app.test@evil.test` reads like something else.
        let is_plain = url.username().is_empty() && url.password().is_none();
        is_plain && self.0.iter().any(|trusted| is_below(url, trusted))
    }
}

fn is_below(url: &Url, trusted: &Url) -> bool {
    let same_origin = url.scheme() == trusted.scheme()
        && url.host() == trusted.host()
        && url.port_or_known_default() == trusted.port_or_known_default();
    let rest = url.path().strip_prefix(trusted.path());
    let is_inside =
        |rest: &str| rest.is_empty() || rest.starts_with('/') || trusted.path().ends_with('/');
    same_origin && rest.is_some_and(|rest| is_inside(rest) || trusted.path().is_empty())
}

#[cfg(test)]
mod tests {
    use super::{ClientUrl, TrustedClients};

    #[test]
    fn some_urls_lead_to_no_client() {
        for (text, good) in [
            ("https://app.test/#/login", true),
            ("http://localhost:8080", true),
            ("io.element.desktop:/vector/webapp/", true),
            ("element://connect", true),
            ("javascript:alert(1)", false),
            ("JavaScript:alert(1)", false),
            ("\tjava\nscript:alert(1)", false),
            ("data:text/html,<script>alert(1)</script>", false),
            ("file:///etc/passwd", false),
            ("view-source:https://app.test", false),
            ("/relative", false),
            ("//app.test", false),
            ("", false),
        ] {
            assert_eq!(ClientUrl::parse(text).is_some(), good, "{text:?}");
        }
        let long = format!("https://app.test/{}", "x".repeat(2048));
        assert_eq!(ClientUrl::parse(&long), None);
    }

    #[test]
    fn the_token_is_added_once() {
        for (text, expected) in [
            ("https://c?p=http%3A%2F%2Fs", "https://c/?p=http%3A%2F%2Fs&loginToken=t"),
            ("https://c/#/home", "https://c/?loginToken=t#/home"),
            ("https://c/?loginToken=evil&a=b&loginToken=x", "https://c/?a=b&loginToken=t"),
            ("io.app:/cb", "io.app:/cb?loginToken=t"),
            ("https://c/?a=\"><script>", "https://c/?a=%22%3E%3Cscript%3E&loginToken=t"),
        ] {
            let url = ClientUrl::parse(text).expect("a client");
            assert_eq!(url.with_token("t"), expected);
        }
    }

    #[test]
    fn only_what_is_below_a_trusted_url_is_trusted() {
        let trusted = ["https://app.test", "https://x.test/a", "https://y.test/b/", "io.app:/cb"];
        let trusted = TrustedClients::new(&trusted.map(str::to_owned)).expect("URLs");
        for (text, expected) in [
            ("https://app.test/#/login", true),
            ("https://APP.test:443/deep?x=y", true),
            ("https://app.test.evil.test/", false),
            ("https://app.test@evil.test/", false),
            ("https://user@app.test/", false),
            ("https://app.test:8443/", false),
            ("http://app.test/", false),
            ("https://x.test/a", true),
            ("https://x.test/a/b", true),
            ("https://x.test/ab", false),
            ("https://x.test/a/../c", false),
            ("https://x.test/a/%2e%2e/c", false),
            ("https://y.test/b/c", true),
            ("https://y.test/b", false),
            ("io.app:/cb", true),
            ("io.app:/other", false),
            ("io.application:/cb", false),
        ] {
            let url = ClientUrl::parse(text).expect("a client");
            assert_eq!(trusted.contain(&url), expected, "{text}");
        }
        assert!(TrustedClients::new(&["app.test/x".to_owned()]).is_err());
    }
}
