//! Places between the events of a room, and the tokens that name them.
//!
//! `t<depth>_<position>` is the place just after the event with that depth and position in the
//! topological order. A token of sync, which names a moment on the log, leads to the place after
//! the newest event of that moment.

use std::fmt;

use ruma::RoomId;
use storage::{Position, Range};

use crate::{Error, StoredEvent, rooms::Inner, store::Events};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) depth: u64,
    pub(crate) position: Position,
}

impl Place {
    pub(crate) const START: Self = Self { depth: 0, position: 0 };
    pub(crate) const END: Self = Self { depth: u64::MAX, position: u64::MAX };

    pub(crate) fn before(event: &StoredEvent) -> Self {
        // Positions are never given twice, so nothing lies in between.
        Self { depth: event.pdu.depth(), position: event.position.saturating_sub(1) }
    }

    pub(crate) fn after(event: &StoredEvent) -> Self {
        Self { depth: event.pdu.depth(), position: event.position }
    }

    pub(crate) fn key(self) -> (u64, u64) {
        (self.depth, self.position)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}_{}", self.depth, self.position)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Place(Place),
    Moment(Position),
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        if let Some(place) = text.strip_prefix('t') {
            let (depth, position) = place.split_once('_')?;
            let (depth, position) = (decimal(depth)?, decimal(position)?);
            return Some(Self::Place(Place { depth, position }));
        }
        // A `pos` of sliding sync is a token of sync behind the version of a connection.
        let text = text.split_once('/').map_or(text, |(_, token)| token);
        let mut parts = text.strip_prefix("m1_")?.split('_');
        let _incarnation = parts.next()?;
        decimal(parts.next()?).map(Self::Moment)
    }
}

/// Digits only: `u64::from_str` would also take a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Inner {
    pub(crate) async fn place(&self, room: &RoomId, token: &str) -> Result<Place, Error> {
        let unknown = || Error::InvalidParam("this is not a pagination token".to_owned());
        match Token::parse(token).ok_or_else(unknown)? {
            Token::Place(place) => Ok(place),
            Token::Moment(position) => {
                let range = Range::all().up_to(position).reversed().limit(1);
                let rows = self.store.scan::<Events>(room, range).await?;
                let Some(row) = rows.into_iter().next() else { return Ok(Place::START) };
                Ok(Place::after(&*self.events.of_row(row.sort, row.value)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Token};

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place { depth: 7, position: 31 };
        assert_eq!(Token::parse(&place.to_string()), Some(Token::Place(place)));
        assert_eq!(Token::parse("m1_1f_42_aa_0.0"), Some(Token::Moment(42)));
        assert_eq!(Token::parse("17.fe/m1_1f_42_aa_0.0"), Some(Token::Moment(42)));
        for junk in ["", "t", "t1", "t1_", "t+1_2", "t1_-2", "m1_", "m1_1", "x1_2", "t1_2_3"] {
            assert_eq!(Token::parse(junk), None, "{junk:?}");
        }
    }
}
