//! Just enough of Rust's lexical rules to look at code without its comments and literals: a brace in
//! a string must not end a function, and a word in a comment is not a call.

/// A function as it stands in a file; lines count from zero.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) first_line: usize,
    pub(super) last_line: usize,
}

/// A file whose comments and literals are blanked; line breaks stay where they were.
pub(super) struct Source {
    code: String,
    test_lines: Vec<(usize, usize)>,
}

impl Source {
    pub(super) fn parse(text: &str) -> Self {
        let code = blank(text);
        let test_lines = test_modules(&code);
        Self { code, test_lines }
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate()
    }

    /// Whether a line lies in a `#[cfg(test)]` module.
    pub(super) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|(first, last)| (*first..=*last).contains(&line))
    }

    /// Every function with a body, in order, nested ones included.
    pub(super) fn functions(&self) -> Vec<Function> {
        let code = self.code.as_bytes();
        self.code
            .match_indices("fn ")
            .filter(|(at, _)| *at == 0 || !is_word(code[at - 1]))
            .filter_map(|(at, _)| {
                let rest = &self.code[at + 3..];
                let length = rest.bytes().take_while(|byte| is_word(*byte)).count();
                let open = body_start(code, at + 3 + length).filter(|_| length > 0)?;
                let close = matching_brace(code, open)?;
                Some(Function {
                    name: rest[..length].to_owned(),
                    first_line: line_of(code, at),
                    last_line: line_of(code, close),
                })
            })
            .collect()
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_of(code: &[u8], at: usize) -> usize {
    code[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// The brace that opens the body, or nothing if the declaration ends with a semicolon.
fn body_start(code: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code[from..].iter().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(from + offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn matching_brace(code: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(open + offset);
        }
    }
    None
}

fn test_modules(code: &str) -> Vec<(usize, usize)> {
    let bytes = code.as_bytes();
    code.match_indices("#[cfg(test)]")
        .filter_map(|(at, mark)| {
            let open = body_start(bytes, at + mark.len())?;
            let close = matching_brace(bytes, open)?;
            Some((line_of(bytes, at), line_of(bytes, close)))
        })
        .collect()
}

/// Replaces the bytes of comments and literals by spaces.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end == at {
            code.push(if bytes[at].is_ascii() { bytes[at] } else { b'_' });
            at += 1;
        } else {
            code.extend(bytes[at..end].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8(code).expect("only ASCII is pushed")
}

/// Where the comment or literal that starts at `at` ends; `at` itself if none starts there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment_length(rest),
        [b'"', ..] => at + quoted_length(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !after_word => raw_string_end(bytes, at, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw_string_end(bytes, at, 2),
        [b'\'', b'\\', ..] => at + quoted_length(rest, b'\''),
        // 'a' is a character and 'a a lifetime; a character may take up to four bytes.
        [b'\'', first, ..] if *first != b'\'' => {
            let width = rest[1..].iter().skip(1).take_while(|b| **b & 0xC0 == 0x80).count() + 1;
            if rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0_u32;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r#name` is an identifier, not a string: then `at` is returned.
fn raw_string_end(bytes: &[u8], at: usize, prefix: usize) -> usize {
    let hashes = bytes[at + prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + prefix + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at;
    }
    let mut closing = vec![b'"'];
    closing.resize(hashes + 1, b'#');
    let body = &bytes[open + 1..];
    let length = body.windows(closing.len()).position(|window| window == closing);
    length.map_or(bytes.len(), |length| open + 1 + length + closing.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("}\"{", x)"#, "f(      , x)"),
            ("r#\"}\"# + b", "       + b"),
            ("let r#type = 'x';", "let r#type =    ;"),
            ("'\\'' '{' &'a str", "         &'a str"),
            ("'é' x", "     x"),
            ("b'\"' y", "b    y"),
        ];
        for (text, expected) in cases {
            assert_eq!(blank(text), expected, "{text}");
        }
    }

    #[test]
    fn functions_end_at_their_own_brace() {
        let text = "fn a() {\n    let s = \"}\";\n    if x { y }\n}\n\ntrait T {\n    fn b();\n    \
                    fn c(f: fn(u8)) -> [u8; { 3 }] {\n    }\n}\n";
        let found: Vec<_> = Source::parse(text)
            .functions()
            .into_iter()
            .map(|function| (function.name, function.first_line, function.last_line))
            .collect();
        assert_eq!(found, [("a".to_owned(), 0, 3), ("c".to_owned(), 7, 8)]);
    }

    #[test]
    fn test_modules_are_found() {
        let source =
            Source::parse("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
        let inside: Vec<bool> = (0..6).map(|line| source.is_test_line(line)).collect();
        assert_eq!(inside, [false, true, true, true, true, false]);
    }
}
