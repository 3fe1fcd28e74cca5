//! Who may invite a user: `m.invite_permission_config` of their account data ([spec]), and the finer
//! rules of MSC4155.
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#invite-permission

use std::sync::Arc;

use events::Glob;
use ruma::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Accounts, StoreError};

const INVITE_PERMISSION_CONFIG: &str = "m.invite_permission_config";
const INVITE_FILTER: &str = "org.matrix.msc4155.invite_permission_config";
/// Larger rules count as none: each invite is held against all of them.
const FILTER_BYTES_MAX: usize = 65_536;

/// What a user says of who may invite them. By default everybody may.
#[derive(Clone, Debug, Default)]
pub struct InvitePermission {
    blocks_all: bool,
    filter: Option<Arc<Filter>>,
}

/// What is to become of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteVerdict {
    Allowed,
    /// Taken, and not shown to the user.
    Ignored,
    /// Refused.
    Blocked,
}

#[derive(Debug)]
struct Filter {
    /// In the order in which they are looked at: of users, then of servers.
    users: [(Vec<Glob>, InviteVerdict); 3],
    servers: [(Vec<Glob>, InviteVerdict); 3],
}

impl Filter {
    /// `None` if everybody may invite. "Any value that is not an array of strings MUST lead to the
    /// entire event being considered invalid."
    fn parse(content: &RawValue) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(default)]
        struct Content {
            enabled: bool,
            allowed_users: Vec<String>,
            ignored_users: Vec<String>,
            blocked_users: Vec<String>,
            allowed_servers: Vec<String>,
            ignored_servers: Vec<String>,
            blocked_servers: Vec<String>,
        }
        impl Default for Content {
            fn default() -> Self {
                let none = Vec::new;
                Self {
                    enabled: true,
                    allowed_users: none(),
                    ignored_users: none(),
                    blocked_users: none(),
                    allowed_servers: none(),
                    ignored_servers: none(),
                    blocked_servers: none(),
                }
            }
        }
        if content.get().len() > FILTER_BYTES_MAX {
            return None;
        }
        let content: Content = serde_json::from_str(content.get()).ok()?;
        let in_order = |allowed: &[String], ignored: &[String], blocked: &[String]| {
            let globs = |patterns: &[String]| {
                patterns.iter().map(|pattern| Glob::new(&pattern.to_lowercase())).collect()
            };
            [
                (globs(allowed), InviteVerdict::Allowed),
                (globs(ignored), InviteVerdict::Ignored),
                (globs(blocked), InviteVerdict::Blocked),
            ]
        };
        let Content { allowed_users, ignored_users, blocked_users, .. } = &content;
        let users = in_order(allowed_users, ignored_users, blocked_users);
        let Content { allowed_servers, ignored_servers, blocked_servers, .. } = &content;
        let servers = in_order(allowed_servers, ignored_servers, blocked_servers);
        content.enabled.then_some(Self { users, servers })
    }

    fn judge(&self, inviter: &UserId) -> InviteVerdict {
        let user = inviter.as_str().to_lowercase();
        // "After stripping any port suffix."
        let server = inviter.server_name().host().to_lowercase();
        let of_users = self.users.iter().map(|rules| (rules, &user));
        let all = of_users.chain(self.servers.iter().map(|rules| (rules, &server)));
        for ((globs, verdict), text) in all {
            if globs.iter().any(|glob| glob.matches(text)) {
                return *verdict;
            }
        }
        InviteVerdict::Allowed
    }
}

impl InvitePermission {
    /// "A missing, invalid or unsupported value means that the user wants to receive invites as
    /// normal."
    fn parse(config: Option<&RawValue>, filter: Option<&RawValue>) -> Self {
        #[derive(Deserialize)]
        struct Content {
            default_action: String,
        }
        let content = config.and_then(|config| serde_json::from_str::<Content>(config.get()).ok());
        Self {
            blocks_all: content.is_some_and(|content| content.default_action == "block"),
            filter: filter.and_then(Filter::parse).map(Arc::new),
        }
    }

    /// Whether nobody may invite.
    pub fn blocks_all(&self) -> bool {
        self.blocks_all
    }

    pub fn of(&self, inviter: &UserId) -> InviteVerdict {
        match &self.filter {
            _ if self.blocks_all => InviteVerdict::Blocked,
            Some(filter) => filter.judge(inviter),
            None => InviteVerdict::Allowed,
        }
    }
}

impl Accounts {
    /// Of users of other servers nothing is known: those servers have a say themselves.
    pub async fn invite_permission(&self, user: &UserId) -> Result<InvitePermission, StoreError> {
        if !self.is_local(user) {
            return Ok(InvitePermission::default());
        }
        let config = self.account_data(user, None, INVITE_PERMISSION_CONFIG).await?;
        let filter = self.account_data(user, None, INVITE_FILTER).await?;
        Ok(InvitePermission::parse(config.as_deref(), filter.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use ruma::UserId;
    use serde_json::{json, value::to_raw_value};

    use super::{InvitePermission, InviteVerdict};

    #[test]
    fn rules_are_looked_at_in_their_order() {
        use InviteVerdict::{Allowed, Blocked, Ignored};
        let john = "@john:goodguys.org";
        for (filter, inviter, expected) in [
            (json!({}), john, Allowed),
            (json!({ "blocked_servers": ["*"] }), john, Blocked),
            (json!({ "enabled": false, "blocked_servers": ["*"] }), john, Allowed),
            (
                json!({ "allowed_servers": ["goodguys.org"], "blocked_servers": ["*"] }),
                john,
                Allowed,
            ),
            (
                json!({ "allowed_servers": ["goodguys.org"], "blocked_servers": ["*"] }),
                "@john:badguys.org",
                Blocked,
            ),
            (
                json!({ "blocked_users": [john], "allowed_servers": ["goodguys.org"] }),
                john,
                Blocked,
            ),
            (
                json!({ "allowed_users": [john], "blocked_servers": ["goodguys.org"] }),
                john,
                Allowed,
            ),
            (json!({ "ignored_users": [john], "blocked_users": [john] }), john, Ignored),
            (json!({ "ignored_servers": ["good*.org"] }), john, Ignored),
            (json!({ "blocked_servers": ["goodguys.org"] }), "@j:goodguys.org:8448", Blocked),
            (json!({ "blocked_servers": ["GoodGuys.org"] }), "@j:GOODGUYS.org", Blocked),
            (json!({ "blocked_users": ["@j?hn:*"] }), john, Blocked),
            (json!({ "blocked_users": ["john"] }), john, Allowed),
            // One mistake, and nothing of it counts.
            (json!({ "blocked_servers": ["*"], "allowed_users": [1] }), john, Allowed),
            (json!({ "blocked_servers": ["*"], "allowed_users": "x" }), john, Allowed),
            (json!({ "blocked_servers": ["*", "x".repeat(65_536)] }), john, Allowed),
        ] {
            let raw = to_raw_value(&filter).expect("JSON");
            let permission = InvitePermission::parse(None, Some(&raw));
            let inviter = UserId::parse(inviter).expect("a user id");
            assert_eq!(permission.of(&inviter), expected, "{filter} {inviter}");
        }
    }
}
