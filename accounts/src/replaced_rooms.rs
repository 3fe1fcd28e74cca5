//! What users have said of a room that is replaced holds for its replacement.

use std::collections::BTreeMap;

use ruma::{
    OwnedRoomId, RoomId, UserId,
    push::{NewPushRule, NewSimplePushRule, RuleKind},
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use crate::{AccountDataError, Accounts, PushRulesError, StoreError};

const DIRECT: &str = "m.direct";

type Direct = BTreeMap<String, Value>;

/// Puts the new room beside the old one. `None` if there is nothing to change.
fn with_replacement(content: &str, old: &RoomId, new: &RoomId) -> Option<Box<RawValue>> {
    let mut direct: Direct = serde_json::from_str(content).ok()?;
    let mut changed = false;
    for rooms in direct.values_mut().filter_map(Value::as_array_mut) {
        let has = |room: &RoomId| rooms.iter().any(|listed| listed == room.as_str());
        if has(old) && !has(new) {
            rooms.push(Value::from(new.as_str()));
            changed = true;
        }
    }
    changed.then(|| to_raw_value(&direct).ok()).flatten()
}

impl Accounts {
    /// Gives `new` the tags, the push rule and the place in `m.direct` of `old`, which it
    /// replaces. What the user has said of the new room already stays.
    pub async fn carry_over(
        &self,
        user_id: &UserId,
        old: &RoomId,
        new: &RoomId,
    ) -> Result<(), AccountDataError> {
        let tags = self.tags(user_id, old).await?;
        if !tags.is_empty() && self.tags(user_id, new).await?.is_empty() {
            self.change_tags(user_id, new, |now| {
                if now.is_empty() {
                    *now = tags;
                }
            })
            .await?;
        }
        let direct = self.account_data(user_id, None, DIRECT).await?;
        if direct.is_some_and(|direct| with_replacement(direct.get(), old, new).is_some()) {
            let change = |content: Option<&str>| {
                let kept = || content.and_then(|content| serde_json::from_str(content).ok());
                let moved = content.and_then(|content| with_replacement(content, old, new));
                Ok::<_, AccountDataError>(moved.or_else(kept))
            };
            self.change_account_data(user_id, None, DIRECT, change).await?;
        }
        Ok(self.carry_push_rule_over(user_id, old, new).await?)
    }

    async fn carry_push_rule_over(
        &self,
        user_id: &UserId,
        old: &RoomId,
        new: &RoomId,
    ) -> Result<(), StoreError> {
        let rules = self.push_rules(user_id).await?;
        let Some(rule) = rules.get(RuleKind::Room, old) else { return Ok(()) };
        if rules.get(RuleKind::Room, new).is_some() {
            return Ok(());
        }
        let new: OwnedRoomId = new.to_owned();
        let rule = NewPushRule::Room(NewSimplePushRule::new(new, rule.actions().to_vec()));
        match self.change_push_rules(user_id, |rules| rules.insert(rule, None, None)).await {
            Err(PushRulesError::Store(error)) => Err(error),
            // A set of rules that is full has no room for one more.
            Ok(()) | Err(PushRulesError::Refused(_) | PushRulesError::TooLarge) => Ok(()),
        }
    }
}
