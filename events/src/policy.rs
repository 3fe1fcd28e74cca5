//! What a policy server recommends: rules of its operator, put to one event. "What a Policy Server
//! checks for on an event is left as an implementation detail."
//!
//! The event is all that is looked at, not the room: a policy server may be asked of events whose
//! place in the room it does not know.

mod lists;
mod words;

use self::{
    lists::Globs,
    words::{Phrases, texts_of},
};
use crate::{
    Pdu, ServerAcl,
    canonical::{Object, Value},
};

/// Patterns of one kind.
const PATTERNS_MAX: usize = 1000;
/// Characters of one pattern.
const PATTERN_LEN_MAX: usize = 256;

/// Rules as an operator writes them. In patterns `*` stands for any text and `?` for one character.
#[derive(Clone, Debug, Default)]
pub struct PolicyLists {
    /// Users of whom every event is recommended. Case plays no part.
    pub trusted_senders: Vec<String>,
    /// Servers of whose users nothing is, as in a list of denied servers (`m.room.server_acl`).
    pub denied_servers: Vec<String>,
    /// Case plays no part.
    pub denied_senders: Vec<String>,
    /// Types of events, and what messages have for a `msgtype`.
    pub denied_types: Vec<String>,
    /// Words and phrases, wherever there is text in an event. Case and punctuation play no part.
    pub denied_text: Vec<String>,
    /// Users that one event may mention.
    pub mentions_max: Option<usize>,
    /// Bytes of the content, as canonical JSON.
    pub content_bytes_max: Option<usize>,
}

/// The same rules, read once.
#[derive(Clone, Debug)]
pub struct PolicyRules {
    trusted_senders: Globs,
    denied_servers: ServerAcl,
    denied_senders: Globs,
    denied_types: Globs,
    denied_text: Phrases,
    mentions_max: Option<usize>,
    content_bytes_max: Option<usize>,
}

/// Why an event is not recommended, for whoever sent it: what exactly is denied is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    #[error("nothing is taken from this server")]
    Server,
    #[error("nothing is taken from this user")]
    Sender,
    #[error("events of this kind are not taken")]
    Type,
    #[error("the event is too long")]
    Size,
    #[error("the event mentions too many users")]
    Mentions,
    #[error("the event says something that is not taken")]
    Text,
}

/// A pattern, or a number of them, that rules cannot be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusablePattern {
    #[error("{0:?} has no letter and no digit")]
    Empty(String),
    #[error("{0:?} is longer than {PATTERN_LEN_MAX} characters")]
    Long(String),
    #[error("there are more than {PATTERNS_MAX} patterns")]
    Many,
}

impl PolicyRules {
    pub fn new(lists: &PolicyLists) -> Result<Self, UnusablePattern> {
        let lists_of_patterns = [
            &lists.trusted_senders,
            &lists.denied_servers,
            &lists.denied_senders,
            &lists.denied_types,
            &lists.denied_text,
        ];
        lists_of_patterns.into_iter().try_for_each(|patterns| check(patterns))?;
        Ok(Self {
            trusted_senders: Globs::caseless(&lists.trusted_senders),
            denied_servers: ServerAcl::denying(&lists.denied_servers),
            denied_senders: Globs::caseless(&lists.denied_senders),
            denied_types: Globs::exact(&lists.denied_types),
            denied_text: Phrases::new(&lists.denied_text)?,
            mentions_max: lists.mentions_max,
            content_bytes_max: lists.content_bytes_max,
        })
    }

    /// Whether an event is recommended whatever else there is against it.
    pub fn exempts(&self, pdu: &Pdu) -> bool {
        is_mere_leave(pdu) || self.trusted_senders.contain(&pdu.sender().as_str().to_lowercase())
    }

    /// The first rule that speaks against the event; those that cost least come first.
    pub fn check(&self, pdu: &Pdu) -> Result<(), Objection> {
        if self.exempts(pdu) {
            return Ok(());
        }
        let content = pdu.content_object();
        let limit = |limit: Option<usize>, found: usize| limit.is_some_and(|limit| found > limit);
        refuse_if(!self.denied_servers.allows(pdu.sender().server_name()), Objection::Server)?;
        let sender = pdu.sender().as_str().to_lowercase();
        refuse_if(self.denied_senders.contain(&sender), Objection::Sender)?;
        let msgtype = content.get("msgtype").and_then(Value::as_str);
        let denies_type = |kind: &str| self.denied_types.contain(kind);
        refuse_if(
            denies_type(pdu.event_type()) || msgtype.is_some_and(denies_type),
            Objection::Type,
        )?;
        refuse_if(limit(self.content_bytes_max, pdu.content_str().len()), Objection::Size)?;
        let texts = texts_of(&content);
        refuse_if(limit(self.mentions_max, mentions(&content, &texts)), Objection::Mentions)?;
        // What is encrypted has no words, only letters that might look like some.
        let is_readable = pdu.event_type() != "m.room.encrypted";
        refuse_if(is_readable && self.denied_text.occur_in(&texts), Objection::Text)
    }
}

fn refuse_if(denied: bool, objection: Objection) -> Result<(), Objection> {
    if denied { Err(objection) } else { Ok(()) }
}

fn check(patterns: &[String]) -> Result<(), UnusablePattern> {
    if patterns.len() > PATTERNS_MAX {
        return Err(UnusablePattern::Many);
    }
    let long = patterns.iter().find(|pattern| pattern.chars().count() > PATTERN_LEN_MAX);
    long.map_or(Ok(()), |pattern| Err(UnusablePattern::Long(pattern.clone())))
}

/// Whoever goes is not kept, as long as they say nothing more.
fn is_mere_leave(pdu: &Pdu) -> bool {
    let is_own = pdu.is_state_of("m.room.member", pdu.sender().as_str());
    is_own && pdu.content_str() == r#"{"membership":"leave"}"#
}

/// Users that are mentioned as clients do it now (`m.mentions`, of an edit too), or by links to them.
fn mentions(content: &Object<'_>, texts: &[&str]) -> usize {
    let edit = content.get("m.new_content").and_then(Value::as_object);
    let declared = |content: &Object<'_>| {
        let Some(mentions) = content.get("m.mentions").and_then(Value::as_object) else { return 0 };
        let users = mentions.get("user_ids").and_then(Value::as_array).unwrap_or_default();
        users.len() + usize::from(mentions.get("room") == Some(&Value::Bool(true)))
    };
    let links = |text: &&str| {
        text.matches("matrix.to/#/@").count() + text.matches("matrix.to/#/%40").count()
    };
    let declared = declared(content).max(edit.map_or(0, declared));
    texts.iter().map(links).max().unwrap_or(0).max(declared)
}
