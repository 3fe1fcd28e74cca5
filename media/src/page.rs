//! What a web page says about itself: Open Graph properties, and where there are none, its title and
//! description.

use std::collections::BTreeMap;

use html5gum::{StartTag, Token, Tokenizer};

/// Properties of one page.
const PROPERTIES_MAX: usize = 64;
/// Bytes of one of them; a text is cut there.
const TEXT_MAX: usize = 2048;

/// By name, as `og:title`.
pub(crate) type Properties = BTreeMap<String, String>;

/// The properties of a page. Whatever is no HTML has none.
pub(crate) fn properties(html: &[u8]) -> Properties {
    // What is no UTF-8 is rare, and its marks are ASCII.
    let html = String::from_utf8_lossy(html);
    let (mut found, mut title, mut description) = (Properties::new(), None, None);
    let mut in_title = false;
    for token in Tokenizer::new(&*html) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) if &**tag.name == b"title" => in_title = title.is_none(),
            Token::StartTag(tag) if &**tag.name == b"meta" => {
                let Some(content) = attribute(&tag, b"content") else { continue };
                let name = attribute(&tag, b"property").or_else(|| attribute(&tag, b"name"));
                match name.as_deref() {
                    Some("description") => description = description.or(Some(content)),
                    Some(name) if name.starts_with("og:") && found.len() < PROPERTIES_MAX => {
                        found.entry(cut(name)).or_insert(content);
                    }
                    _ => {}
                }
            }
            Token::String(text) if in_title => {
                title = Some(cut(String::from_utf8_lossy(&text).trim()));
                in_title = false;
            }
            Token::EndTag(tag) if &**tag.name == b"title" => in_title = false,
            _ => {}
        }
    }
    let fallbacks = [("og:title", title), ("og:description", description)];
    for (name, text) in fallbacks {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            found.entry(name.to_owned()).or_insert(text);
        }
    }
    found
}

fn attribute<S: html5gum::SpanBound>(tag: &StartTag<S>, name: &[u8]) -> Option<String> {
    let value = tag.attributes.get(name)?;
    Some(cut(&String::from_utf8_lossy(value)))
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::{PROPERTIES_MAX, TEXT_MAX, properties};

    #[test]
    fn open_graph_comes_first_and_entities_are_read() {
        let page = br#"<!doctype html><html><head><title> The &amp; title </title>
            <meta name="description" content="fallback">
            <meta property="og:title" content="Tea &quot;now&quot;"/>
            <meta property='og:title' content='second'>
            <META PROPERTY="og:image" CONTENT="/a.png">
            <script>"<meta property='og:type' content='no'>"</script></head>"#;
        let found = properties(page);
        assert_eq!(found["og:title"], "Tea \"now\"");
        assert_eq!(found["og:description"], "fallback");
        assert_eq!(found["og:image"], "/a.png");
    }

    #[test]
    fn a_title_serves_where_there_is_nothing_else() {
        let found = properties(b"<title>only</title><body><svg><title>not this</title></svg>");
        assert_eq!(found["og:title"], "only");
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn hostile_pages_are_bounded() {
        let many: String = (0..10_000)
            .map(|n| format!("<meta property='og:{n}' content='{}'>", "x".repeat(TEXT_MAX + 9)))
            .collect();
        let found = properties(many.as_bytes());
        assert_eq!(found.len(), PROPERTIES_MAX);
        assert!(found.values().all(|text| text.len() == TEXT_MAX));
        assert!(properties(&[0xff; 4096]).is_empty());
        assert!(properties(b"<meta property='og:title' content=").is_empty());
    }
}
