//! `required_state`: which entries of a room's state a client is told.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) const MEMBER: &str = "m.room.member";

/// One entry of `include` or `exclude`; what is not set matches everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Element {
    pub(crate) event_type: Option<String>,
    pub(crate) state_key: Option<String>,
}

impl Element {
    fn matches(&self, event_type: &str, state_key: &str) -> bool {
        self.event_type.as_ref().is_none_or(|wanted| wanted == event_type)
            && self.state_key.as_ref().is_none_or(|wanted| wanted == state_key)
    }
}

/// The `required_state` of one list or subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) include: Vec<Element>,
    pub(crate) exclude: Vec<Element>,
    pub(crate) lazy_members: bool,
}

impl Part {
    fn matches(&self, event_type: &str, state_key: &str) -> bool {
        let is_excluded = self.exclude.iter().any(|rule| rule.matches(event_type, state_key));
        // Loaded lazily, members are told by name or when they are needed.
        let by_name = self.lazy_members && event_type == MEMBER;
        !is_excluded
            && self.include.iter().any(|rule| {
                rule.matches(event_type, state_key) && (!by_name || rule.state_key.is_some())
            })
    }

    fn tells_all_members(&self) -> bool {
        let all = |rule: &Element| {
            rule.state_key.is_none() && rule.event_type.as_deref().is_none_or(|t| t == MEMBER)
        };
        let hides =
            |rule: &Element| rule.event_type.as_deref().is_none_or(|wanted| wanted == MEMBER);
        !self.lazy_members && self.include.iter().any(all) && !self.exclude.iter().any(hides)
    }
}

/// What several lists and subscriptions require of one room: what any of them does.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Required {
    /// Sorted, each once.
    parts: Vec<Part>,
}

impl Required {
    pub(crate) fn of(mut part: Part) -> Self {
        part.include.sort();
        part.include.dedup();
        part.exclude.sort();
        part.exclude.dedup();
        Self { parts: vec![part] }
    }

    pub(crate) fn union<'a>(all: impl Iterator<Item = &'a Arc<Self>>) -> Self {
        let mut parts: Vec<_> = all.flat_map(|one| one.parts.iter().cloned()).collect();
        parts.sort();
        parts.dedup();
        Self { parts }
    }

    pub(crate) fn matches(&self, event_type: &str, state_key: &str) -> bool {
        self.parts.iter().any(|part| part.matches(event_type, state_key))
    }

    /// "if and only if a) any of the configs have `lazy_members` set to true AND b) there are no
    /// configs that return all membership events".
    pub(crate) fn loads_members_lazily(&self) -> bool {
        self.parts.iter().any(|part| part.lazy_members)
            && !self.parts.iter().any(Part::tells_all_members)
    }

    /// Whether members may match other than by name, so that all of them are to be looked at.
    pub(crate) fn wants_any_member(&self) -> bool {
        self.parts.iter().any(|part| {
            let any = |rule: &Element| {
                rule.state_key.is_none() && rule.event_type.as_deref().is_none_or(|t| t == MEMBER)
            };
            !part.lazy_members && part.include.iter().any(any)
        })
    }

    /// Members that are asked for by name.
    pub(crate) fn named_members(&self) -> impl Iterator<Item = &str> {
        let rules = self.parts.iter().flat_map(|part| part.include.iter());
        let of_members =
            rules.filter(|rule| rule.event_type.as_deref().is_none_or(|wanted| wanted == MEMBER));
        of_members.filter_map(|rule| rule.state_key.as_deref()).filter(|key| key.starts_with('@'))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Element, MEMBER, Part, Required};

    fn rule(event_type: Option<&str>, state_key: Option<&str>) -> Element {
        Element {
            event_type: event_type.map(str::to_owned),
            state_key: state_key.map(str::to_owned),
        }
    }

    fn part(include: &[Element], exclude: &[Element], lazy_members: bool) -> Required {
        Required::of(Part { include: include.to_vec(), exclude: exclude.to_vec(), lazy_members })
    }

    #[test]
    fn what_matches() {
        let everything = rule(None, None);
        let all = part(std::slice::from_ref(&everything), &[], false);
        let lazy = part(&[everything.clone(), rule(Some(MEMBER), Some("@a:x"))], &[], true);
        let but_create = part(std::slice::from_ref(&everything), &[rule(Some("c"), None)], false);
        let one_key = part(&[rule(None, Some("k"))], &[], false);
        for (name, required, event_type, key, expected) in [
            ("all", &all, MEMBER, "@b:x", true),
            ("lazy, other state", &lazy, "t", "", true),
            ("lazy, a member", &lazy, MEMBER, "@b:x", false),
            ("lazy, by name", &lazy, MEMBER, "@a:x", true),
            ("excluded", &but_create, "c", "", false),
            ("not excluded", &but_create, "d", "", true),
            ("one key of all types", &one_key, "t", "k", true),
            ("another key", &one_key, "t", "", false),
        ] {
            assert_eq!(required.matches(event_type, key), expected, "{name}");
        }
    }

    #[test]
    fn a_union_tells_what_any_part_does() {
        let lazy = Arc::new(part(&[rule(Some("t"), None)], &[], true));
        let but_t = Arc::new(part(&[rule(None, None)], &[rule(Some("t"), None)], false));
        let both = Required::union([&lazy, &but_t].into_iter());
        assert!(both.matches("t", "") && both.matches("u", ""));
        assert!(!both.loads_members_lazily());
        assert!(Required::union([&lazy, &lazy].into_iter()).loads_members_lazily());
        assert_eq!(Required::union([&lazy, &lazy].into_iter()), *lazy);
    }
}
