//! One set of rules and one event.
//!
//! The kinds of rules are gone through here, and patterns are matched by `glob.rs`: ruma's own way
//! compares a room with each of a user's room rules, lowers the case of a text for each pattern, and
//! recurses once for each word of it.

use std::collections::BTreeSet;

use accounts::{CONTAINS_DISPLAY_NAME, CONTAINS_USER_NAME, ROOM_NOTIF};
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
    body::{Body, lower},
    glob::matches_all,
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
    body: Option<Body>,
    /// Whether it says whom it mentions; then its text does not count as mentioning anybody.
    has_mentions: bool,
    /// Bytes of memory, about.
    pub(super) weight: u64,
    /// Who has a default rule of their own that may match.
    pub(super) concerned: BTreeSet<String>,
}

impl Prepared {
    /// `None` for what old room versions allow and a JSON value cannot hold, such as `1e999`: the
    /// conversion below would not survive it.
    pub(super) fn new(event: &StoredEvent) -> Option<Self> {
        let json = event.pdu.json();
        let bytes = json.len();
        let value = serde_json::from_slice::<serde_json::Value>(json).ok()?;
        let has_mentions = value.pointer("/content/m.mentions").is_some();
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
        let body = flattened.get_str(BODY).map(Body::new);
        // Each value stands in the flattened form once, under its path.
        let weight = 2 * bytes + body.as_ref().map_or(0, Body::weight) + 500;
        let sender = event.pdu.sender().to_string();
        Some(Self { flattened, sender, body, has_mentions, weight: weight as u64, concerned })
    }

    /// Whether the default rules of old that look for names have a text to look at.
    pub(super) fn may_name_somebody(&self) -> bool {
        self.body.is_some() && !self.has_mentions
    }

    /// Whether it takes long to put the event to rules of that cost: many patterns, or many
    /// wildcards, and a long text.
    pub(super) fn is_long_for(&self, cost: usize) -> bool {
        let kibibytes = 1 + self.body.as_ref().map_or(0, Body::len) / 1024;
        cost.saturating_mul(kibibytes) > LONG
    }

    /// Which of the rules' conditions are met, by the ids of the rules. None of them is about the
    /// user whose rules they are.
    pub(super) async fn met(&self, rules: &Ruleset, context: &PushConditionRoomCtx) -> Vec<String> {
        let mut met = Vec::new();
        for rule in rules.override_.iter().chain(&rules.underride) {
            if self.meets_all(rule, context).await {
                met.push(rule.rule_id.clone());
            }
        }
        met
    }

    /// The actions of the rule that matches first, if they notify. `met` is of the default rules
    /// that do not name their user; `is_concerned` tells whether the user is in `concerned`. Never
    /// asked for the sender.
    pub(super) async fn verdict<'a>(
        &self,
        rules: &'a Ruleset,
        met: &[String],
        is_concerned: bool,
        context: &PushConditionRoomCtx,
    ) -> Option<&'a [Action]> {
        let found = self.matching(rules, met, is_concerned, context).await?;
        found.iter().any(Action::should_notify).then_some(found)
    }

    async fn matching<'a>(
        &self,
        rules: &'a Ruleset,
        met: &[String],
        is_concerned: bool,
        context: &PushConditionRoomCtx,
    ) -> Option<&'a [Action]> {
        let conditional = rules.override_.iter();
        if let Some(actions) = self.first(conditional, met, is_concerned, context).await {
            return Some(actions);
        }
        let mut content =
            rules.content.iter().filter(|rule| rule.enabled && !self.is_told(&rule.rule_id));
        if let Some(rule) = content.find(|rule| self.body_has(&rule.pattern)) {
            return Some(&rule.actions);
        }
        let of_room = rules.room.get(context.room_id.as_str()).filter(|rule| rule.enabled);
        if let Some(rule) = of_room {
            return Some(&rule.actions);
        }
        let of_sender = rules.sender.get(self.sender.as_str()).filter(|rule| rule.enabled);
        if let Some(rule) = of_sender {
            return Some(&rule.actions);
        }
        self.first(rules.underride.iter(), met, is_concerned, context).await
    }

    async fn first<'a>(
        &self,
        rules: impl Iterator<Item = &'a ConditionalPushRule>,
        met: &[String],
        is_concerned: bool,
        context: &PushConditionRoomCtx,
    ) -> Option<&'a [Action]> {
        for rule in rules.filter(|rule| rule.enabled) {
            let matches = match rule.default {
                true if self.is_told(&rule.rule_id) => false,
                true if rule.rule_id == CONTAINS_DISPLAY_NAME => {
                    self.meets_all(rule, context).await
                }
                true if !is_personal(&rule.rule_id) => met.contains(&rule.rule_id),
                true if !is_concerned => false,
                _ => self.meets_all(rule, context).await,
            };
            if matches {
                return Some(&rule.actions);
            }
        }
        None
    }

    /// Whether the event says itself what the rule would look for in the text.
    fn is_told(&self, rule_id: &str) -> bool {
        let of_old = [CONTAINS_DISPLAY_NAME, CONTAINS_USER_NAME, ROOM_NOTIF];
        self.has_mentions && of_old.contains(&rule_id)
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

    pub(super) fn body_has(&self, pattern: &str) -> bool {
        self.body.as_ref().is_some_and(|body| body.has(pattern))
    }
}

/// What it takes to compare the rules' patterns with a short text.
pub(super) fn patterns_cost(rules: &Ruleset) -> usize {
    let conditional = rules.override_.iter().chain(&rules.underride);
    let in_conditions = conditional.filter(|rule| !rule.default).flat_map(|rule| &rule.conditions);
    let in_conditions = in_conditions.filter_map(|condition| match condition {
        PushCondition::EventMatch(wanted) => Some(wanted.pattern.as_str()),
        _ => None,
    });
    let patterns = in_conditions.chain(rules.content.iter().map(|rule| rule.pattern.as_str()));
    patterns.map(|pattern| if pattern.contains(['*', '?']) { GLOB_COST } else { 1 }).sum()
}

/// Whether a default rule is another for each user.
pub(super) fn is_personal(rule_id: &str) -> bool {
    let personal = [PredefinedOverrideRuleId::InviteForMe, PredefinedOverrideRuleId::IsUserMention];
    personal.iter().any(|id| id.as_str() == rule_id) || rule_id == CONTAINS_DISPLAY_NAME
}

fn has(text: &str, pattern: &str) -> bool {
    matches_all(&lower(text), &lower(pattern))
}
