//! Words and phrases in whatever texts an event has.

use super::UnusablePattern;
use crate::{
    canonical::{Object, Value},
    glob::Glob,
};

/// Characters that nobody sees: put into a word they would part it.
const UNSEEN: &[char] =
    &['\u{AD}', '\u{200B}', '\u{200C}', '\u{200D}', '\u{200E}', '\u{200F}', '\u{2060}', '\u{FEFF}'];

/// All strings below the content, however deep: message bodies, their edits, names, topics, reasons.
pub(super) fn texts_of<'c>(content: &'c Object<'_>) -> Vec<&'c str> {
    let mut texts = Vec::new();
    content.iter().for_each(|(_, value)| collect(value, &mut texts));
    texts
}

/// The depth is bounded by what an event may have.
fn collect<'c>(value: &'c Value<'_>, texts: &mut Vec<&'c str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(object) => object.iter().for_each(|(_, value)| collect(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What is looked for. Between words any characters may stand that are neither letters nor digits.
#[derive(Clone, Debug, Default)]
pub(super) struct Phrases {
    plain: Vec<Box<str>>,
    globs: Vec<Glob>,
}

impl Phrases {
    pub(super) fn new(patterns: &[String]) -> Result<Self, UnusablePattern> {
        let mut compiled = Self::default();
        for pattern in patterns {
            if !pattern.contains(char::is_alphanumeric) {
                return Err(UnusablePattern::Empty(pattern.clone()));
            }
            let words = spaced(pattern, &['*', '?']);
            if words.contains(['*', '?']) {
                compiled.globs.push(Glob::new(&format!("*{words}*")));
            } else {
                compiled.plain.push(words.into());
            }
        }
        Ok(compiled)
    }

    pub(super) fn occur_in(&self, texts: &[&str]) -> bool {
        if self.plain.is_empty() && self.globs.is_empty() {
            return false;
        }
        texts.iter().any(|text| {
            let words = spaced(text, &[]);
            self.plain.iter().any(|phrase| words.contains(&**phrase))
                || self.globs.iter().any(|glob| glob.matches(&words))
        })
    }
}

/// Words in lower case, with one space around each.
fn spaced(text: &str, kept: &[char]) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(' ');
    for char in text.chars().filter(|char| !UNSEEN.contains(char)) {
        if char.is_alphanumeric() || kept.contains(&char) {
            out.extend(char.to_lowercase());
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out
}
