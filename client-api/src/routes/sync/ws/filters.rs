//! The filters of open sockets, and those that polls asked with of late. Clients of one kind send
//! the same one, so each is kept once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use sync::Filter;

use crate::{error::Error, routes::sync::parse_filter};

/// A longer filter lists somebody's rooms: nobody else has it.
const JSON_BYTES_MAX: usize = 2048;
/// Below this many there is nothing to clean up.
const KEPT_MIN: usize = 64;
/// The newest are kept although nobody uses them: a poll asks again with the same one.
const NEWEST_KEPT: usize = 32;

#[derive(Default)]
pub(super) struct Filters {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_json: HashMap<Box<str>, Weak<Filter>>,
    newest: VecDeque<Arc<Filter>>,
    /// How many there may be before those that nobody uses any more are dropped.
    clean_at: usize,
}

impl Filters {
    pub(super) fn parse(&self, json: &str) -> Result<Arc<Filter>, Error> {
        if json.len() > JSON_BYTES_MAX {
            return parse_filter(json);
        }
        if let Some(filter) = self.known.lock().by_json.get(json).and_then(Weak::upgrade) {
            return Ok(filter);
        }
        let filter = parse_filter(json)?;
        self.known.lock().insert(json, &filter);
        Ok(filter)
    }
}

impl Known {
    fn insert(&mut self, json: &str, filter: &Arc<Filter>) {
        if self.by_json.len() >= self.clean_at {
            self.by_json.retain(|_, filter| filter.strong_count() > 0);
            self.clean_at = KEPT_MIN.max(2 * self.by_json.len());
        }
        self.by_json.insert(json.into(), Arc::downgrade(filter));
        self.newest.truncate(NEWEST_KEPT - 1);
        self.newest.push_front(Arc::clone(filter));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Filters, KEPT_MIN, NEWEST_KEPT};

    #[test]
    fn a_filter_is_kept_once_and_as_long_as_it_is_used() {
        let filters = Filters::default();
        let parse = |limit: usize| {
            filters
                .parse(&format!(r#"{{"room":{{"timeline":{{"limit":{limit}}}}}}}"#))
                .expect("valid")
        };
        let first = parse(1);
        assert!(Arc::ptr_eq(&first, &parse(1)));
        assert!(!Arc::ptr_eq(&first, &parse(2)));
        for limit in 0..10 * KEPT_MIN {
            parse(limit);
        }
        let known = filters.known.lock();
        assert!(known.by_json.len() <= 2 * (NEWEST_KEPT + KEPT_MIN), "those of nobody are dropped");
        assert_eq!(known.newest.len(), NEWEST_KEPT);
        drop(known);
        assert!(Arc::ptr_eq(&first, &parse(1)), "one that is used is not");
        assert!(filters.parse("{").is_err());
    }

    #[test]
    fn the_newest_are_kept_although_nobody_uses_them() {
        let filters = Filters::default();
        let parse = |json: &str| Arc::as_ptr(&filters.parse(json).expect("valid"));
        let first = parse("{}");
        parse(r#"{"room":{}}"#);
        assert_eq!(first, parse("{}"));
        assert_eq!(filters.known.lock().newest.len(), 2, "it was not read again");
    }
}
