//! How many rules a user may have, and how large: each event is put to them.

use ruma::push::{ConditionalPushRule, PushCondition, Ruleset};

/// Of all kinds; there may be one for each room.
const RULES_MAX: usize = 10_000;
/// Of the kinds that are gone through one by one: override, content and underride.
const SEARCHED_MAX: usize = 1_000;
const CONDITIONS_MAX: usize = 32;
const RULE_ID_BYTES_MAX: usize = 300;
const PATTERN_BYTES_MAX: usize = 1024;
/// Of all patterns with wildcards together, which are the dear ones.
const GLOB_BYTES_MAX: usize = 8 << 10;

/// Whether they are few and small enough.
pub(super) fn are_kept(rules: &Ruleset) -> bool {
    let conditional = || rules.override_.iter().chain(&rules.underride);
    let searched = rules.content.len() + conditional().count();
    let ids = conditional().map(|rule| rule.rule_id.as_str());
    let ids = ids.chain(rules.content.iter().map(|rule| rule.rule_id.as_str()));
    let patterns = || conditional().flat_map(patterns_of).chain(content_patterns(rules));
    let is_glob = |pattern: &&str| pattern.contains(['*', '?']);
    searched <= SEARCHED_MAX
        && searched + rules.room.len() + rules.sender.len() <= RULES_MAX
        && conditional().all(|rule| rule.conditions.len() <= CONDITIONS_MAX)
        && { ids }.all(|id| id.len() <= RULE_ID_BYTES_MAX)
        && patterns().all(|pattern| pattern.len() <= PATTERN_BYTES_MAX)
        && patterns().filter(is_glob).map(str::len).sum::<usize>() <= GLOB_BYTES_MAX
}

fn content_patterns(rules: &Ruleset) -> impl Iterator<Item = &str> {
    rules.content.iter().map(|rule| rule.pattern.as_str())
}

fn patterns_of(rule: &ConditionalPushRule) -> impl Iterator<Item = &str> {
    rule.conditions.iter().filter_map(|condition| match condition {
        PushCondition::EventMatch(wanted) => Some(wanted.pattern.as_str()),
        _ => None,
    })
}
