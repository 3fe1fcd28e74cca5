//! What a round must show: pure comparisons of what was acknowledged with what the server tells.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use super::{history::Events, writer::Attempt};

const EXAMPLES_MAX: u64 = 5;

/// Counts of a round or of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) acknowledged: u64,
    pub(super) retried: u64,
    /// Acknowledged, and not in the history.
    pub(super) lost: u64,
    /// One transaction, more than one event; or one event told twice.
    pub(super) duplicated: u64,
    /// One transaction was answered with two event ids.
    pub(super) changed: u64,
    /// In the history, and not told to a reader that synced from its last token.
    pub(super) missed: u64,
    /// Told to a reader twice.
    pub(super) repeated: u64,
    /// Told to a reader, and not in the history: delivered before it was durable.
    pub(super) phantom: u64,
    /// Told to a reader in another order than the history has.
    pub(super) misordered: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.retried += other.retried;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.changed += other.changed;
        self.missed += other.missed;
        self.repeated += other.repeated;
        self.phantom += other.phantom;
        self.misordered += other.misordered;
    }

    pub(super) fn is_clean(&self) -> bool {
        let work =
            Self { acknowledged: self.acknowledged, retried: self.retried, ..Self::default() };
        *self == work && self.acknowledged > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} acknowledged, {} retried, {} lost, {} duplicated, {} changed; readers: {} missed, \
             {} repeated, {} phantom, {} misordered",
            self.acknowledged,
            self.retried,
            self.lost,
            self.duplicated,
            self.changed,
            self.missed,
            self.repeated,
            self.phantom,
            self.misordered
        )
    }
}

/// Prints the first few findings of a kind: a region that loses a second loses thousands of events.
pub(super) fn example(count: u64, text: impl FnOnce() -> String) {
    if count <= EXAMPLES_MAX {
        eprintln!("{}", text());
    }
}

/// Compares attempts with the history that should hold each of them once.
pub(super) fn judge(attempts: &[Attempt], history: &Events) -> Tally {
    let mut tally = Tally::default();
    let mut by_text: HashMap<(&str, &str), Vec<&str>> = HashMap::new();
    for (room, entries) in history {
        let mut ids = HashSet::new();
        for entry in entries {
            tally.duplicated += u64::from(!ids.insert(&entry.event_id));
            if let Some(text) = &entry.text {
                by_text.entry((room, text)).or_default().push(&entry.event_id);
            }
        }
    }
    for attempt in attempts {
        let Some(acknowledged) = &attempt.event_id else { continue };
        match by_text.get(&(attempt.room.as_str(), attempt.transaction.as_str())).map(Vec::as_slice)
        {
            None | Some([]) => {
                tally.lost += 1;
                example(tally.lost, || format!("lost: {} {acknowledged}", attempt.transaction));
            }
            Some([only]) => tally.changed += u64::from(only != acknowledged),
            Some(several) => {
                tally.duplicated += several.len() as u64 - 1;
                example(tally.duplicated, || {
                    format!("duplicated: {} {several:?}", attempt.transaction)
                });
            }
        }
    }
    tally
}

/// Compares what a reader was told, in its order, with the history of its rooms. Events that it
/// fetched to fill a gap come without an order.
pub(super) fn judge_reader(told: &Told, history: &Events) -> Tally {
    let mut tally = Tally::default();
    for (room, entries) in history {
        let place: BTreeMap<&str, usize> = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| (entry.event_id.as_str(), place))
            .collect();
        let ordered = told.in_order.get(room).map(Vec::as_slice).unwrap_or_default();
        let filled = told.filled.get(room).cloned().unwrap_or_default();
        let known: BTreeSet<&str> =
            ordered.iter().map(String::as_str).chain(filled.iter().map(String::as_str)).collect();
        tally.missed += place.keys().filter(|event_id| !known.contains(*event_id)).count() as u64;
        tally.phantom +=
            known.iter().filter(|event_id| !place.contains_key(*event_id)).count() as u64;
        let places: Vec<usize> =
            ordered.iter().filter_map(|event_id| place.get(event_id.as_str()).copied()).collect();
        tally.misordered += places.windows(2).filter(|pair| pair[0] > pair[1]).count() as u64;
    }
    tally
}

/// What a reader was told in a round, by room.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) in_order: BTreeMap<String, Vec<String>>,
    pub(super) filled: BTreeMap<String, BTreeSet<String>>,
}

#[cfg(test)]
mod tests {
    use super::{super::history::Entry, *};

    fn attempt(transaction: &str, event_id: Option<&str>) -> Attempt {
        Attempt {
            user: 0,
            room: "!r".to_owned(),
            transaction: transaction.to_owned(),
            over_socket: false,
            event_id: event_id.map(str::to_owned),
        }
    }

    fn history(entries: &[(&str, &str)]) -> Events {
        let entries = entries
            .iter()
            .map(|(event_id, text)| Entry {
                event_id: (*event_id).to_owned(),
                text: Some((*text).to_owned()),
            })
            .collect();
        Events::from([("!r".to_owned(), entries)])
    }

    fn told(in_order: &[&str], filled: &[&str]) -> Told {
        let in_order = in_order.iter().map(|event_id| (*event_id).to_owned()).collect();
        let filled = filled.iter().map(|event_id| (*event_id).to_owned()).collect();
        Told {
            in_order: BTreeMap::from([("!r".to_owned(), in_order)]),
            filled: BTreeMap::from([("!r".to_owned(), filled)]),
        }
    }

    #[test]
    fn whole_history_is_clean() {
        let attempts = [attempt("a", Some("$a")), attempt("b", None)];
        assert_eq!(judge(&attempts, &history(&[("$a", "a")])), Tally::default());
    }

    #[test]
    fn loss_duplicates_and_changes_are_counted() {
        let one = [attempt("a", Some("$a"))];
        assert_eq!(judge(&one, &history(&[])).lost, 1);
        assert_eq!(judge(&one, &history(&[("$a", "a"), ("$b", "a")])).duplicated, 1);
        assert_eq!(judge(&one, &history(&[("$a", "a"), ("$a", "b")])).duplicated, 1);
        assert_eq!(judge(&one, &history(&[("$b", "a")])).changed, 1);
    }

    #[test]
    fn nothing_acknowledged_is_not_clean() {
        assert!(!Tally::default().is_clean());
        assert!(Tally { acknowledged: 1, retried: 2, ..Tally::default() }.is_clean());
        assert!(!Tally { acknowledged: 1, phantom: 1, ..Tally::default() }.is_clean());
    }

    #[test]
    fn readers_are_judged() {
        let events = history(&[("$a", "a"), ("$b", "b"), ("$c", "c")]);
        assert_eq!(judge_reader(&told(&["$a", "$b", "$c"], &[]), &events), Tally::default());
        assert_eq!(judge_reader(&told(&["$a", "$c"], &["$b"]), &events), Tally::default());
        assert_eq!(judge_reader(&told(&["$a", "$c"], &[]), &events).missed, 1);
        assert_eq!(judge_reader(&told(&["$a", "$c", "$b"], &[]), &events).misordered, 1);
        assert_eq!(judge_reader(&told(&["$a", "$b", "$c", "$x"], &[]), &events).phantom, 1);
    }
}
