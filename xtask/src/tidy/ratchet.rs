//! The ratchet on function length: long functions that exist are listed with their length, and none
//! may grow or join the list. The worth is in keeping small functions small.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::source::Source;

const FUNCTION_LINES_MAX: usize = 70;

/// Long functions by `path::name`, with their length in lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ratchet(BTreeMap<String, usize>);

/// The functions of a file that are over the limit. Same names in a file are numbered in order.
pub(super) fn long_functions(path: &str, source: &Source) -> Vec<(String, usize)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    source
        .functions()
        .into_iter()
        .filter_map(|function| {
            let count = seen.entry(function.name.clone()).or_default();
            *count += 1;
            let number = if *count > 1 { format!("#{count}") } else { String::new() };
            let length = function.last_line - function.first_line + 1;
            (length > FUNCTION_LINES_MAX)
                .then(|| (format!("{path}::{}{number}", function.name), length))
        })
        .collect()
}

impl Ratchet {
    pub(super) fn new(functions: Vec<(String, usize)>) -> Self {
        Self(functions.into_iter().collect())
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        text.lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (length, function) = line
                    .split_once(' ')
                    .with_context(|| format!("ratchet: no length and function in {line:?}"))?;
                let length = length.parse().with_context(|| format!("ratchet: {line:?}"))?;
                Ok((function.to_owned(), length))
            })
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    pub(super) fn render(&self) -> String {
        let mut text = format!(
            "# Functions over {FUNCTION_LINES_MAX} lines. None may grow, none may be added.\n\
             # Written by `cargo xtask tidy --bless`.\n"
        );
        for (function, length) in &self.0 {
            text.push_str(&format!("{length} {function}\n"));
        }
        text
    }

    /// What changed against the accepted list.
    pub(super) fn problems(&self, accepted: &Self) -> Vec<String> {
        let mut problems = Vec::new();
        for (function, length) in &self.0 {
            match accepted.0.get(function) {
                None => problems.push(format!(
                    "{function}: {length} lines, over {FUNCTION_LINES_MAX}; cut it where a second \
                     thing starts"
                )),
                Some(before) if length > before => {
                    problems.push(format!("{function}: grew from {before} to {length} lines"));
                }
                Some(before) if length < before => problems.push(format!(
                    "{function}: shrank from {before} to {length} lines; run `cargo xtask tidy \
                     --bless`"
                )),
                Some(_) => {}
            }
        }
        let gone = accepted.0.keys().filter(|function| !self.0.contains_key(*function));
        problems.extend(gone.map(|function| {
            format!("{function}: no longer long or gone; run `cargo xtask tidy --bless`")
        }));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> Source {
        Source::parse(&format!("fn f() {{\n{}}}\n", "    a();\n".repeat(lines - 2)))
    }

    fn ratchet(length: usize) -> Ratchet {
        Ratchet::new(long_functions("a/src/b.rs", &function_of(length)))
    }

    #[test]
    fn only_functions_over_the_limit_are_listed() {
        assert_eq!(long_functions("a/src/b.rs", &function_of(FUNCTION_LINES_MAX)), []);
        let found = long_functions("a/src/b.rs", &function_of(FUNCTION_LINES_MAX + 1));
        assert_eq!(found, [("a/src/b.rs::f".to_owned(), FUNCTION_LINES_MAX + 1)]);
    }

    #[test]
    fn new_grown_shrunk_and_gone_functions_are_reported() {
        let none = Ratchet::default();
        assert_eq!(ratchet(80).problems(&ratchet(80)), Vec::<String>::new());
        assert_eq!(ratchet(80).problems(&none).len(), 1);
        assert_eq!(ratchet(81).problems(&ratchet(80)).len(), 1);
        assert_eq!(ratchet(79).problems(&ratchet(80)).len(), 1);
        assert_eq!(none.problems(&ratchet(80)).len(), 1);
    }

    #[test]
    fn the_file_reads_back() {
        let written = ratchet(90);
        assert_eq!(Ratchet::parse(&written.render()).expect("parses"), written);
        assert!(Ratchet::parse("ninety a::b\n").is_err());
    }
}
