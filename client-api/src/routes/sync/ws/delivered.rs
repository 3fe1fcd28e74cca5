//! `im.meridian.delivered`: a receipt for what a client has taken in, for users who want to send
//! them.

use std::collections::BTreeMap;

use accounts::Session;
use rooms::NewReceipt;
use ruma::{OwnedEventId, OwnedRoomId};
use serde::Deserialize;
use storage::Position;

use super::Pieces;

/// The type of the receipt, and of the account data that switches them on.
const DELIVERED: &str = "im.meridian.delivered";
/// Rooms of one acknowledgement that are told of; the first batch of a client may hold thousands.
const ROOMS_MAX: usize = 100;

#[derive(Deserialize)]
struct Wish {
    #[serde(default)]
    enabled: bool,
}

/// Whether the user wants receipts to be sent, as it was read last, and up to where the user's account
/// data had changed then.
#[derive(Default)]
pub(super) struct Wanted(Option<(Position, bool)>);

impl Wanted {
    /// `changed`: up to where the account data has changed by now.
    pub(super) async fn get(
        &mut self,
        pieces: &Pieces,
        session: &Session,
        changed: Position,
    ) -> bool {
        if let Some((_, wanted)) = self.0.filter(|(read, _)| *read == changed) {
            return wanted;
        }
        let wanted = is_wanted(pieces, session).await;
        self.0 = Some((changed, wanted));
        wanted
    }
}

/// Tells the rooms that the events, of which the newest of each room comes last, have arrived.
pub(super) async fn tell(
    pieces: &Pieces,
    session: &Session,
    events: Vec<(OwnedRoomId, OwnedEventId)>,
) {
    let newest: BTreeMap<_, _> = events.into_iter().collect();
    for (room_id, event_id) in newest.iter().take(ROOMS_MAX) {
        let receipt =
            NewReceipt { room_id, user: &session.user_id, kind: DELIVERED, event_id, thread: None };
        // The user may have left the room meanwhile.
        if let Err(error) = pieces.rooms.set_receipt(receipt).await {
            tracing::debug!(room.id = %room_id, %error, "no receipt of delivery was set");
        }
    }
}

async fn is_wanted(pieces: &Pieces, session: &Session) -> bool {
    let data = pieces.accounts.account_data(&session.user_id, None, DELIVERED).await;
    let wish = data.ok().flatten().and_then(|content| serde_json::from_str(content.get()).ok());
    wish.is_some_and(|Wish { enabled }| enabled)
}
