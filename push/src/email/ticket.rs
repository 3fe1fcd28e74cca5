//! Tickets: what a link in a mail proves without a login.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::{OwnedUserId, UserId};
use storage::Position;

use crate::{Push, PusherError};

/// Of the tag; 128 bits are not guessed.
const TAG_BYTES: usize = 16;
const TICKET_CHARS_MAX: usize = 512;

pub(super) struct TicketKey(hmac::Key);

impl TicketKey {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn tag(&self, purpose: &[u8], id: u64, subject: &[u8]) -> [u8; TAG_BYTES] {
        let tag = hmac::sign(&self.0, &[purpose, b"\0", &id.to_be_bytes(), subject].concat());
        let mut out = [0; TAG_BYTES];
        out.copy_from_slice(&tag.as_ref()[..TAG_BYTES]);
        out
    }

    /// Of one pusher; it is of no use for another that takes its place.
    pub(super) fn ticket(&self, user: &UserId, pusher: u64) -> String {
        let tag = self.tag(b"unsubscribe", pusher, user.as_bytes());
        URL_SAFE_NO_PAD.encode([&pusher.to_be_bytes()[..], &tag, user.as_bytes()].concat())
    }

    fn read(&self, ticket: &str) -> Option<(OwnedUserId, u64)> {
        let bytes =
            URL_SAFE_NO_PAD.decode(ticket.get(..TICKET_CHARS_MAX).unwrap_or(ticket)).ok()?;
        let (id, rest) = bytes.split_first_chunk::<8>()?;
        let (tag, user) = rest.split_first_chunk::<TAG_BYTES>()?;
        let id = u64::from_be_bytes(*id);
        let expected = self.tag(b"unsubscribe", id, user);
        aws_lc_rs::constant_time::verify_slices_are_equal(tag, &expected).ok()?;
        Some((UserId::parse(std::str::from_utf8(user).ok()?).ok()?, id))
    }

    /// The same for a mail that is written again because nobody knew that it was taken.
    pub(super) fn mail_id(&self, pusher: u64, oldest: Position) -> String {
        let tag = self.tag(b"mail", pusher, &oldest.to_be_bytes());
        tag.map(|byte| format!("{byte:02x}")).concat()
    }
}

impl Push {
    /// Whether a ticket is of this server.
    pub fn is_ticket(&self, ticket: &str) -> bool {
        self.inner.mails.as_ref().is_some_and(|mails| mails.key.read(ticket).is_some())
    }

    /// Ends the pusher that wrote the mail with this ticket, if it is still there. `false` if it is no
    /// ticket of this server. Durable on return.
    pub async fn unsubscribe(&self, ticket: &str) -> Result<bool, PusherError> {
        let Some(mails) = &self.inner.mails else { return Ok(false) };
        let Some((user, id)) = mails.key.read(ticket) else { return Ok(false) };
        let pushers = self.inner.registry.of(&user);
        if let Some(pusher) = pushers.iter().find(|pusher| pusher.id == id) {
            self.delete_pusher(&user, &pusher.app_id, &pusher.pushkey).await?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::TicketKey;

    #[test]
    fn only_whole_tickets_of_this_server_are_good() {
        let key = TicketKey::new(&[7; 32]);
        let ada = user_id!("@ada:x.test");
        let ticket = key.ticket(ada, 5);
        assert_eq!(key.read(&ticket), Some((ada.to_owned(), 5)));
        assert_eq!(TicketKey::new(&[8; 32]).read(&ticket), None);
        for at in 0..ticket.len() {
            let mut forged = ticket.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            assert_eq!(key.read(&forged), None, "{forged}");
            assert_eq!(key.read(&ticket[..at]), None);
        }
        assert_eq!(key.read(&"A".repeat(10_000)), None);
    }
}
