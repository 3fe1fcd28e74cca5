//! Server access control lists: `m.room.server_acl`.

use std::net::{Ipv4Addr, Ipv6Addr};

use ruma::ServerName;

use crate::canonical::{MAX_LEVELS, Numbers, Value, parse_within};

/// A list, read once. What is malformed in it counts as absent.
#[derive(Clone, Debug)]
pub struct ServerAcl {
    allow: Vec<Glob>,
    deny: Vec<Glob>,
    allow_ip_literals: bool,
}

impl ServerAcl {
    /// `content` is that of the event. A room whose event says nothing that can be read allows
    /// nobody, as the specification has it for a missing `allow`.
    pub fn parse(content: &str) -> Self {
        let content = parse_within(content, Numbers::AsText, MAX_LEVELS)
            .ok()
            .and_then(Value::into_object)
            .unwrap_or_default();
        let globs = |key| match content.get(key) {
            Some(Value::Array(entries)) => {
                entries.iter().filter_map(Value::as_str).map(Glob::new).collect()
            }
            _ => Vec::new(),
        };
        let literals = content.get("allow_ip_literals");
        Self {
            allow: globs("allow"),
            deny: globs("deny"),
            allow_ip_literals: !matches!(literals, Some(Value::Bool(false))),
        }
    }

    /// The port plays no part, nor does case, nor a trailing dot.
    pub fn allows(&self, server: &ServerName) -> bool {
        let host = server.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        if !self.allow_ip_literals && is_ip_literal(host) {
            return false;
        }
        !self.deny.iter().any(|glob| glob.matches(host))
            && self.allow.iter().any(|glob| glob.matches(host))
    }
}

/// In any notation that some resolver takes for an address: `127.1`, `0x7f000001`, `[::1]`.
fn is_ip_literal(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<Ipv6Addr>().is_ok() || bare.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let is_number = |label: &str| match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    };
    bare.split('.').all(is_number)
}

/// `*` stands for any text, `?` for one character.
#[derive(Clone, Debug)]
struct Glob(Box<[u8]>);

impl Glob {
    fn new(pattern: &str) -> Self {
        let mut bytes = pattern.to_ascii_lowercase().into_bytes();
        // Stars next to each other say what one says.
        bytes.dedup_by(|one, other| *one == b'*' && *other == b'*');
        Self(bytes.into())
    }

    /// Goes back to the last star only, so the time is at most the product of the lengths.
    fn matches(&self, text: &str) -> bool {
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
