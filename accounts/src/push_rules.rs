//! Push rules: kept as the account data `m.push_rules`, parsed once.

mod bounds;
mod silenced;

use std::sync::Arc;

use ruma::{UserId, push::Ruleset};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

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

#[derive(Serialize, Deserialize)]
struct Content {
    global: Ruleset,
}

/// `None` if there are no rules but the server's defaults.
fn parse(user_id: &UserId, content: Option<&str>) -> Option<Ruleset> {
    let Content { mut global } = serde_json::from_str(content?).ok()?;
    // Rules that became predefined since, and texts of rules that changed.
    global.update_with_server_default(Ruleset::server_default(user_id));
    Some(global)
}

impl Accounts {
    /// The user's rules; the server's defaults for who never changed them.
    pub async fn push_rules(&self, user_id: &UserId) -> Result<Arc<Ruleset>, StoreError> {
        let own = self.own_push_rules(user_id).await?;
        Ok(own.unwrap_or_else(|| Arc::new(Ruleset::server_default(user_id))))
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
        let rules = parse(user_id, record.as_ref().map(|record| record.content.as_str()));
        let rules = rules.map(Arc::new);
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
            let mut rules =
                parse(user_id, content).unwrap_or_else(|| Ruleset::server_default(user_id));
            change(&mut rules).map_err(PushRulesError::Refused)?;
            if !bounds::are_kept(&rules) {
                return Err(PushRulesError::TooLarge);
            }
            let content = Content { global: rules };
            let json = to_raw_value(&content).expect("push rules serialise");
            if json.get().len() > CONTENT_BYTES_MAX {
                return Err(PushRulesError::TooLarge);
            }
            cache.insert(user_id.to_owned(), Some(Arc::new(content.global)));
            Ok(Some(json))
        };
        self.change_account_data(user_id, None, PUSH_RULES, change).await?;
        Ok(())
    }

    pub(crate) fn default_push_rules(&self, user_id: &UserId) -> Arc<RawValue> {
        let content = Content { global: Ruleset::server_default(user_id) };
        Arc::from(to_raw_value(&content).expect("push rules serialise"))
    }
}
