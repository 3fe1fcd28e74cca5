//! Many patterns, most of which have no wildcards.

use std::collections::HashSet;

use crate::glob::Glob;

#[derive(Clone, Debug, Default)]
pub(super) struct Globs {
    exact: HashSet<Box<str>>,
    globs: Vec<Glob>,
}

impl Globs {
    pub(super) fn exact(patterns: &[String]) -> Self {
        let mut compiled = Self::default();
        for pattern in patterns {
            compiled.push(pattern);
        }
        compiled
    }

    /// To be put to texts in lower case.
    pub(super) fn caseless(patterns: &[String]) -> Self {
        let patterns: Vec<String> = patterns.iter().map(|pattern| pattern.to_lowercase()).collect();
        Self::exact(&patterns)
    }

    fn push(&mut self, pattern: &str) {
        if pattern.contains(['*', '?']) {
            self.globs.push(Glob::new(pattern));
        } else {
            self.exact.insert(pattern.into());
        }
    }

    pub(super) fn contain(&self, text: &str) -> bool {
        self.exact.contains(text) || self.globs.iter().any(|glob| glob.matches(text))
    }
}
