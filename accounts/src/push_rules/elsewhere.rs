//! Room rules of which the id is not a room's, such as an alias.
//!
//! No event meets them, and clients that set them, as Synapse lets them, find them again. Inside they
//! have ids that no client gives.

use ruma::push::{RuleKind, Ruleset};
use serde_json::{Value, value::RawValue};

/// In front of such an id, which makes it the id of a room that does not exist.
const MARK: &str = "!\u{1}";

/// The id under which a [`Ruleset`] has the rule that clients call `rule_id`.
pub fn push_rule_id(kind: &RuleKind, rule_id: &str) -> String {
    // What begins with a dot is the server's own.
    let is_elsewhere = *kind == RuleKind::Room && !rule_id.starts_with(['!', '.']);
    if is_elsewhere { format!("{MARK}{rule_id}") } else { rule_id.to_owned() }
}

/// What clients call the rule.
pub fn shown_push_rule_id(rule_id: &str) -> &str {
    rule_id.strip_prefix(MARK).unwrap_or(rule_id)
}

/// The rules as clients see them.
pub fn push_rules_to_json(rules: &Ruleset) -> Value {
    let mut json = serde_json::to_value(rules).expect("push rules serialise");
    for id in room_rule_ids(&mut json) {
        *id = shown_push_rule_id(id).to_owned();
    }
    json
}

pub(super) fn from_json(rules: &RawValue) -> Option<Ruleset> {
    // Nearly all.
    if let Ok(rules) = serde_json::from_str(rules.get()) {
        return Some(rules);
    }
    let mut json: Value = serde_json::from_str(rules.get()).ok()?;
    for id in room_rule_ids(&mut json) {
        *id = push_rule_id(&RuleKind::Room, id);
    }
    serde_json::from_value(json).ok()
}

fn room_rule_ids(rules: &mut Value) -> impl Iterator<Item = &mut String> {
    let rules = rules.get_mut("room").and_then(Value::as_array_mut).into_iter().flatten();
    rules.filter_map(|rule| match rule.get_mut("rule_id") {
        Some(Value::String(id)) => Some(id),
        _ => None,
    })
}
