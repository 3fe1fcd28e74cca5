//! Many signatures at once, as a join brings them.

use ruma::ServerName;

use super::{PublicKey, SignatureError, event::Claims};
use crate::{Pdu, RoomVersion};

/// Events that are verified together. Larger batches gain little, and one wrong signature costs a
/// batch its gain.
const BATCH: usize = 128;

/// [`verify_signatures`](super::verify_signatures) of many events, in their order, in less time.
/// Takes CPU for as long as that takes: call it in chunks, where blocking is allowed.
///
/// Verdicts are those of single verification but for one thing: a signature to which the holder of
/// the key has added a point of small order fails alone, and passes in one batch out of eight.
/// Nothing is forged with it, but whoever composes the batch can search for one that passes, and
/// then other servers drop what this one keeps. So it is for what a server that is trusted with the
/// answer sent, and not for transactions.
pub fn verify_signatures_batch(
    pdus: &[&Pdu],
    version: &RoomVersion,
    keys: impl Fn(&Pdu, &ServerName, &str) -> Option<PublicKey>,
) -> Vec<Result<(), SignatureError>> {
    let read = |pdu: &&Pdu| Claims::read(pdu, version, |server, key_id| keys(pdu, server, key_id));
    let mut verdicts = Vec::with_capacity(pdus.len());
    for pdus in pdus.chunks(BATCH) {
        let events: Vec<_> = pdus.iter().map(read).collect();
        let all_right = are_all_right(events.iter().flatten());
        let verdict = |event: Claims| if all_right { Ok(()) } else { event.check_each() };
        verdicts.extend(events.into_iter().map(|event| event.and_then(verdict)));
    }
    verdicts
}

fn are_all_right<'c>(events: impl Iterator<Item = &'c Claims>) -> bool {
    let (mut messages, mut signatures, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        for claim in &event.claims {
            messages.push(event.message.as_slice());
            signatures.push(claim.signature);
            keys.push(claim.key.0);
        }
    }
    ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok()
}
