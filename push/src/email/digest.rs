//! What a digest tells: which rooms, and which messages of each.

use std::{collections::BTreeMap, sync::Arc};

use rooms::{Root, StoredEvent};
use ruma::{OwnedRoomId, RoomId, UserId, events::room::member::MembershipState};
use serde::Deserialize;
use storage::Position;
use sync::SyncError;

use super::{Mails, letter::name};
use crate::{Pusher, service::Inner, store::NoticeRecord};

/// What one mail shows; it says how much it leaves out.
const ROOMS_MAX: usize = 20;
const LINES_MAX: usize = 5;

/// Something that is not read and was not written about.
pub(super) struct Unread {
    pub(super) position: Position,
    /// When it came, in milliseconds.
    pub(super) ts: u64,
    pub(super) event: Arc<StoredEvent>,
    pub(super) record: NoticeRecord,
}

impl Unread {
    pub(super) fn room(&self) -> &OwnedRoomId {
        &self.record.room_id
    }
}

/// Names are ready for the eyes of people; texts are as their senders wrote them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) brand: String,
    pub(super) reader: String,
    /// That of the newest message first.
    pub(super) rooms: Vec<RoomDigest>,
    pub(super) rooms_left_out: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct RoomDigest {
    pub(super) name: String,
    pub(super) link: String,
    /// The newest, in order.
    pub(super) lines: Vec<Line>,
    pub(super) left_out: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) sender: String,
    pub(super) words: Words,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// By the sender.
    Said(String),
    /// About the sender.
    Does(String),
    Invites,
}

impl Inner {
    pub(super) async fn digest(
        &self,
        mails: &Mails,
        pusher: &Pusher,
        unread: &[Unread],
    ) -> Result<Digest, SyncError> {
        let user = &pusher.user_id;
        let mut by_room: BTreeMap<&OwnedRoomId, Vec<&Unread>> = BTreeMap::new();
        for it in unread {
            by_room.entry(it.room()).or_default().push(it);
        }
        let mut rooms: Vec<_> = by_room.into_values().collect();
        rooms.sort_by_key(|its| std::cmp::Reverse(its.last().map(|it| it.position)));
        let rooms_left_out = rooms.len().saturating_sub(ROOMS_MAX);
        let mut shown = Vec::new();
        for its in rooms.iter().take(ROOMS_MAX) {
            shown.push(self.room_digest(mails, user, its).await?);
        }
        let brand = name(pusher.brand(), &mails.config.brand);
        // Without a name a mail is better than none.
        let profile = self.accounts.profile(user).await.ok();
        let called = profile.as_ref().and_then(|profile| profile.displayname.as_deref());
        let reader = name(called, user.localpart());
        Ok(Digest { brand, reader, rooms: shown, rooms_left_out })
    }

    async fn room_digest(
        &self,
        mails: &Mails,
        user: &UserId,
        unread: &[&Unread],
    ) -> Result<RoomDigest, SyncError> {
        let room = unread[0].room();
        let view = self.rooms.room(room).await?;
        let state = view.map_or(Root::EMPTY, |view| view.state);
        let encryption = self.rooms.state_get(state, "m.room.encryption", "").await?;
        let shows = self.config.with_content && encryption.is_none();
        let left_out = unread.len().saturating_sub(LINES_MAX);
        let (mut lines, mut called, mut alias) = (Vec::new(), String::new(), None);
        for it in &unread[left_out..] {
            let pdu = &it.event.pdu;
            let known = self.known_of(user, &it.event).await?;
            let sender = name(known.sender_name.as_deref(), pdu.sender().as_str());
            let its_name = known.name.as_deref().or(known.alias.as_deref());
            called = name(its_name, known.alias.as_deref().unwrap_or(&sender));
            alias = known.alias;
            lines.push(Line { sender, words: words(&it.event, shows) });
        }
        let link = mails.config.link(user, room, alias.as_deref());
        Ok(RoomDigest { name: called, link, lines, left_out })
    }
}

/// What an event comes to in words. Of what is encrypted, or was said where all is to be, nothing is
/// shown.
fn words(event: &StoredEvent, shows: bool) -> Words {
    #[derive(Default, Deserialize)]
    struct Content {
        #[serde(default)]
        msgtype: String,
        #[serde(default)]
        body: String,
    }
    let pdu = &event.pdu;
    let does = |what: &str| Words::Does(what.to_owned());
    match pdu.event_type() {
        "m.room.member" if pdu.membership() == Some(MembershipState::Invite) => Words::Invites,
        "m.room.message" if shows => {
            let content: Content = pdu.content_as().unwrap_or_default();
            match content.msgtype.as_str() {
                "m.image" => does("sent an image"),
                "m.audio" => does("sent audio"),
                "m.video" => does("sent a video"),
                "m.file" => does("sent a file"),
                "m.location" => does("sent a location"),
                _ if content.body.trim().is_empty() => does("sent a message"),
                "m.emote" => Words::Does(content.body),
                _ => Words::Said(content.body),
            }
        }
        "m.room.message" | "m.room.encrypted" => does("sent a message"),
        "m.call.invite" => does("called"),
        "m.sticker" => does("sent a sticker"),
        _ => does("did something new"),
    }
}

impl super::MailConfig {
    fn link(&self, user: &UserId, room: &RoomId, alias: Option<&str>) -> String {
        let target = encode(alias.unwrap_or(room.as_str()));
        match &self.client_url {
            Some(client) => format!("{}/#/room/{target}", client.trim_end_matches('/')),
            None if alias.is_some() => format!("https://matrix.to/#/{target}"),
            None => {
                format!("https://matrix.to/#/{target}?via={}", encode(user.server_name().as_str()))
            }
        }
    }
}

/// A part of a URL, with nothing in it that means something there or in HTML.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || b"-._~!:".contains(&byte) => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use ruma::{room_id, user_id};

    use super::super::MailConfig;

    #[test]
    fn a_link_leads_to_the_room_and_nowhere_else() {
        let matrix_to = MailConfig::default();
        let client_url = Some("https://app.test/".to_owned());
        let app = MailConfig { client_url, ..MailConfig::default() };
        let (user, room) = (user_id!("@ada:x.test"), room_id!("!r\"<:y.test"));
        let link = |config: &MailConfig, alias| config.link(user, room, alias);
        assert_eq!(link(&matrix_to, None), "https://matrix.to/#/!r%22%3C:y.test?via=x.test");
        assert_eq!(link(&matrix_to, Some("#a:y.test")), "https://matrix.to/#/%23a:y.test");
        assert_eq!(link(&app, None), "https://app.test/#/room/!r%22%3C:y.test");
        assert_eq!(link(&app, Some("#a:y\n.test")), "https://app.test/#/room/%23a:y%0A.test");
    }
}
