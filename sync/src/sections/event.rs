//! One event of a room, as a client gets it.

use bytes::Bytes;
use rooms::{StoredEvent, UnsignedFor};
use ruma::events::room::member::MembershipState;

use crate::{SyncError, compute::Scope};

/// Appends the event, without `room_id`: the client knows it from where the event stands.
pub(crate) async fn write(
    scope: &Scope<'_>,
    event: &StoredEvent,
    membership: Option<MembershipState>,
    relations: Option<&Bytes>,
    out: &mut Vec<u8>,
) -> Result<(), SyncError> {
    if scope.filter.federation_format {
        write_pdu(event, out);
        return Ok(());
    }
    let whom = UnsignedFor { viewer: scope.user, device: scope.device, membership, relations };
    let unsigned = scope.sync.sources.rooms.unsigned(event, &whom).await?;
    event.client.write(out, None, Some(&unsigned));
    Ok(())
}

/// "the raw event as received over federation", with its id: versions that do not have it in the
/// event would leave clients to compute it.
fn write_pdu(event: &StoredEvent, out: &mut Vec<u8>) {
    let json = event.pdu.json();
    let Some(fields) = json.strip_prefix(b"{").filter(|_| !event.version.event_id_in_pdu()) else {
        out.extend_from_slice(json);
        return;
    };
    out.extend_from_slice(b"{\"event_id\":");
    crate::json::text(out, event.pdu.event_id().as_str());
    out.push(b',');
    out.extend_from_slice(fields);
}
