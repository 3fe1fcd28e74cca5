//! Figures by name, as they are kept in a file, and how those of a run compare.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context as _;

const HEADER: &str = "# Written by `cargo xtask costs --accept`; a change here is a change of what the server costs.\n";

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Figures(BTreeMap<String, u64>);

impl Figures {
    pub(super) fn set(&mut self, name: String, value: u64) {
        self.0.insert(name, value);
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let line = |line: &str| {
            let (value, name) = line.trim().split_once(' ').context(line.to_owned())?;
            let value = value.parse().with_context(|| line.to_owned())?;
            anyhow::Ok((name.trim().to_owned(), value))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        Ok(Self(lines.map(line).collect::<anyhow::Result<_>>()?))
    }

    pub(super) fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        for (name, value) in &self.0 {
            let _ = writeln!(text, "{value:>12}  {name}");
        }
        text
    }

    /// What is worse than kept or has no counterpart, and what is better.
    pub(super) fn compare(
        &self,
        found: &Self,
        may_grow_percent: u64,
    ) -> (Vec<String>, Vec<String>) {
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        for (name, kept) in &self.0 {
            let Some(found) = found.0.get(name) else {
                worse.push(format!("{name}: is kept, but not counted any more"));
                continue;
            };
            let change = (*found as f64 / *kept as f64 - 1.0) * 100.0;
            let line = format!("{name}: {found}, kept is {kept} ({change:+.1} %)");
            if found * 100 > kept * (100 + may_grow_percent) {
                worse.push(line);
            } else if found * (100 + may_grow_percent) < kept * 100 {
                better.push(line);
            }
        }
        let new = found.0.keys().filter(|name| !self.0.contains_key(*name));
        worse.extend(new.map(|name| format!("{name}: is counted, but not kept")));
        (worse, better)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(all: &[(&str, u64)]) -> Figures {
        let mut figures = Figures::default();
        all.iter().for_each(|(name, value)| figures.set((*name).to_owned(), *value));
        figures
    }

    #[test]
    fn what_is_written_is_read_back_in_order() {
        let kept = figures(&[("b c", 20), ("a", 1)]);
        assert_eq!(Figures::parse(&kept.text()).expect("valid"), kept);
        assert!(kept.text().ends_with("           1  a\n          20  b c\n"));
        assert!(Figures::parse("many a").is_err());
    }

    #[test]
    fn more_than_allowed_is_worse() {
        let kept = figures(&[("send", 1000)]);
        for (found, may_grow, worse, better) in [
            (1000, 0, 0, 0),
            (1001, 0, 1, 0),
            (999, 0, 0, 1),
            (1050, 5, 0, 0),
            (1051, 5, 1, 0),
            (960, 5, 0, 0),
            (900, 5, 0, 1),
        ] {
            let outcome = kept.compare(&figures(&[("send", found)]), may_grow);
            assert_eq!((outcome.0.len(), outcome.1.len()), (worse, better), "{found}");
        }
        let none = figures(&[("allocations", 0)]);
        assert_eq!(none.compare(&figures(&[("allocations", 1)]), 5).0.len(), 1, "from nothing");
    }

    #[test]
    fn what_has_no_counterpart_is_told() {
        let (worse, _) = figures(&[("old", 1)]).compare(&figures(&[("new", 1)]), 5);
        assert_eq!(worse.len(), 2, "{worse:?}");
    }
}
