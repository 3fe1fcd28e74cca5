//! Pages that this server shows in a browser: few words, nothing that is loaded from elsewhere
//! unless a page says so, and an address that is told to nobody.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Below `/_matrix`, which proxies pass on.
pub(crate) const DONE_SCRIPT_PATH: &str = "/_matrix/client/unstable/meridian/auth/done.js";
/// Tells the client that opened the page that it may go on ([spec]).
///
/// [spec]: https://spec.matrix.org/v1.19/client-server-api/#fallback
pub(crate) const DONE_SCRIPT: &str = "\
if (window.onAuthDone) {
    window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
    window.opener.postMessage(\"authDone\", \"*\");
}
";

pub(crate) struct Page {
    status: StatusCode,
    title: &'static str,
    html: String,
    /// What it may load besides nothing: directives of a content security policy.
    loads: &'static str,
}

impl Page {
    /// Whatever of `html` is not ours has gone through [`escape`].
    pub(crate) fn new(status: StatusCode, title: &'static str, html: impl Into<String>) -> Self {
        Self { status, title, html: html.into(), loads: "" }
    }

    pub(crate) fn that_loads(mut self, loads: &'static str) -> Self {
        self.loads = loads;
        self
    }

    /// Something was proved; the client goes on.
    pub(crate) fn done() -> Self {
        let html = format!(
            "<p>Thank you. You may close this window and go on in your client.</p>\
             <script src=\"{DONE_SCRIPT_PATH}\"></script>"
        );
        Self::new(StatusCode::OK, "Done", html).that_loads("script-src 'self'")
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Self { status, title, html, loads } = self;
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <h1>{title}</h1>{html}</html>"
        );
        let policy = format!(
            "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; {loads}"
        );
        let policy = HeaderValue::try_from(policy)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        (status, headers, html).into_response()
    }
}

/// As text or the value of an attribute in quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn what_has_a_meaning_is_escaped() {
        let hostile = "\"><script>alert('&')</script>";
        let expected = "&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;";
        assert_eq!(escape(hostile), expected);
    }
}
