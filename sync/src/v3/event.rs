//! One event of a room, as a client gets it.

use bytes::Bytes;
use rooms::{StoredEvent, UnsignedFor};
use ruma::events::room::member::MembershipState;

use crate::{SyncError, compute::Scope};

/// Appends the event, without `room_id`: the client knows it from where the event stands.
pub(super) async fn write(
    scope: &Scope<'_>,
    event: &StoredEvent,
    membership: Option<MembershipState>,
    relations: Option<&Bytes>,
    out: &mut Vec<u8>,
) -> Result<(), SyncError> {
    if scope.filter.federation_format {
        out.extend_from_slice(event.pdu.json());
        return Ok(());
    }
    let whom = UnsignedFor { viewer: scope.user, device: scope.device, membership, relations };
    let unsigned = scope.sync.sources.rooms.unsigned(event, &whom).await?;
    event.client.write(out, None, Some(&unsigned));
    Ok(())
}
