//! One set of rules and one event.
//!
//! The kinds of rules are gone through here, and patterns are matched by `glob.rs`: ruma's own way
//! compares a room with each of a user's room rules, lowers the case of a text for each pattern, and
//! recurses once for each word of it.

use std::collections::BTreeSet;

use rooms::StoredEvent;
use ruma::{
    push::{
        Action, ConditionalPushRule, FlattenedJson, PredefinedOverrideRuleId, PushCondition,
        PushConditionRoomCtx, Ruleset,
    },
    serde::Raw,
};
use serde_json::value::RawValue;

use super::{
    glob::{matches_all, matches_words},
    rules::Verdict,
};

/// Compared with a pattern without wildcards.
const GLOB_COST: usize = 20;
/// Patterns put to a kibibyte of text, some microseconds each in the worst case.
const LONG: usize = 200;
const BODY: &str = "content.body";

/// An event as rules look at it.
pub(super) struct Prepared {
    flattened: FlattenedJson,
    sender: String,
    /// In lower case.
    body: Option<String>,
    /// Who has a default rule of their own that may match.
    pub(super) concerned: BTreeSet<String>,
}

impl Prepared {
    /// `None` for what old room versions allow and a JSON value cannot hold, such as `1e999`: the
    /// conversion below would not survive it.
    pub(super) fn new(event: &StoredEvent) -> Option<Self> {
        let json = event.pdu.json();
        let value = serde_json::from_slice::<serde_json::Value>(json).ok()?;
        let mentioned = value.pointer("/content/m.mentions/user_ids");
        let mentioned = mentioned.and_then(|ids| ids.as_array()).into_iter().flatten();
        let mut concerned: BTreeSet<_> =
            mentioned.filter_map(|id| id.as_str()).map(str::to_owned).collect();
        if event.pdu.event_type() == "m.room.member" {
            concerned.extend(event.pdu.state_key().map(str::to_owned));
        }
        let json = std::str::from_utf8(json).ok()?.to_owned();
        let raw = RawValue::from_string(json).ok()?;
        let flattened = FlattenedJson::from_raw(&Raw::<serde_json::Value>::from_json(raw));
        let body = flattened.get_str(BODY).map(str::to_lowercase);
        Some(Self { flattened, sender: event.pdu.sender().to_string(), body, concerned })
    }

    /// Whether it takes long to put the event to the rules: many patterns, or many wildcards, and a
    /// long text.
    pub(super) fn is_long_for(&self, rules: &Ruleset) -> bool {
        let conditional = rules.override_.iter().chain(&rules.underride);
        let in_conditions =
            conditional.filter(|rule| !rule.default).flat_map(|rule| &rule.conditions);
        let in_conditions = in_conditions.filter_map(|condition| match condition {
            PushCondition::EventMatch(wanted) => Some(wanted.pattern.as_str()),
            _ => None,
        });
        let patterns = in_conditions.chain(rules.content.iter().map(|rule| rule.pattern.as_str()));
        let cost = |pattern: &str| if pattern.contains(['*', '?']) { GLOB_COST } else { 1 };
        let kibibytes = 1 + self.body.as_ref().map_or(0, String::len) / 1024;
        patterns.map(cost).sum::<usize>() * kibibytes > LONG
    }

    /// Which of the rules' conditions are met, by the ids of the rules.
    pub(super) async fn met(&self, rules: &Ruleset, context: &PushConditionRoomCtx) -> Vec<String> {
        let mut met = Vec::new();
        for rule in rules.override_.iter().chain(&rules.underride) {
            if self.meets_all(rule, context).await {
                met.push(rule.rule_id.clone());
            }
        }
        met
    }

    /// Of the rule that matches first. `met` is of the default rules that do not name their user.
    /// Never asked for the sender.
    pub(super) async fn verdict(
        &self,
        rules: &Ruleset,
        met: &[String],
        context: &PushConditionRoomCtx,
    ) -> Verdict {
        if let Some(actions) = self.first(rules.override_.iter(), met, context).await {
            return notifying(actions);
        }
        let mut content = rules.content.iter().filter(|rule| rule.enabled);
        if let Some(rule) = content.find(|rule| self.body_has(&rule.pattern)) {
            return notifying(&rule.actions);
        }
        let of_room = rules.room.get(context.room_id.as_str()).filter(|rule| rule.enabled);
        if let Some(rule) = of_room {
            return notifying(&rule.actions);
        }
        let of_sender = rules.sender.get(self.sender.as_str()).filter(|rule| rule.enabled);
        if let Some(rule) = of_sender {
            return notifying(&rule.actions);
        }
        self.first(rules.underride.iter(), met, context).await.and_then(notifying)
    }

    async fn first<'a>(
        &self,
        rules: impl Iterator<Item = &'a ConditionalPushRule>,
        met: &[String],
        context: &PushConditionRoomCtx,
    ) -> Option<&'a [Action]> {
        for rule in rules.filter(|rule| rule.enabled) {
            let matches = match rule.default {
                true if !is_personal(&rule.rule_id) => met.contains(&rule.rule_id),
                true if !self.concerned.contains(context.user_id.as_str()) => false,
                _ => self.meets_all(rule, context).await,
            };
            if matches {
                return Some(&rule.actions);
            }
        }
        None
    }

    async fn meets_all(&self, rule: &ConditionalPushRule, context: &PushConditionRoomCtx) -> bool {
        for condition in &rule.conditions {
            if !self.meets(condition, context).await {
                return false;
            }
        }
        true
    }

    #[expect(deprecated, reason = "a condition of old, which clients may have kept")]
    async fn meets(&self, condition: &PushCondition, context: &PushConditionRoomCtx) -> bool {
        match condition {
            PushCondition::ContainsDisplayName => self.body_has(&context.user_display_name),
            PushCondition::EventMatch(wanted) => match wanted.key.as_str() {
                BODY => self.body_has(&wanted.pattern),
                "room_id" => has(context.room_id.as_str(), &wanted.pattern),
                key => self.flattened.get_str(key).is_some_and(|text| has(text, &wanted.pattern)),
            },
            other => other.applies(&self.flattened, context).await,
        }
    }

    fn body_has(&self, pattern: &str) -> bool {
        self.body.as_ref().is_some_and(|body| matches_words(body, &pattern.to_lowercase()))
    }
}

/// Whether a default rule is another for each user.
pub(super) fn is_personal(rule_id: &str) -> bool {
    let personal = [PredefinedOverrideRuleId::InviteForMe, PredefinedOverrideRuleId::IsUserMention];
    personal.iter().any(|id| id.as_str() == rule_id)
}

fn has(text: &str, pattern: &str) -> bool {
    matches_all(&text.to_lowercase(), &pattern.to_lowercase())
}

fn notifying(actions: &[Action]) -> Verdict {
    actions.iter().any(Action::should_notify).then(|| actions.into())
}
