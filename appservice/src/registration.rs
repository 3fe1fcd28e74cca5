//! One registration, as the file of a bridge says it ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/application-service-api/#registration

use ruma::{OwnedUserId, RoomAliasId, RoomId, ServerName, UserId};
use serde::Deserialize;

use crate::namespaces::{NamespaceText, Namespaces};

/// Files carry keys of the bridge's own, and of proposals: what is not known is not read.
#[derive(Deserialize)]
struct File {
    id: String,
    url: Option<String>,
    as_token: String,
    hs_token: String,
    sender_localpart: String,
    namespaces: NamespacesText,
    rate_limited: Option<bool>,
    receive_ephemeral: Option<bool>,
    /// Of before Matrix 1.13, and what most bridges still write.
    #[serde(rename = "de.sorunome.msc2409.push_ephemeral")]
    push_ephemeral: Option<bool>,
    protocols: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct NamespacesText {
    users: Option<Vec<NamespaceText>>,
    aliases: Option<Vec<NamespaceText>>,
    rooms: Option<Vec<NamespaceText>>,
}

/// What the operator has allowed an application service.
#[derive(Clone)]
pub struct Registration {
    pub id: String,
    /// Without a slash at its end. `None`: nothing is sent.
    pub url: Option<String>,
    pub(crate) as_token: String,
    /// What we prove ourselves with.
    pub hs_token: String,
    /// Whom it acts as unless it says otherwise.
    pub sender: OwnedUserId,
    /// Whether requests in the name of others than the sender count against rate limits.
    pub rate_limited: bool,
    pub receive_ephemeral: bool,
    pub protocols: Vec<String>,
    users: Namespaces,
    aliases: Namespaces,
    rooms: Namespaces,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a registration cannot be used; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    #[error("it is no registration: {0}")]
    File(String),
    #[error("`{0}` is empty")]
    Empty(&'static str),
    #[error("`url` is {0:?}, which does not begin with http:// or https://")]
    Url(String),
    #[error("`sender_localpart` is {0:?}, with which no user can be named")]
    Sender(String),
    #[error("a namespace of `{kind}` cannot be used: {problem}")]
    Namespace { kind: &'static str, problem: regex::Error },
}

impl Registration {
    pub fn parse(yaml: &str, server_name: &ServerName) -> Result<Self, RegistrationError> {
        let file: File = serde_saphyr::from_str(yaml)
            .map_err(|error| RegistrationError::File(error.to_string()))?;
        let required = [
            ("id", &file.id),
            ("as_token", &file.as_token),
            ("hs_token", &file.hs_token),
            ("sender_localpart", &file.sender_localpart),
        ];
        if let Some((key, _)) = required.into_iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(RegistrationError::Empty(key));
        }
        // Bridges draw one at random, in any case; names here are in lower case.
        let localpart = file.sender_localpart.to_ascii_lowercase();
        let sender = UserId::parse(format!("@{localpart}:{server_name}"))
            .map_err(|_| RegistrationError::Sender(file.sender_localpart.clone()))?;
        let namespaces = |kind: &'static str, texts: Option<Vec<NamespaceText>>| {
            Namespaces::parse(texts.unwrap_or_default())
                .map_err(|problem| RegistrationError::Namespace { kind, problem })
        };
        Ok(Self {
            url: url(file.url)?,
            sender,
            rate_limited: file.rate_limited.unwrap_or(true),
            receive_ephemeral: file.receive_ephemeral.or(file.push_ephemeral).unwrap_or(false),
            protocols: file.protocols.unwrap_or_default(),
            users: namespaces("users", file.namespaces.users)?,
            aliases: namespaces("aliases", file.namespaces.aliases)?,
            rooms: namespaces("rooms", file.namespaces.rooms)?,
            id: file.id,
            as_token: file.as_token,
            hs_token: file.hs_token,
        })
    }

    fn is_local(&self, user: &UserId) -> bool {
        self.sender.server_name() == user.server_name()
    }

    /// "application services can only register interest in *local* users"
    pub fn covers_user(&self, user: &UserId) -> bool {
        self.is_local(user) && (self.sender == user || self.users.cover(user.as_str()))
    }

    pub fn covers_alias(&self, alias: &RoomAliasId) -> bool {
        self.aliases.cover(alias.as_str())
    }

    pub fn covers_room(&self, room: &RoomId) -> bool {
        self.rooms.cover(room.as_str())
    }

    pub(crate) fn names_aliases(&self) -> bool {
        !self.aliases.is_empty()
    }

    pub(crate) fn owns_user(&self, user: &UserId) -> bool {
        self.is_local(user) && self.users.cover_exclusively(user.as_str())
    }

    pub(crate) fn owns_alias(&self, alias: &RoomAliasId) -> bool {
        self.aliases.cover_exclusively(alias.as_str())
    }
}

/// Files without an URL say `null`, or nothing at all.
fn url(text: Option<String>) -> Result<Option<String>, RegistrationError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let known = text.starts_with("http://") || text.starts_with("https://");
    if !known {
        return Err(RegistrationError::Url(text));
    }
    Ok(Some(text.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use ruma::{room_alias_id, room_id, server_name, user_id};

    use super::Registration;

    const IRC: &str = r##"
# As the bridge generates it.
id: "IRC Bridge"
url: "http://127.0.0.1:1234/"
as_token: 30c05ae90a24
hs_token: '312df522183e'
sender_localpart: "_irc_bot"
namespaces:
  users:
    - exclusive: true
      regex: "@_irc_bridge_.*"
    - {exclusive: false, regex: '@log.*:x\.test'}
  aliases:
    - exclusive: false
      regex: "#_irc_bridge_.*"
  rooms: []
de.sorunome.msc2409.push_ephemeral: true
io.element.msc4190: true
"##;

    fn parse(yaml: &str) -> Result<Registration, String> {
        let parsed = Registration::parse(yaml, server_name!("x.test"));
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn a_registration_says_what_it_covers() {
        let irc = parse(IRC).expect("it is one");
        assert_eq!(irc.url.as_deref(), Some("http://127.0.0.1:1234"));
        assert_eq!((&*irc.as_token, &*irc.hs_token), ("30c05ae90a24", "312df522183e"));
        assert!(irc.rate_limited && irc.receive_ephemeral);
        // (user, covered, and nobody else's)
        let users = [
            (user_id!("@_irc_bot:x.test"), true, false),
            (user_id!("@_irc_bridge_ada:x.test"), true, true),
            (user_id!("@_irc_bridge_ada:y.test"), false, false),
            (user_id!("@a_irc_bridge_:x.test"), false, false),
            (user_id!("@logger:x.test"), true, false),
        ];
        for (user, covered, owned) in users {
            assert_eq!((irc.covers_user(user), irc.owns_user(user)), (covered, owned), "{user}");
        }
        let alias = room_alias_id!("#_irc_bridge_rust:x.test");
        assert_eq!((irc.covers_alias(alias), irc.owns_alias(alias)), (true, false));
        assert!(!irc.covers_room(room_id!("!a:x.test")));
    }

    #[test]
    fn numbers_are_tokens_and_nothing_is_no_url() {
        let yaml = "id: 1\nurl: null\nas_token: 0123\nhs_token: 456\nsender_localpart: BoT\n\
                    namespaces: {users: null}\nrate_limited: false\n";
        let bot = parse(yaml).expect("it is one");
        assert_eq!((&*bot.id, &*bot.as_token), ("1", "0123"));
        assert_eq!(bot.sender, "@bot:x.test");
        assert!(bot.url.is_none() && !bot.rate_limited && !bot.receive_ephemeral);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("as_token: 30c05ae90a24", "", "as_token"),
            ("as_token: 30c05ae90a24", "as_token: ''", "as_token"),
            ("http://127", "gopher://127", "gopher"),
            ("@_irc_bridge_.*", "@_irc_(", "users"),
            ("\"_irc_bot\"", "'a:b:c d'", "sender_localpart"),
            ("exclusive: false\n", "exclusiv: false\n", "exclusive"),
            ("id: ", "- id: ", "registration"),
        ];
        for (from, to, mention) in cases {
            assert!(IRC.contains(from), "{from}");
            let error = parse(&IRC.replace(from, to)).expect_err(to);
            assert!(error.contains(mention), "{to}: {error}");
        }
    }
}
