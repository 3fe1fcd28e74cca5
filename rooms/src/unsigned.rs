//! The `unsigned` data of an event, which depends on who looks at it and when.

use bytes::Bytes;
use ruma::{DeviceId, UserId, events::room::member::MembershipState};

use crate::{Error, Rooms, StoredEvent};

/// Who looks, and what the caller already knows.
#[derive(Clone, Debug)]
pub struct UnsignedFor<'a> {
    pub viewer: &'a UserId,
    pub device: Option<&'a DeviceId>,
    /// The viewer's membership at the event, if the caller knows it; looked up otherwise.
    pub membership: Option<MembershipState>,
    /// Bundled aggregations from [`Rooms::aggregations`], a JSON object.
    pub relations: Option<&'a Bytes>,
}

impl Rooms {
    /// A JSON object: `age`, `transaction_id`, `prev_content`, `replaces_state`,
    /// `redacted_because`, `membership`, `m.relations`.
    pub async fn unsigned(
        &self,
        _event: &StoredEvent,
        _for_whom: &UnsignedFor<'_>,
    ) -> Result<Vec<u8>, Error> {
        unimplemented!()
    }
}
