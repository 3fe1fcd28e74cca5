//! This server as the policy server of rooms: what it recommends, it signs. Section "Policy
//! Servers", server-server API.

mod rates;

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use events::{Objection, Pdu, PolicyRules, PublicKey, RoomVersion, SigningKey};
use quick_cache::sync::Cache;
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::sync::Semaphore;

use self::rates::Rates;
use crate::{ports::RemoteError, rooms::Inner};

/// Events whose verdict is remembered. The servers of a large room ask about the same event all at
/// once, and are to hear the same.
const VERDICTS: usize = 10_000;
/// Bytes of content beyond which an event is not judged beside other requests: a thousand patterns
/// and the largest event take as long as those do together.
const INLINE: usize = 4096;
/// Such events that are judged at once; the others wait, and the cores are left for the rest.
const LONG_AT_ONCE: usize = 1;

/// What an operator who runs a policy server wants of it.
#[derive(Clone, Debug)]
pub struct PolicyServerConfig {
    /// Its id is `ed25519:policy_server`. Not the key that this server signs its events with.
    pub key: SigningKey,
    /// The rooms that it serves; if there are none, all that a local user is in.
    pub rooms: BTreeSet<OwnedRoomId>,
    pub rules: Arc<PolicyRules>,
    /// Events of one user in one room.
    pub sender_rate: Option<PolicyRate>,
    /// Events of all users in one room.
    pub room_rate: Option<PolicyRate>,
}

/// How many events are recommended.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRate {
    /// In the long run.
    pub per_second: f64,
    /// At once, after some quiet.
    pub burst: u32,
}

/// Why an event is not recommended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Rule(#[from] Objection),
    #[error("there are too many events at once")]
    Rate,
}

pub(crate) struct PolicySigner {
    config: PolicyServerConfig,
    /// By the signature that an event has or would have: in the first room versions two events may
    /// have the same id.
    verdicts: Cache<String, Result<(), Refusal>>,
    senders: Option<Rates<(OwnedRoomId, OwnedUserId)>>,
    rooms: Option<Rates<OwnedRoomId>>,
    long: Semaphore,
}

impl PolicySigner {
    pub(crate) fn new(config: PolicyServerConfig) -> Self {
        Self {
            verdicts: Cache::new(VERDICTS),
            senders: config.sender_rate.map(Rates::new),
            rooms: config.room_rate.map(Rates::new),
            long: Semaphore::new(LONG_AT_ONCE),
            config,
        }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.config.key.public_key()
    }

    pub(crate) fn serves(&self, room: &RoomId) -> bool {
        self.config.rooms.is_empty() || self.config.rooms.contains(room)
    }

    /// The signature on an event whose content is what its hash says. An event counts once, however
    /// often it is asked about, and only if it is recommended: else others could use up the share
    /// of whoever sent it.
    pub(crate) async fn sign(
        &self,
        pdu: &Pdu,
        version: &RoomVersion,
        now_ms: u64,
    ) -> Result<String, Refusal> {
        let signature = events::policy_signature(pdu, &self.config.key, version);
        let verdict = match self.verdicts.get(&signature) {
            Some(verdict) => verdict,
            None => {
                let checked = self.check(pdu).await;
                let judge = || Ok::<_, Infallible>(checked.and_then(|()| self.count(pdu, now_ms)));
                // Of many who ask at once the first is counted.
                let Ok(verdict) = self.verdicts.get_or_insert_with(&signature, judge);
                verdict
            }
        };
        verdict.map(|()| signature)
    }

    async fn check(&self, pdu: &Pdu) -> Result<(), Refusal> {
        if pdu.content_str().len() <= INLINE {
            return Ok(self.config.rules.check(pdu)?);
        }
        let _turn = self.long.acquire().await;
        let (rules, pdu) = (Arc::clone(&self.config.rules), pdu.clone());
        let checked = tokio::task::spawn_blocking(move || rules.check(&pdu)).await;
        // What cannot be judged is not recommended.
        Ok(checked.unwrap_or(Err(Objection::Size))?)
    }

    fn count(&self, pdu: &Pdu, now_ms: u64) -> Result<(), Refusal> {
        if self.config.rules.exempts(pdu) {
            return Ok(());
        }
        let room = pdu.room_id().to_owned();
        let of_sender = (room.clone(), pdu.sender().to_owned());
        let has_share = self.senders.as_ref().is_none_or(|rates| rates.take(&of_sender, now_ms))
            && self.rooms.as_ref().is_none_or(|rates| rates.take(&room, now_ms));
        if has_share { Ok(()) } else { Err(Refusal::Rate) }
    }
}

impl Inner {
    /// What other servers are told of an event that is recommended.
    pub(crate) fn policy_answer(&self, signature: &str) -> Box<RawValue> {
        let answer = json!({ self.server_name.as_str(): { "ed25519:policy_server": signature } });
        to_raw_value(&answer).expect("names and base64 are JSON")
    }

    /// The answer to ourselves, about an event of ours or one that came without a signature.
    pub(crate) async fn own_recommendation(
        &self,
        pdu: &Pdu,
        version: &RoomVersion,
    ) -> Result<Box<RawValue>, RemoteError> {
        let refused = |status, errcode: &str, message: String| RemoteError::Refused {
            server: self.server_name.clone(),
            status,
            errcode: errcode.to_owned(),
            message,
            room_version: None,
        };
        let signer = self.policy_signer.as_ref().filter(|signer| signer.serves(pdu.room_id()));
        let signer = signer.ok_or_else(|| {
            let reason = "this server is not the policy server that the room takes it for";
            refused(404, "M_NOT_FOUND", reason.to_owned())
        })?;
        let signature = signer.sign(pdu, version, self.clock.now_ms()).await;
        let signature =
            signature.map_err(|refusal| refused(400, "M_FORBIDDEN", refusal.to_string()))?;
        Ok(self.policy_answer(&signature))
    }
}
