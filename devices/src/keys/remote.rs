//! Keys of other servers' users: the port through which they are asked for, and what of the answers
//! is believed.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ruma::{CanonicalJsonValue, OwnedUserId, UserId};

use super::{
    ClaimedKeys, Failures, KeysAnswer, KeysClaim, KeysQuery, ONE_TIME_KEY_BYTES_MAX, SignedJson,
    SigningKeys,
    cross_signing::{MASTER, SELF_SIGNING, check_signing_key, is_signed_by_master},
    signed::check_remote_device_keys,
};
use crate::{Devices, StoreError};

pub type RemoteFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Asks the servers of users, all at once, none for longer than `timeout`; who fails is named and
/// holds up nobody. Answers are bounded in size, and a server's answer is only about its own users;
/// what the keys say is checked here.
pub trait RemoteKeys: Send + Sync {
    /// `user_signing_keys` stays empty.
    fn query<'a>(&'a self, query: &'a KeysQuery, timeout: Duration)
    -> RemoteFuture<'a, KeysAnswer>;

    fn claim<'a>(
        &'a self,
        claim: &'a KeysClaim,
        timeout: Duration,
    ) -> RemoteFuture<'a, (ClaimedKeys, Failures)>;
}

impl Devices {
    /// Without it, remote users have no keys. Only the first call counts.
    pub fn set_remote_keys(&self, remote: Arc<dyn RemoteKeys>) {
        *self.inner.remote_keys.write() = Some(remote);
    }

    /// Others are asked no more. Whoever asks them holds these devices, and so the store: while
    /// each knows the other, the store is never closed in order.
    pub fn forget_remote_keys(&self) {
        *self.inner.remote_keys.write() = None;
    }

    pub(super) async fn query_remote(
        &self,
        query: KeysQuery,
        timeout: Duration,
        answer: &mut KeysAnswer,
    ) -> Result<(), StoreError> {
        let mut asked = KeysQuery::new();
        for (user_id, wanted) in query {
            if self.remote_list(&user_id).await?.is_some_and(|list| !list.outdated) {
                let devices = self.inner.store.remote_devices(&user_id).await?;
                let keys = self.inner.store.signing_keys(&user_id).await?;
                answer.add(&user_id, &wanted, devices, keys);
            } else {
                asked.insert(user_id, wanted);
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let Some(remote) = self.inner.remote_keys.read().clone() else {
            answer.failures.extend(nobody_asks(asked.keys()));
            return Ok(());
        };
        let told = remote.query(&asked, timeout).await;
        answer.failures.extend(told.failures.clone());
        answer.believe(&asked, told);
        Ok(())
    }

    pub(super) async fn claim_remote(
        &self,
        claim: KeysClaim,
        timeout: Duration,
    ) -> (ClaimedKeys, Failures) {
        if claim.is_empty() {
            return Default::default();
        }
        let Some(remote) = self.inner.remote_keys.read().clone() else {
            return (ClaimedKeys::new(), nobody_asks(claim.keys()));
        };
        let (mut claimed, failures) = remote.claim(&claim, timeout).await;
        claimed.retain(|user_id, devices| {
            let Some(asked) = claim.get(user_id) else { return false };
            devices.retain(|device_id, keys| {
                let algorithm = asked.get(device_id);
                keys.retain(|id, key| {
                    let of = id.split_once(':').map(|(algorithm, _)| algorithm);
                    of == algorithm.map(String::as_str) && is_small(key)
                });
                // One was asked for.
                keys.len() == 1
            });
            !devices.is_empty()
        });
        (claimed, failures)
    }
}

fn nobody_asks<'u>(users: impl Iterator<Item = &'u OwnedUserId>) -> Failures {
    let servers: BTreeSet<_> = users.map(|user_id| user_id.server_name()).collect();
    let why = "this server does not talk to others";
    servers.into_iter().map(|server| (server.to_owned(), why.to_owned())).collect()
}

fn is_small(key: &CanonicalJsonValue) -> bool {
    let length = serde_json::to_vec(key).map_or(usize::MAX, |json| json.len());
    length <= ONE_TIME_KEY_BYTES_MAX
}

impl KeysAnswer {
    fn believe(&mut self, asked: &KeysQuery, told: Self) {
        let mut told = told;
        for (user_id, wanted) in asked {
            let wanted: BTreeSet<_> = wanted.iter().collect();
            let devices = told.device_keys.remove(user_id).unwrap_or_default();
            let devices: BTreeMap<_, _> = devices
                .into_iter()
                .filter(|(device_id, keys)| {
                    (wanted.is_empty() || wanted.contains(device_id))
                        && check_remote_device_keys(keys, user_id, device_id.as_str()).is_ok()
                })
                .collect();
            if !devices.is_empty() {
                self.device_keys.insert(user_id.clone(), devices);
            }
            let keys = believed(
                user_id,
                told.master_keys.remove(user_id),
                told.self_signing_keys.remove(user_id),
            );
            self.master_keys.extend(keys.master.map(|key| (user_id.clone(), key)));
            self.self_signing_keys.extend(keys.self_signing.map(|key| (user_id.clone(), key)));
        }
    }
}

/// Of a remote user's cross-signing keys, those that are what they say.
pub(super) fn believed(
    user_id: &UserId,
    master: Option<SignedJson>,
    self_signing: Option<SignedJson>,
) -> SigningKeys {
    let master = master.filter(|key| check_signing_key(key, user_id, MASTER).is_ok());
    let self_signing = self_signing.filter(|key| {
        check_signing_key(key, user_id, SELF_SIGNING).is_ok()
            && master.as_ref().is_some_and(|master| is_signed_by_master(key, master, user_id))
    });
    SigningKeys { master, self_signing, user_signing: None }
}
