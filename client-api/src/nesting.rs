//! How deeply JSON may be nested: what is kept unparsed here has to be readable by every client.

/// Levels of objects and arrays in a request. An event may have 127, its content one less; what is
/// around a content in a request is not counted so closely.
pub(crate) const LEVELS_MAX: usize = 127;

/// Whether `json` opens more than `levels` objects and arrays within each other. Looks at brackets
/// only, without recursion, so the text need not be valid.
pub(crate) fn is_deeper_than(json: &[u8], levels: usize) -> bool {
    let (mut open, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => (),
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                open += 1;
                if open > levels {
                    return true;
                }
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => (),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_deeper_than;

    #[test]
    fn brackets_count_outside_of_text() {
        let cases = [
            ("{}", 1, false),
            ("{}", 0, true),
            ("[[],[],[]]", 2, false),
            (r#"{"a":[{}]}"#, 2, true),
            (r#"{"[[[[":"{{{{"}"#, 1, false),
            (r#"{"\"[":"\\","a":[]}"#, 1, true),
            ("]]]][", 1, false),
        ];
        for (json, levels, deeper) in cases {
            assert_eq!(is_deeper_than(json.as_bytes(), levels), deeper, "{json} {levels}");
        }
        let deep = "[".repeat(1_000_000);
        assert!(is_deeper_than(deep.as_bytes(), 127));
    }
}
