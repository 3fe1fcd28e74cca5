//! What goes with content as text: its type, its name, and `Content-Disposition` (RFC 6266), which
//! has both a say in whether a browser shows it and a name that a stranger chose.

use std::fmt::Write as _;

/// Of a type or a name, this many bytes are kept.
const TEXT_MAX: usize = 255;

/// What a browser may show by itself: section "Serving inline content".
const INLINE: [&str; 26] = [
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

/// A `Content-Type` that can stand in a header, or none.
pub(crate) fn clean_type(text: Option<String>) -> Option<String> {
    let text = text?.trim().to_owned();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let is_type = essence.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
    let fits = text.len() <= TEXT_MAX && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (is_type && fits).then_some(text)
}

/// A file name without what is no text, and no longer than is kept; or none.
pub(crate) fn clean_name(name: Option<String>) -> Option<String> {
    let mut kept: String = name?.chars().filter(|char| !char.is_control()).collect();
    let end = (0..=TEXT_MAX.min(kept.len())).rev().find(|end| kept.is_char_boundary(*end));
    kept.truncate(end.unwrap_or_default());
    (!kept.is_empty()).then_some(kept)
}

/// The value of `Content-Disposition`; always ASCII without control characters.
pub fn disposition(content_type: Option<&str>, filename: Option<&str>) -> String {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let is_safe = INLINE.iter().any(|safe| safe.eq_ignore_ascii_case(essence));
    let mut value = if is_safe { "inline" } else { "attachment" }.to_owned();
    match filename {
        Some(name) if name.bytes().all(is_plain) => {
            let _infallible = write!(value, "; filename=\"{name}\"");
        }
        Some(name) => {
            value.push_str("; filename*=utf-8''");
            for byte in name.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    value.push(char::from(byte));
                } else {
                    let _infallible = write!(value, "%{byte:02X}");
                }
            }
        }
        None => {}
    }
    value
}

/// What is the same in quotes and without.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) && !b"\"\\%".contains(&byte)
}

/// The file name in a `Content-Disposition` of somebody else, if one can be read.
pub fn filename_of(disposition: &str) -> Option<String> {
    let mut plain = None;
    for parameter in parameters(disposition) {
        let Some((key, value)) = parameter.split_once('=') else { continue };
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let encoded = value.splitn(3, '\'').collect::<Vec<_>>();
                if let [charset, _language, text] = encoded[..]
                    && charset.eq_ignore_ascii_case("utf-8")
                    && let Some(name) = percent_decoded(text)
                {
                    return Some(name);
                }
            }
            "filename" => plain = Some(unquoted(value)),
            _ => {}
        }
    }
    plain
}

/// Split at semicolons that are not in quotes.
fn parameters(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |char| {
        let ends = char == ';' && !quoted;
        match char {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = char == '\\' && quoted && !escaped;
        ends
    })
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let (mut out, mut escaped) = (String::new(), false);
    for char in inner.chars() {
        if char == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(char);
            escaped = false;
        }
    }
    out
}

fn percent_decoded(text: &str) -> Option<String> {
    let (mut out, mut bytes) = (Vec::new(), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::{clean_name, clean_type, disposition, filename_of};

    #[test]
    fn only_what_cannot_run_is_shown_inline() {
        for (content_type, shown) in [
            (Some("image/png"), "inline"),
            (Some("Image/PNG"), "inline"),
            (Some("text/plain; charset=utf-8"), "inline"),
            (Some("text/html"), "attachment"),
            (Some("image/svg+xml"), "attachment"),
            (Some("image/png,text/html"), "attachment"),
            (Some("application/pdf"), "attachment"),
            (None, "attachment"),
        ] {
            assert_eq!(disposition(content_type, None), shown, "{content_type:?}");
        }
    }

    #[test]
    fn names_come_back_and_break_out_of_nothing() {
        for name in [
            "plain.txt",
            "two words; and=more.txt",
            "q\"uote\\s",
            "100%",
            "ünïcödé ☃.png",
            "../../etc/passwd",
        ] {
            let value = disposition(None, Some(name));
            assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value}");
            assert_eq!(filename_of(&value).as_deref(), Some(name), "{value}");
        }
        let hostile = clean_name(Some("a\r\nSet-Cookie: b\0".to_owned())).expect("some of it");
        assert_eq!(hostile, "aSet-Cookie: b");
        assert_eq!(clean_name(Some("é".repeat(200))).map(|name| name.len()), Some(254));
        assert_eq!(clean_name(Some("\n".to_owned())), None);
    }

    #[test]
    fn names_of_others_are_read_as_they_are_written() {
        for (value, name) in [
            ("attachment; filename=a.txt", Some("a.txt")),
            ("INLINE; FileName=\"a;b.txt\"", Some("a;b.txt")),
            ("inline; filename=\"x\"; filename*=UTF-8''%e2%98%83.png", Some("☃.png")),
            ("inline; filename*=UTF-8''%e2%28; filename=y", Some("y")),
            ("inline; filename*=UTF-8''%e", None),
            ("inline; filename*=latin1''a", None),
            ("inline", None),
            ("\"", None),
        ] {
            assert_eq!(filename_of(value).as_deref(), name, "{value}");
        }
    }

    #[test]
    fn what_is_no_type_is_dropped() {
        for (text, kept) in [
            ("image/png", true),
            (" text/plain; charset=utf-8 ", true),
            ("image", false),
            ("a/b\r\nc: d", false),
            ("/", false),
            ("é/x", false),
            ("a /b", false),
        ] {
            assert_eq!(clean_type(Some(text.to_owned())).is_some(), kept, "{text}");
        }
        assert_eq!(clean_type(Some(format!("a/{}", "b".repeat(300)))), None);
    }
}
