//! The rules of users who changed some, in groups of those who have the same: many change one thing
//! that many others change.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Weak},
};

use quick_cache::sync::Cache;
use ruma::{OwnedUserId, UserId, push::Ruleset};

use super::{
    matching::{is_personal, patterns_cost},
    rules::wants_display_name,
};

/// Users of whom it is known which group they are in.
const USERS_KEPT: usize = 50_000;

/// What need not be worked out for each event.
pub(super) struct Own {
    rules: Weak<Ruleset>,
    /// The same for those whose rules differ at most in those that name their user; `None` if others
    /// do too.
    pub(super) group: Option<u64>,
    /// What it takes to put a short event to the rules.
    pub(super) cost: usize,
}

pub(super) struct OwnRules {
    users: Cache<OwnedUserId, Arc<Own>>,
    /// Of a seed that nobody knows: rules cannot be made to fall into another's group.
    hasher: RandomState,
}

impl OwnRules {
    pub(super) fn new() -> Self {
        Self { users: Cache::new(USERS_KEPT), hasher: RandomState::new() }
    }

    pub(super) fn of(&self, user: &UserId, rules: &Arc<Ruleset>) -> Arc<Own> {
        let known = self.users.get(user);
        if let Some(known) = known.filter(|known| known.rules.as_ptr() == Arc::as_ptr(rules)) {
            return known;
        }
        let own = Arc::new(Own {
            rules: Arc::downgrade(rules),
            group: (!wants_display_name(rules)).then(|| self.group(rules)),
            cost: patterns_cost(rules),
        });
        self.users.insert(user.to_owned(), Arc::clone(&own));
        own
    }

    fn group(&self, rules: &Ruleset) -> u64 {
        let mut rules = rules.clone();
        rules.override_.retain(|rule| !is_personal(&rule.rule_id));
        let json = serde_json::to_vec(&rules).expect("push rules serialise");
        self.hasher.hash_one(json)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ruma::{
        UserId,
        push::{Action, NewPatternedPushRule, NewPushRule, Ruleset},
        user_id,
    };

    use super::OwnRules;

    fn with_word(user: &UserId, word: &str) -> Arc<Ruleset> {
        let mut rules = Ruleset::server_default(user);
        let rule = NewPatternedPushRule::new("w".to_owned(), word.to_owned(), vec![Action::Notify]);
        rules.insert(NewPushRule::Content(rule), None, None).expect("a valid rule");
        Arc::new(rules)
    }

    #[test]
    fn those_who_have_the_same_rules_are_one_group() {
        let own = OwnRules::new();
        let (ada, bob) = (user_id!("@ada:x.test"), user_id!("@bob:x.test"));
        let of_ada = with_word(ada, "ferry");
        let group = own.of(ada, &of_ada).group.expect("a group");
        assert_eq!(own.of(bob, &with_word(bob, "ferry")).group, Some(group));
        assert_ne!(own.of(bob, &with_word(bob, "pier")).group, Some(group), "they were changed");
        assert!(Arc::ptr_eq(&own.of(ada, &of_ada), &own.of(ada, &of_ada)), "worked out once");
    }
}
