//! Push rules: kept as the account data `m.push_rules`, parsed once.

mod bounds;
mod defaults;
mod elsewhere;
mod silenced;

use std::sync::Arc;

use ruma::{UserId, push::Ruleset};
use serde::Deserialize;
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

pub use self::{
    defaults::{CONTAINS_DISPLAY_NAME, CONTAINS_USER_NAME, ROOM_NOTIF},
    elsewhere::{push_rule_id, push_rules_to_json, shown_push_rule_id},
};
use crate::{Accounts, StoreError, account_data::CONTENT_BYTES_MAX};

pub(crate) const PUSH_RULES: &str = "m.push_rules";

#[derive(Debug, thiserror::Error)]
pub enum PushRulesError<E> {
    /// What the change itself returned; nothing was stored.
    #[error("the push rules were not changed")]
    Refused(E),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the push rules are too many or too large")]
    TooLarge,
}

/// `None` if there are no rules but the server's defaults.
fn parse(content: Option<&str>, defaults: impl FnOnce() -> Ruleset) -> Option<Ruleset> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        global: &'a RawValue,
    }
    let Content { global } = serde_json::from_str(content?).ok()?;
    let mut rules = elsewhere::from_json(global)?;
    // Rules that became predefined since, and texts of rules that changed.
    rules.update_with_server_default(defaults());
    Some(rules)
}

fn write(rules: &Ruleset) -> Box<RawValue> {
    let content = json!({ "global": push_rules_to_json(rules) });
    to_raw_value(&content).expect("push rules serialise")
}

impl Accounts {
    /// The user's rules; the server's defaults for who never changed them.
    pub async fn push_rules(&self, user_id: &UserId) -> Result<Arc<Ruleset>, StoreError> {
        let own = self.own_push_rules(user_id).await?;
        Ok(own.unwrap_or_else(|| Arc::new(self.default_rules_of(user_id))))
    }

    /// The rules of a user who never changed any.
    pub fn default_rules_of(&self, user_id: &UserId) -> Ruleset {
        defaults::of(user_id, self.inner.config.legacy_mentions)
    }

    /// `None` for who never changed them, which are most users.
    pub async fn own_push_rules(
        &self,
        user_id: &UserId,
    ) -> Result<Option<Arc<Ruleset>>, StoreError> {
        let inner = &self.inner;
        if let Some(rules) = inner.push_rules.get(user_id) {
            return Ok(rules);
        }
        // Under the lock, so that no older rules are remembered after a change.
        let _lock = inner.lock(user_id).await;
        let record = inner.store.latest_account_data(user_id, None, PUSH_RULES).await?;
        let content = record.as_ref().map(|record| record.content.as_str());
        let rules = parse(content, || self.default_rules_of(user_id)).map(Arc::new);
        inner.push_rules.insert(user_id.to_owned(), rules.clone());
        Ok(rules)
    }

    /// Reads, changes and stores the rules while nobody else can.
    pub async fn change_push_rules<E: Send>(
        &self,
        user_id: &UserId,
        change: impl FnOnce(&mut Ruleset) -> Result<(), E> + Send,
    ) -> Result<(), PushRulesError<E>> {
        let cache = &self.inner.push_rules;
        let change = |content: Option<&str>| {
            let defaults = || self.default_rules_of(user_id);
            let mut rules = parse(content, defaults).unwrap_or_else(defaults);
            change(&mut rules).map_err(PushRulesError::Refused)?;
            if !bounds::are_kept(&rules) {
                return Err(PushRulesError::TooLarge);
            }
            let json = write(&rules);
            if json.get().len() > CONTENT_BYTES_MAX {
                return Err(PushRulesError::TooLarge);
            }
            cache.insert(user_id.to_owned(), Some(Arc::new(rules)));
            Ok(Some(json))
        };
        self.change_account_data(user_id, None, PUSH_RULES, change).await?;
        Ok(())
    }

    pub(crate) fn default_push_rules(&self, user_id: &UserId) -> Arc<RawValue> {
        Arc::from(write(&self.default_rules_of(user_id)))
    }
}
