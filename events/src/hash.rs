//! Content and reference hashes.
use crate::{Pdu};
/// Whether the content hash in the event is that of the event.
pub fn verify_content_hash(_pdu: &Pdu) -> bool { unimplemented!() }
