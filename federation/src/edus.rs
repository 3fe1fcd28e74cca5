//! Notices of other servers: typing, receipts, presence, devices, messages to devices. Each is
//! believed of the users of the server that sends it only; what is wrong with one never hurts another.

mod device_lists;
mod presence;
mod receipts;

use std::time::Duration;

use ruma::{OwnedRoomId, OwnedUserId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{error::Error, inbound::Inbound};

/// Senders renew typing before it ends by itself.
const TYPING: Duration = Duration::from_secs(30);

/// Users whose presence is looked at in one transaction: a hundred EDUs of fifty.
pub(crate) const PRESENCE_MAX: usize = 5000;
/// Receipts that are looked at in one transaction.
const RECEIPTS_MAX: usize = 1000;
/// Of the id and the type of a message to a device.
const TEXT_BYTES_MAX: usize = 255;

#[derive(Deserialize)]
struct Edu<'a> {
    edu_type: String,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// What the notices of one transaction may still hold.
struct Budget {
    presence: usize,
    receipts: usize,
}

/// Why a notice has no effect.
enum Ineffective {
    /// It is left aside: it would be no better the next time.
    Theirs(String),
    /// It must come again.
    Ours(Error),
}

impl From<String> for Ineffective {
    fn from(reason: String) -> Self {
        Self::Theirs(reason)
    }
}

impl Inbound {
    /// Fails if something that must not get lost could not be kept.
    pub(crate) async fn receive_edus(
        &self,
        origin: &ServerName,
        edus: Vec<Box<RawValue>>,
    ) -> Result<(), Error> {
        let mut lost = Ok(());
        let mut budget = Budget { presence: PRESENCE_MAX, receipts: RECEIPTS_MAX };
        for edu in &edus {
            let Ok(Edu { edu_type, content }) = serde_json::from_str(edu.get()) else { continue };
            let result = match edu_type.as_str() {
                "m.typing" => self.receive_typing(origin, content).await.map_err(Into::into),
                "m.receipt" => {
                    let received = self.receive_receipts(origin, content, &mut budget);
                    received.await.map_err(Into::into)
                }
                "m.presence" => {
                    self.receive_presence(origin, content, &mut budget).map_err(Into::into)
                }
                "m.direct_to_device" => self.receive_to_device(origin, content).await,
                "m.device_list_update" => self.receive_device_list_update(origin, content).await,
                "m.signing_key_update" => self.receive_signing_key_update(origin, content).await,
                _ => Ok(()),
            };
            match result {
                Ok(()) => {}
                Err(Ineffective::Ours(error)) => lost = Err(error),
                Err(Ineffective::Theirs(reason)) => {
                    tracing::debug!(%origin, edu_type, reason, "a notice is left aside");
                }
            }
        }
        lost
    }

    async fn receive_typing(&self, origin: &ServerName, content: &RawValue) -> Result<(), String> {
        #[derive(Deserialize)]
        struct Typing {
            room_id: OwnedRoomId,
            user_id: OwnedUserId,
            typing: bool,
        }
        let Typing { room_id, user_id, typing } = parse(content)?;
        own(origin, &user_id)?;
        let rooms = &self.inner.rooms;
        if !rooms.allows_server(origin, &room_id).await.map_err(text)? {
            return Err("the room's access control list denies the server".to_owned());
        }
        let result = if typing {
            rooms.start_typing(&room_id, &user_id, TYPING).await
        } else {
            rooms.stop_typing(&room_id, &user_id).await
        };
        result.map_err(text)
    }

    async fn receive_to_device(
        &self,
        origin: &ServerName,
        content: &RawValue,
    ) -> Result<(), Ineffective> {
        #[derive(Deserialize)]
        struct ToDevice {
            sender: OwnedUserId,
            #[serde(rename = "type")]
            event_type: String,
            message_id: String,
            messages: devices::ToDeviceMessages,
        }
        let ToDevice { sender, event_type, message_id, mut messages } = parse(content)?;
        own(origin, &sender)?;
        if message_id.len() > TEXT_BYTES_MAX || event_type.len() > TEXT_BYTES_MAX {
            return Err("its id or its type is too long".to_owned().into());
        }
        messages.retain(|user, _| user.server_name() == self.server_name());
        // The message's id takes the place of a transaction's: sent twice, it arrives once.
        let device = ruma::OwnedDeviceId::from(format!("federation:{origin}"));
        let txn_id = ruma::OwnedTransactionId::from(message_id);
        let send = devices::SendToDevice {
            sender: &sender,
            device_id: &device,
            event_type: &event_type,
            txn_id: &txn_id,
            messages: &messages,
        };
        use devices::SendToDeviceError as E;
        self.inner.devices.receive_to_device(send).await.map_err(|error| match error {
            E::TooLarge | E::TooMany | E::NotAnObject => Ineffective::Theirs(text(error)),
            E::Store(error) => Ineffective::Ours(error.into()),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(content: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(content.get()).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A server speaks for its own users only.
fn own(origin: &ServerName, user: &ruma::UserId) -> Result<(), String> {
    if user.server_name() == origin {
        Ok(())
    } else {
        Err(format!("{user} is not a user of {origin}"))
    }
}
