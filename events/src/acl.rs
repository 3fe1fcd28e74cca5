//! Server access control lists: `m.room.server_acl`.

mod host;

use std::collections::HashSet;

use ruma::ServerName;

use self::host::Host;
use crate::{
    canonical::{MAX_LEVELS, Numbers, Value, parse_within},
    glob::Glob,
};

/// A list, read once. What is malformed in it counts as absent.
#[derive(Clone, Debug)]
pub struct ServerAcl {
    allow: Patterns,
    deny: Patterns,
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
        let entries = |key| {
            let entries = content.get(key).and_then(Value::as_array).unwrap_or_default();
            entries.iter().filter_map(Value::as_str)
        };
        // Hosts are compared without a dot at their end, so a pattern with one would deny nobody.
        let denied = entries("deny").map(|pattern| pattern.trim_end_matches('.'));
        let literals = content.get("allow_ip_literals");
        Self {
            allow: Patterns::compile(entries("allow")),
            deny: Patterns::compile(denied),
            allow_ip_literals: !matches!(literals, Some(Value::Bool(false))),
        }
    }

    /// A list that denies these and allows everybody else.
    pub(crate) fn denying(patterns: &[String]) -> Self {
        Self {
            allow: Patterns::compile(std::iter::once("*")),
            deny: Patterns::compile(patterns.iter().map(String::as_str)),
            allow_ip_literals: true,
        }
    }

    /// The port plays no part, nor does case, nor a trailing dot, nor how an address is written.
    ///
    /// A number that only some resolvers take for an address (`127.1`, `0x7f000001`) is let in
    /// nowhere: no honest server has such a name.
    pub fn allows(&self, server: &ServerName) -> bool {
        match Host::read(server.host()) {
            Host::Disguised => false,
            Host::Literal { text, canonical } => {
                let any = |patterns: &Patterns| {
                    patterns.match_any(&text) || patterns.match_any(&canonical)
                };
                self.allow_ip_literals && !any(&self.deny) && any(&self.allow)
            }
            Host::Name(name) => !self.deny.match_any(&name) && self.allow.match_any(&name),
        }
    }
}

/// Globs, sorted by how they are looked up: real lists are long, and nearly all of their entries
/// are a name or `*.` and a name.
#[derive(Clone, Debug, Default)]
struct Patterns {
    names: HashSet<Box<str>>,
    /// What stands behind the `*.`.
    domains: HashSet<Box<str>>,
    globs: Vec<Glob>,
}

impl Patterns {
    fn compile<'p>(patterns: impl Iterator<Item = &'p str>) -> Self {
        let is_plain = |text: &str| !text.contains(['*', '?']);
        let mut compiled = Self::default();
        for pattern in patterns {
            let pattern = pattern.to_ascii_lowercase();
            if is_plain(&pattern) {
                compiled.names.insert(pattern.trim_end_matches('.').into());
            } else if let Some(domain) = pattern.strip_prefix("*.").filter(|text| is_plain(text)) {
                compiled.domains.insert(domain.trim_end_matches('.').into());
            } else {
                compiled.globs.push(Glob::new(&pattern));
            }
        }
        compiled
    }

    /// `host` in lower case.
    fn match_any(&self, host: &str) -> bool {
        let mut domains = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        self.names.contains(host)
            || domains.any(|domain| self.domains.contains(domain))
            || self.globs.iter().any(|glob| glob.matches(host))
    }
}
