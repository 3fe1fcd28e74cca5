//! Patterns: `*` stands for any text, `?` for one character.

#[derive(Clone, Debug)]
pub struct Glob(Box<[u8]>);

impl Glob {
    pub fn new(pattern: &str) -> Self {
        let mut bytes = pattern.as_bytes().to_vec();
        // Stars next to each other say what one says.
        bytes.dedup_by(|one, other| *one == b'*' && *other == b'*');
        Self(bytes.into())
    }

    /// Goes back to the last star only, so the time is at most the product of the lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (&*self.0, text.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while read < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(b'?') => {
                    at += 1;
                    read += char_len(text[read]);
                }
                Some(&byte) if byte == text[read] => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    let taken = taken + char_len(text[taken]);
                    star = Some((star_at, taken));
                    at = star_at + 1;
                    read = taken;
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

/// Bytes of the character that begins with `first`.
fn char_len(first: u8) -> usize {
    match first {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn a_character_is_one_however_many_bytes_it_has() {
        for (pattern, text, expected) in [
            ("h?llo", "héllo", true),
            ("h??llo", "héllo", false),
            ("*?", "é", true),
            ("*??", "é", false),
            ("?", "🦀", true),
            ("*🦀", "🦀🦀", true),
            ("*é?", "aéé", true),
            ("*é?", "aéb", true),
            ("*é?", "aé", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
