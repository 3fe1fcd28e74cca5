//! What of others a user does not want to see: `m.ignored_user_list`, and invites by
//! `m.invite_permission_config` and MSC4155.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use accounts::{Accounts, InvitePermission, InviteVerdict};
use ruma::{OwnedUserId, UserId};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{SyncError, changes::UserMark, service::Inner};

#[derive(Clone, Debug, Default)]
pub struct Unwanted {
    /// Whom the user ignores.
    pub users: BTreeSet<OwnedUserId>,
    invites: InvitePermission,
}

impl Unwanted {
    pub(crate) async fn load(accounts: &Accounts, user: &UserId) -> Result<Self, SyncError> {
        let content = accounts.account_data(user, None, "m.ignored_user_list").await?;
        let users = content.map(|content| parse_ignored(user, &content)).unwrap_or_default();
        Ok(Self { users, invites: accounts.invite_permission(user).await? })
    }

    /// "Servers must not send room invites from ignored users to clients", and those that the user
    /// blocks "MUST NOT be served over client synchronisation endpoints".
    pub fn hides_invite_of(&self, sender: Option<&UserId>) -> bool {
        let unwanted = |sender| {
            self.users.contains(sender) || self.invites.of(sender) != InviteVerdict::Allowed
        };
        self.invites.blocks_all() || sender.is_some_and(unwanted)
    }
}

/// Read again only when the user's account data moved.
pub(crate) async fn of(sync: &Inner, user: &UserMark) -> Result<Arc<Unwanted>, SyncError> {
    let moved = user.account_data.get();
    let known = user.unwanted.lock().clone();
    if let Some((_, unwanted)) = known.filter(|(at, _)| *at == moved) {
        return Ok(unwanted);
    }
    let unwanted = Arc::new(Unwanted::load(&sync.sources.accounts, &user.user_id).await?);
    *user.unwanted.lock() = Some((moved, Arc::clone(&unwanted)));
    Ok(unwanted)
}

/// What is not a list of users ignores nobody.
fn parse_ignored(user: &UserId, content: &RawValue) -> BTreeSet<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        ignored_users: BTreeMap<String, IgnoredAny>,
    }
    let content = serde_json::from_str::<Content>(content.get());
    let names = content.map(|content| content.ignored_users).unwrap_or_default();
    // Nothing may hide a user's own events from them.
    names
        .into_keys()
        .filter_map(|name| OwnedUserId::try_from(name).ok())
        .filter(|ignored| ignored != user)
        .collect()
}
