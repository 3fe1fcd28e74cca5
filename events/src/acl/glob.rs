//! Patterns: `*` stands for any text, `?` for one character.

#[derive(Clone, Debug)]
pub(super) struct Glob(Box<[u8]>);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        let mut bytes = pattern.as_bytes().to_vec();
        // Stars next to each other say what one says.
        bytes.dedup_by(|one, other| *one == b'*' && *other == b'*');
        Self(bytes.into())
    }

    /// Goes back to the last star only, so the time is at most the product of the lengths. Server
    /// names are ASCII, so a byte is a character.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (&*self.0, text.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while read < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(&byte) if byte == b'?' || byte == text[read] => {
                    at += 1;
                    read += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    read = taken + 1;
                }
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}
