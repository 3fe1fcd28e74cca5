//! `POST /keys/claim`: one-time keys, each given out once ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim

use std::{collections::BTreeMap, time::Duration};

use ruma::{CanonicalJsonValue, OwnedDeviceId, UserId};

use super::{ClaimedKeys, Failures, KeysClaim};
use crate::{Devices, StoreError, store::OneTimeKeys};

/// What a claim takes from one user.
type OfUser = BTreeMap<OwnedDeviceId, BTreeMap<String, CanonicalJsonValue>>;

impl Devices {
    /// Keys of local and remote users. Keys of servers that do not answer within `timeout` are
    /// missing, and the servers are named.
    pub async fn claim_keys(
        &self,
        requester: &UserId,
        claim: KeysClaim,
        timeout: Duration,
    ) -> Result<(ClaimedKeys, Failures), StoreError> {
        let server = requester.server_name();
        let (local, remote): (KeysClaim, KeysClaim) =
            claim.into_iter().partition(|(user_id, _)| user_id.server_name() == server);
        let mut claimed = self.claim_local_keys(&local).await?;
        let (of_others, failures) = self.claim_remote(remote, timeout).await;
        claimed.extend(of_others);
        Ok((claimed, failures))
    }

    /// Keys of users of this server, for whoever asks. What is returned is returned to nobody else:
    /// that is on the disk by then. Devices that have no key of the algorithm are left out.
    pub async fn claim_local_keys(&self, claim: &KeysClaim) -> Result<ClaimedKeys, StoreError> {
        let mut claimed = ClaimedKeys::new();
        let mut pending = Vec::new();
        for (user_id, devices) in claim {
            let inner = &self.inner;
            let _lock = inner.lock(user_id).await;
            let mut of_user = OfUser::new();
            for (device_id, algorithm) in devices {
                let mut keys = inner.store.latest_one_time_keys(user_id, device_id).await?;
                let Some(taken) = take(&mut keys, algorithm) else { continue };
                let body = match taken.body {
                    Some(body) => Some(body),
                    None => inner.store.latest_one_time_key(user_id, device_id, &taken.id).await?,
                };
                if taken.changes {
                    let gone = taken.is_one_time.then_some(taken.id.as_str());
                    pending.push(inner.store.put_claimed(user_id, device_id, &keys, gone)?);
                }
                let key = body.and_then(|body| serde_json::from_slice(&body).ok());
                if let Some(key) = key {
                    of_user.insert(device_id.clone(), BTreeMap::from([(taken.id, key)]));
                }
            }
            if !of_user.is_empty() {
                claimed.insert(user_id.clone(), of_user);
            }
        }
        for pending in pending {
            pending.await?;
        }
        Ok(claimed)
    }
}

struct Taken {
    id: String,
    /// Of a fallback key, which is stored with the list.
    body: Option<bytes::Bytes>,
    is_one_time: bool,
    /// Whether the list is another one now.
    changes: bool,
}

/// The oldest key of the algorithm, else the fallback key, which stays.
fn take(keys: &mut OneTimeKeys, algorithm: &str) -> Option<Taken> {
    if let Some(id) = keys.ids.get_mut(algorithm).and_then(std::collections::VecDeque::pop_front) {
        keys.ids.retain(|_, ids| !ids.is_empty());
        return Some(Taken { id, body: None, is_one_time: true, changes: true });
    }
    let fallback = keys.fallback.get_mut(algorithm)?;
    let changes = !std::mem::replace(&mut fallback.used, true);
    let (id, body) = (fallback.id.clone(), Some(fallback.body.clone()));
    Some(Taken { id, body, is_one_time: false, changes })
}
