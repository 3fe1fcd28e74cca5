//! `since` and `next_batch` of the `to_device` extension: a position on the log of one database.

use storage::Position;

use crate::{SyncError, service::Inner};

pub(crate) fn write(sync: &Inner, position: Position) -> String {
    format!("{:x}_{position}", sync.sources.store.incarnation())
}

/// `None` for one of a database that this one was restored from, too: what was deleted then may be
/// there again.
pub(crate) fn parse(sync: &Inner, text: Option<&str>) -> Result<Option<Position>, SyncError> {
    let Some(text) = text else { return Ok(None) };
    let store = &sync.sources.store;
    let (incarnation, position) = parts(text).ok_or(SyncError::InvalidToken)?;
    if incarnation == store.incarnation() && position <= store.log().position() {
        return Ok(Some(position));
    }
    let is_earlier = store.previous_incarnations().contains(&incarnation);
    if is_earlier { Ok(None) } else { Err(SyncError::InvalidToken) }
}

fn parts(text: &str) -> Option<(u64, Position)> {
    let (incarnation, position) = text.split_once('_')?;
    let digits = position.bytes().all(|byte| byte.is_ascii_digit());
    let hex = incarnation.bytes().all(|byte| byte.is_ascii_hexdigit());
    let incarnation = u64::from_str_radix(incarnation, 16).ok().filter(|_| hex)?;
    Some((incarnation, position.parse().ok().filter(|_| digits)?))
}
