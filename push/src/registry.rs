//! All pushers in memory, so that an event asks no store who is to be told.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::RwLock;
use ruma::{OwnedUserId, UserId};

use crate::Pusher;

type ByUser = HashMap<OwnedUserId, Arc<[Arc<Pusher>]>>;

/// The pushers of each user who has any, in the order of app and key.
#[derive(Default)]
pub(crate) struct Registry {
    users: RwLock<ByUser>,
}

impl Registry {
    pub(crate) fn is_empty(&self) -> bool {
        self.users.read().is_empty()
    }

    pub(crate) fn of(&self, user: &UserId) -> Arc<[Arc<Pusher>]> {
        self.users.read().get(user).cloned().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Pusher>> {
        self.users.read().values().flat_map(|pushers| pushers.iter().cloned()).collect()
    }

    /// Those of the users who have any.
    pub(crate) fn among(
        &self,
        members: &BTreeSet<OwnedUserId>,
    ) -> Vec<(OwnedUserId, Arc<[Arc<Pusher>]>)> {
        let users = self.users.read();
        let with = |user: &OwnedUserId| Some((user.clone(), Arc::clone(users.get(user)?)));
        if members.len() <= users.len() {
            return members.iter().filter_map(with).collect();
        }
        users.keys().filter(|user| members.contains(*user)).filter_map(with).collect()
    }

    pub(crate) fn has(&self, user: &UserId) -> bool {
        self.users.read().contains_key(user)
    }

    pub(crate) fn get(&self, user: &UserId, app_id: &str, pushkey: &str) -> Option<Arc<Pusher>> {
        let users = self.users.read();
        let found = |pusher: &&Arc<Pusher>| pusher.app_id == app_id && pusher.pushkey == pushkey;
        users.get(user)?.iter().find(found).cloned()
    }

    /// By its own id: `None` once it was removed, also if there is another with its key.
    pub(crate) fn current(&self, pusher: &Pusher) -> Option<Arc<Pusher>> {
        let current = self.get(&pusher.user_id, &pusher.app_id, &pusher.pushkey)?;
        (current.id == pusher.id).then_some(current)
    }

    pub(crate) fn insert(&self, pusher: Arc<Pusher>) {
        self.change(&pusher.user_id.clone(), |pushers| {
            pushers.retain(|other| !is_same(other, &pusher));
            pushers.push(pusher);
            pushers.sort_by(|a, b| (&a.app_id, &a.pushkey).cmp(&(&b.app_id, &b.pushkey)));
        });
    }

    pub(crate) fn remove(&self, pusher: &Pusher) {
        self.change(&pusher.user_id, |pushers| pushers.retain(|other| !is_same(other, pusher)));
    }

    fn change(&self, user: &UserId, change: impl FnOnce(&mut Vec<Arc<Pusher>>)) {
        let mut users = self.users.write();
        let mut pushers = users.get(user).map(|pushers| pushers.to_vec()).unwrap_or_default();
        change(&mut pushers);
        if pushers.is_empty() {
            users.remove(user);
        } else {
            users.insert(user.to_owned(), pushers.into());
        }
    }
}

fn is_same(one: &Pusher, other: &Pusher) -> bool {
    one.app_id == other.app_id && one.pushkey == other.pushkey
}
