//! A writer that puts together answers from bytes which are already JSON.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// Whether the top level of an event's content has a `url`.
pub(crate) fn content_has_url(content: &str) -> bool {
    #[derive(Deserialize)]
    struct Content {
        url: Option<IgnoredAny>,
    }
    serde_json::from_str::<Content>(content).is_ok_and(|content| content.url.is_some())
}

/// Appends a JSON string.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is written to memory");
}

/// Appends a number.
pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    serde_json::to_writer(out, &number).expect("numbers are written to memory");
}

/// What the first member of a list takes with what is around it, about.
const BEGIN_BYTES: usize = 512;

/// Begins a list with one mark, or goes on with the other.
fn begin_or_go_on(json: &mut Vec<u8>, begin: u8) {
    if json.is_empty() {
        json.reserve(BEGIN_BYTES);
    }
    json.push(if json.is_empty() { begin } else { b',' });
}

/// An object under construction: puts the commas, and knows whether anything was put in.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Appends a key; the value is to be appended to what is returned.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        text(self.out, key);
        self.out.push(b':');
        self.out
    }

    pub(crate) fn raw(&mut self, key: &str, value: &[u8]) {
        self.key(key).extend_from_slice(value);
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }
}

/// `{"events":[…]}`, filled one event after the other.
#[derive(Debug, Default)]
pub(crate) struct Events {
    json: Vec<u8>,
}

impl Events {
    /// Where the next event is to be appended.
    pub(crate) fn next(&mut self) -> &mut Vec<u8> {
        begin_or_go_on(&mut self.json, b'[');
        &mut self.json
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.json.len()
    }

    /// The list, as a JSON array.
    pub(crate) fn write_list(&self, out: &mut Vec<u8>) {
        if self.json.is_empty() {
            out.push(b'[');
        } else {
            out.extend_from_slice(&self.json);
        }
        out.push(b']');
    }

    /// `{"events":[…]}`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"events\":");
        self.write_list(out);
        out.push(b'}');
    }

    /// As a member of `object`, unless there are no events.
    pub(crate) fn write_unless_empty(&self, object: &mut Object<'_>, key: &str) {
        if !self.is_empty() {
            self.write(object.key(key));
        }
    }
}

/// An object that is put together before it is known whether it will have members.
#[derive(Debug, Default)]
pub(crate) struct Map {
    json: Vec<u8>,
}

impl Map {
    pub(crate) fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.json.len()
    }

    /// Makes room for `missing` members more of `count`, by what those that are there take: an
    /// answer of megabytes is not to be moved again and again.
    pub(crate) fn expect(&mut self, missing: usize, count: usize) {
        let each = self.json.len() / (count - missing).max(1);
        if self.json.capacity() - self.json.len() < 2 * each {
            self.json.reserve((each + each / 8) * missing);
        }
    }

    /// Appends a key; the value is to be appended to what is returned.
    pub(crate) fn key(&mut self, key: &str) -> &mut Vec<u8> {
        begin_or_go_on(&mut self.json, b'{');
        text(&mut self.json, key);
        self.json.push(b':');
        &mut self.json
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        if self.json.is_empty() {
            out.push(b'{');
        }
        out.extend_from_slice(&self.json);
        out.push(b'}');
    }

    /// As a member of `object`, unless it is empty.
    pub(crate) fn write_unless_empty(&self, object: &mut Object<'_>, key: &str) {
        if !self.is_empty() {
            self.write(object.key(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Events, Object, content_has_url, number};

    #[test]
    fn commas_stand_between() {
        let mut events = Events::default();
        events.next().extend_from_slice(b"1");
        events.next().extend_from_slice(b"2");
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        events.write_unless_empty(&mut object, "a\"");
        Events::default().write_unless_empty(&mut object, "none");
        Events::default().write(object.key("b"));
        number(object.key("c"), 3);
        object.close();
        let expected = r#"{"a\"":{"events":[1,2]},"b":{"events":[]},"c":3}"#;
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }

    #[test]
    fn a_url_counts_at_the_top_only() {
        assert!(content_has_url(r#"{"url":1}"#));
        assert!(content_has_url(r#"{"url":"mxc://a/b"}"#));
        assert!(!content_has_url(r#"{"file":{"url":"mxc://a/b"}}"#));
        assert!(!content_has_url("[]"));
    }
}
