//! Paths of the server-server API, with whatever is put into them encoded.

use std::fmt::Write as _;

pub(super) struct Path {
    text: String,
    has_query: bool,
}

impl Path {
    pub(super) fn v1(endpoint: &str) -> Self {
        Self::of("v1", endpoint)
    }

    pub(super) fn of(version: &str, endpoint: &str) -> Self {
        Self { text: format!("/_matrix/federation/{version}/{endpoint}"), has_query: false }
    }

    /// One more segment.
    pub(super) fn and(mut self, segment: &str) -> Self {
        self.text.push('/');
        self.text.push_str(&encode(segment));
        self
    }

    pub(super) fn query(mut self, key: &str, value: &str) -> Self {
        let separator = if self.has_query { '&' } else { '?' };
        let _infallible = write!(self.text, "{separator}{key}={}", encode(value));
        self.has_query = true;
        self
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.text
    }
}

/// Everything but the unreserved characters of RFC 3986.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
