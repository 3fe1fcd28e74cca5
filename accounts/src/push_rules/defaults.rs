//! The server's default rules, with those of old for mentions where the operator wants them.

use ruma::{
    UserId,
    power_levels::NotificationPowerLevelsKey,
    push::{
        Action, ConditionalPushRule, ConditionalPushRuleInit, EventMatchConditionData,
        HighlightTweakValue, PatternedPushRuleInit, PredefinedOverrideRuleId, PushCondition,
        Ruleset, SenderNotificationPermissionConditionData, SoundTweakValue, Tweak,
    },
};

/// Rules that look for mentions in the text. Removed in version 1.17 of the specification; none of
/// them is met by an event that has `m.mentions`.
pub const CONTAINS_DISPLAY_NAME: &str = ".m.rule.contains_display_name";
/// See [`CONTAINS_DISPLAY_NAME`].
pub const CONTAINS_USER_NAME: &str = ".m.rule.contains_user_name";
/// See [`CONTAINS_DISPLAY_NAME`].
pub const ROOM_NOTIF: &str = ".m.rule.roomnotif";

pub(super) fn of(user_id: &UserId, legacy_mentions: bool) -> Ruleset {
    let mut rules = Ruleset::server_default(user_id);
    if legacy_mentions {
        insert_after(&mut rules, PredefinedOverrideRuleId::IsUserMention, contains_display_name());
        insert_after(&mut rules, PredefinedOverrideRuleId::IsRoomMention, room_notif());
        let rule = PatternedPushRuleInit {
            actions: loud(),
            default: true,
            enabled: true,
            rule_id: CONTAINS_USER_NAME.to_owned(),
            pattern: user_id.localpart().to_owned(),
        };
        rules.content.insert(rule.into());
    }
    rules
}

fn insert_after(rules: &mut Ruleset, id: PredefinedOverrideRuleId, rule: ConditionalPushRuleInit) {
    let place = rules.override_.get_index_of(id.as_str());
    let index = place.map_or(rules.override_.len(), |place| place + 1);
    rules.override_.shift_insert(index, ConditionalPushRule::from(rule));
}

fn loud() -> Vec<Action> {
    let sound = Action::SetTweak(Tweak::Sound(SoundTweakValue::Default));
    vec![Action::Notify, sound, highlight()]
}

fn highlight() -> Action {
    Action::SetTweak(Tweak::Highlight(HighlightTweakValue::Yes))
}

#[expect(deprecated, reason = "the condition is deprecated as the rule is")]
fn contains_display_name() -> ConditionalPushRuleInit {
    ConditionalPushRuleInit {
        actions: loud(),
        default: true,
        enabled: true,
        rule_id: CONTAINS_DISPLAY_NAME.to_owned(),
        conditions: vec![PushCondition::ContainsDisplayName],
    }
}

fn room_notif() -> ConditionalPushRuleInit {
    let text = EventMatchConditionData::new("content.body".to_owned(), "@room".to_owned());
    let level = SenderNotificationPermissionConditionData::new(NotificationPowerLevelsKey::Room);
    ConditionalPushRuleInit {
        actions: vec![Action::Notify, highlight()],
        default: true,
        enabled: true,
        rule_id: ROOM_NOTIF.to_owned(),
        conditions: vec![
            PushCondition::EventMatch(text),
            PushCondition::SenderNotificationPermission(level),
        ],
    }
}
