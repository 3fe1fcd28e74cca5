//! The content hash, which tells whether an event was tampered with, and the reference hash, which
//! names it.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use sha2::{Digest as _, Sha256};

use crate::{
    Pdu, RoomVersion,
    canonical::{Object, Value},
    redact::write_redacted,
};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// Unpadded standard base64; padding is accepted.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
pub(crate) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Whether the content hash in the event is that of the event. If not, the event is to be redacted
/// before use.
pub fn verify_content_hash(pdu: &Pdu) -> bool {
    let event = pdu.to_object();
    let claimed = event
        .get("hashes")
        .and_then(Value::as_object)
        .and_then(|hashes| hashes.get("sha256"))
        .and_then(Value::as_str)
        .and_then(|hash| BASE64.decode(hash).ok());
    claimed.is_some_and(|claimed| claimed == content_hash(&event))
}

/// "First, any existing `unsigned`, `signature`, and `hashes` properties are removed."
pub(crate) fn content_hash(event: &Object<'_>) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(1024);
    event.write_without(&["hashes", "signatures", "unsigned"], &mut bytes);
    Sha256::digest(&bytes).into()
}

pub(crate) fn reference_hash(event: &Object<'_>, version: &RoomVersion) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(1024);
    write_redacted(event, version, &["signatures", "unsigned", "age_ts"], &mut bytes);
    Sha256::digest(&bytes).into()
}
