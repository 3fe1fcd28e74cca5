//! Step 2: "Passes signature checks, otherwise it is dropped."

use std::{collections::HashMap, sync::Arc};

use events::{Pdu, PublicKey, RoomVersion, SignatureError};
use ruma::ServerName;

use super::Dropped;
use crate::{
    ports::{KeyRequest, TrustedKeys},
    rooms::Inner,
};

/// Verifying fewer takes less time than handing them to another thread.
const INLINE: usize = 4;

impl Inner {
    /// In the order given; what failed before stays as it is.
    pub(super) async fn check_signatures(
        &self,
        version: &'static RoomVersion,
        pdus: Vec<Result<Pdu, Dropped>>,
    ) -> Vec<Result<Pdu, Dropped>> {
        let keys = self.ports.keys.verify_keys(wanted(version, &pdus)).await;
        if pdus.len() <= INLINE {
            return check_all(version, pdus, &keys);
        }
        let keys = Arc::new(keys);
        let count = pdus.len();
        let checked = tokio::task::spawn_blocking(move || check_all(version, pdus, &keys)).await;
        checked.unwrap_or_else(|_panicked| {
            let reason = "the signatures could not be checked".to_owned();
            let failed = Dropped { event_id: None, reason, copy_at: None };
            std::iter::repeat_with(|| Err(failed.clone())).take(count).collect()
        })
    }
}

impl Inner {
    /// Whether that server has signed the event, also where nobody must have.
    pub(crate) async fn check_signature_of(
        &self,
        version: &'static RoomVersion,
        pdu: &Pdu,
        server: &ServerName,
    ) -> Result<(), Dropped> {
        let valid_at = if version.enforces_key_validity() { pdu.origin_server_ts() } else { 0 };
        let request = |key_id| KeyRequest { server: server.to_owned(), key_id, valid_at };
        let wanted = events::signature_keys(pdu, server).into_iter().map(request).collect();
        let keys = self.ports.keys.verify_keys(wanted).await;
        let key = |key_id: &str| trusted(version, pdu, &keys, server, key_id);
        events::verify_signature_of(pdu, version, server, key).map_err(|error| dropped(pdu, &error))
    }
}

fn wanted(version: &RoomVersion, pdus: &[Result<Pdu, Dropped>]) -> Vec<KeyRequest> {
    let mut latest: HashMap<_, u64> = HashMap::new();
    for pdu in pdus.iter().flatten() {
        let valid_at = if version.enforces_key_validity() { pdu.origin_server_ts() } else { 0 };
        for key in events::required_keys(pdu, version) {
            let at = latest.entry(key).or_default();
            *at = valid_at.max(*at);
        }
    }
    latest
        .into_iter()
        .map(|((server, key_id), valid_at)| KeyRequest { server, key_id, valid_at })
        .collect()
}

fn check_all(
    version: &RoomVersion,
    pdus: Vec<Result<Pdu, Dropped>>,
    keys: &TrustedKeys,
) -> Vec<Result<Pdu, Dropped>> {
    pdus.into_iter().map(|pdu| pdu.and_then(|pdu| check(version, pdu, keys))).collect()
}

fn check(version: &RoomVersion, pdu: Pdu, keys: &TrustedKeys) -> Result<Pdu, Dropped> {
    let key = |server: &ServerName, key_id: &str| trusted(version, &pdu, keys, server, key_id);
    match events::verify_signatures(&pdu, version, key) {
        Ok(()) => Ok(pdu),
        Err(error) => Err(dropped(&pdu, &error)),
    }
}

fn dropped(pdu: &Pdu, error: &SignatureError) -> Dropped {
    // A copy would not have another key.
    let may_be_right = matches!(error, SignatureError::Unsigned(_) | SignatureError::Wrong(..));
    Dropped {
        event_id: Some(pdu.event_id().clone()),
        reason: error.to_string(),
        copy_at: may_be_right.then(|| pdu.sender().server_name().to_owned()),
    }
}

fn trusted(
    version: &RoomVersion,
    pdu: &Pdu,
    keys: &TrustedKeys,
    server: &ServerName,
    key_id: &str,
) -> Option<PublicKey> {
    let trusted = keys.get(&(server.to_owned(), key_id.to_owned()))?;
    // "the signing key is valid at the time of the event": from version 5 on.
    let counts = !version.enforces_key_validity() || pdu.origin_server_ts() <= trusted.valid_until;
    counts.then_some(trusted.key)
}
