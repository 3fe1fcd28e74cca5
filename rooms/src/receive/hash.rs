//! Step 3: "Passes hash checks, otherwise it is redacted before being processed further."

use events::{Pdu, RoomVersion};

pub(super) fn check_or_redact(pdu: Pdu, version: &RoomVersion) -> Pdu {
    if events::verify_content_hash(&pdu) { pdu } else { pdu.redacted(version) }
}
