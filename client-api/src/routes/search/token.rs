//! `next_batch` of a search: where it goes on, and for which group.
//!
//! `r<time>_<position>` goes on with what is older than that place, `k<results>_<time>_<position>`
//! after so many of the best before it. A group's has `.room.` or `.sender.` and its value behind it.

use std::fmt;

use ::search::{Order, Place};
use rooms::StoredEvent;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, api::client::filter::RoomEventFilter};

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Room(OwnedRoomId),
    Sender(OwnedUserId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) order: Order,
    pub(super) group: Option<Group>,
}

impl Group {
    pub(super) fn of_room(event: &StoredEvent) -> Self {
        Self::Room(event.pdu.room_id().to_owned())
    }

    pub(super) fn of_sender(event: &StoredEvent) -> Self {
        Self::Sender(event.pdu.sender().to_owned())
    }

    pub(super) fn value(&self) -> &str {
        match self {
            Self::Room(room) => room.as_str(),
            Self::Sender(sender) => sender.as_str(),
        }
    }

    /// Only what is in the group and was asked for in the first place.
    pub(super) fn narrow(&self, filter: &mut RoomEventFilter) {
        match self {
            Self::Room(room) => {
                let asked = filter.rooms.as_ref().is_none_or(|rooms| rooms.contains(room));
                filter.rooms = Some(asked.then(|| room.clone()).into_iter().collect());
            }
            Self::Sender(sender) => {
                let asked = filter.senders.as_ref().is_none_or(|all| all.contains(sender));
                filter.senders = Some(asked.then(|| sender.clone()).into_iter().collect());
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once('.')?;
        match kind {
            "room" => RoomId::parse(value).ok().map(Self::Room),
            "sender" => UserId::parse(value).ok().map(Self::Sender),
            _ => None,
        }
    }
}

impl Token {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        Self::read(text)
            .ok_or_else(|| Error::invalid_param("next_batch is not a token of a search"))
    }

    fn read(text: &str) -> Option<Self> {
        let (order, group) = match text.split_once('.') {
            Some((order, group)) => (order, Some(Group::parse(group)?)),
            None => (text, None),
        };
        let order = match order.split_at_checked(1)? {
            ("r", place) => Order::Recent { before: Some(place_of(place)?) },
            ("k", rest) => {
                let (after, place) = rest.split_once('_')?;
                let after = usize::try_from(decimal(after)?).ok()?;
                Order::Rank { before: Some(place_of(place)?), after }
            }
            _ => return None,
        };
        Some(Self { order, group })
    }
}

fn place_of(text: &str) -> Option<Place> {
    let (time, position) = text.split_once('_')?;
    Some(Place { time: decimal(time)?, position: decimal(position)? })
}

/// Digits only: `u64::from_str` would also take a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Place { time: u64::MAX, position: u64::MAX };
        match self.order {
            Order::Recent { before } => {
                let Place { time, position } = before.unwrap_or(start);
                write!(f, "r{time}_{position}")?;
            }
            Order::Rank { before, after } => {
                let Place { time, position } = before.unwrap_or(start);
                write!(f, "k{after}_{time}_{position}")?;
            }
        }
        match &self.group {
            Some(Group::Room(room)) => write!(f, ".room.{room}"),
            Some(Group::Sender(sender)) => write!(f, ".sender.{sender}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ::search::{Order, Place};
    use ruma::{owned_room_id, owned_user_id};

    use super::{Group, Token};

    #[test]
    fn a_token_is_read_as_it_is_written() {
        let before = Some(Place { time: 17, position: u64::MAX });
        let room = Group::Room(owned_room_id!("!a.b:x.test"));
        let sender = Group::Sender(owned_user_id!("@a.b:x.test"));
        for order in [Order::Recent { before }, Order::Rank { before, after: 30 }] {
            for group in [None, Some(room.clone()), Some(sender.clone())] {
                let token = Token { order, group };
                assert_eq!(Token::read(&token.to_string()), Some(token));
            }
        }
        for junk in
            ["", "r", "r1", "r1_", "k1_2", "x1_2", "r-1_2", "r1_2.", "r1_2.room.x", "r1_2.who.@a:b"]
        {
            assert_eq!(Token::read(junk), None, "{junk}");
        }
    }
}
