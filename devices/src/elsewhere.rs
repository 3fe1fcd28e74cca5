//! Messages to devices of other servers: handed to whoever follows the log, as the contents of
//! `m.direct_to_device` EDUs.

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, to_device::DeviceIdOrAllDevices};
use serde::Serialize;
use serde_json::value::RawValue;
use stdx::Rng;

use crate::SendToDevice;

/// An EDU holds messages up to this size, and one more.
const EDU_BYTES: usize = 48 << 10;
const MESSAGE_ID_CHARS: usize = 22;

/// The content of an EDU for a server.
pub(crate) struct ForServer {
    pub(crate) server: OwnedServerName,
    pub(crate) content: Bytes,
}

type Messages<'a> = BTreeMap<&'a UserId, BTreeMap<&'a DeviceIdOrAllDevices, &'a RawValue>>;

#[derive(Serialize)]
struct Content<'a> {
    sender: &'a UserId,
    #[serde(rename = "type")]
    event_type: &'a str,
    /// The other server takes a message that it has seen before for the same one.
    message_id: String,
    messages: &'a Messages<'a>,
}

/// The messages of a request for users of other servers than the sender's.
pub(crate) fn of(send: &SendToDevice<'_>, rng: &Rng) -> Vec<ForServer> {
    let mut by_server: BTreeMap<&ServerName, Vec<&OwnedUserId>> = BTreeMap::new();
    for user in send.messages.keys().filter(|user| is_elsewhere(send, user)) {
        by_server.entry(user.server_name()).or_default().push(user);
    }
    let mut edus = Vec::new();
    for (server, users) in by_server {
        let (mut messages, mut bytes) = (Messages::new(), 0);
        for user in users {
            for (device, content) in &send.messages[user] {
                bytes += content.get().len() + user.as_str().len();
                messages.entry(user).or_default().insert(device, content);
                if bytes >= EDU_BYTES {
                    edus.push(edu(send, rng, server, &std::mem::take(&mut messages)));
                    bytes = 0;
                }
            }
        }
        if !messages.is_empty() {
            edus.push(edu(send, rng, server, &messages));
        }
    }
    edus
}

pub(crate) fn is_elsewhere(send: &SendToDevice<'_>, user: &UserId) -> bool {
    user.server_name() != send.sender.server_name()
}

fn edu(
    send: &SendToDevice<'_>,
    rng: &Rng,
    server: &ServerName,
    messages: &Messages<'_>,
) -> ForServer {
    let content = Content {
        sender: send.sender,
        event_type: send.event_type,
        message_id: rng.alphanumeric(MESSAGE_ID_CHARS),
        messages,
    };
    let content = serde_json::to_vec(&content).expect("ids, text and raw JSON serialise");
    ForServer { server: server.to_owned(), content: content.into() }
}
