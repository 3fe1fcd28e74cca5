//! Rows as they were before they were overwritten.

use std::{cmp::Ordering, collections::BTreeMap, iter::Peekable};

use bytes::Bytes;
use sled::IVec;

use crate::engine::EngineError;

/// By key: the value that was overwritten, or that there was none.
pub(super) type Overlay = BTreeMap<Vec<u8>, Option<Bytes>>;

/// What a snapshot may keep in memory. A backup under heavier load has to be tried again.
const KEPT_BYTES: usize = 256 << 20;

/// What was overwritten since a snapshot was taken.
#[derive(Default)]
pub(super) struct Kept {
    overlay: Overlay,
    bytes: usize,
}

impl Kept {
    pub(super) fn keep(&mut self, overwritten: &Overlay) {
        if self.bytes > KEPT_BYTES {
            return;
        }
        for (key, value) in overwritten {
            self.overlay.entry(key.clone()).or_insert_with(|| {
                // The map's own share is about as much as a short key.
                self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + 64;
                value.clone()
            });
        }
        if self.bytes > KEPT_BYTES {
            self.overlay = Overlay::new();
        }
    }

    pub(super) fn overlay(&self) -> Result<&Overlay, EngineError> {
        if self.bytes > KEPT_BYTES {
            let reason = "too much was written while the snapshot was being read; try again";
            return Err(EngineError(reason.to_owned()));
        }
        Ok(&self.overlay)
    }
}

/// Merges rows with an overlay, both in the same order. On equal keys the overlay is right.
pub(super) fn merged<'a, R, K>(
    rows: R,
    overlay: K,
    reverse: bool,
    whole: impl Fn(&[u8], &[u8]) -> Result<Bytes, EngineError>,
) -> impl Iterator<Item = Result<(Vec<u8>, Bytes), EngineError>>
where
    R: Iterator<Item = Result<(IVec, IVec), EngineError>>,
    K: Iterator<Item = (&'a [u8], &'a Option<Bytes>)>,
{
    let mut rows = rows.peekable();
    let mut overlay = overlay.peekable();
    std::iter::from_fn(move || {
        loop {
            match next_source(&mut rows, &mut overlay, reverse)? {
                Source::Row => {
                    let row = rows.next()?;
                    let read = |(key, first): (IVec, IVec)| {
                        whole(&key, &first).map(|value| (key.to_vec(), value))
                    };
                    return Some(row.and_then(read));
                }
                source => {
                    if source == Source::Both {
                        rows.next();
                    }
                    // `None`: the row was not there yet.
                    if let (key, Some(value)) = overlay.next()? {
                        return Some(Ok((key.to_vec(), value.clone())));
                    }
                }
            }
        }
    })
}

#[derive(PartialEq, Eq)]
enum Source {
    Row,
    Overlay,
    Both,
}

fn next_source<'a, R, K>(
    rows: &mut Peekable<R>,
    overlay: &mut Peekable<K>,
    reverse: bool,
) -> Option<Source>
where
    R: Iterator<Item = Result<(IVec, IVec), EngineError>>,
    K: Iterator<Item = (&'a [u8], &'a Option<Bytes>)>,
{
    let row = match (rows.peek(), overlay.peek()) {
        (None, None) => return None,
        (None, Some(_)) => return Some(Source::Overlay),
        (Some(_), None) | (Some(Err(_)), _) => return Some(Source::Row),
        (Some(Ok((row, _))), Some((kept, _))) => (**row).cmp(kept),
    };
    Some(match if reverse { row.reverse() } else { row } {
        Ordering::Less => Source::Row,
        Ordering::Equal => Source::Both,
        Ordering::Greater => Source::Overlay,
    })
}
