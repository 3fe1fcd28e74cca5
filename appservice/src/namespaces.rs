//! Namespaces: the names that an application service is interested in.

use regex::Regex;
use serde::Deserialize;

/// As in the file.
#[derive(Deserialize)]
pub(crate) struct NamespaceText {
    regex: String,
    exclusive: bool,
}

#[derive(Clone, Debug)]
struct Namespace {
    regex: Regex,
    exclusive: bool,
}

/// The namespaces of one kind of name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces(Vec<Namespace>);

impl Namespaces {
    pub(crate) fn parse(texts: Vec<NamespaceText>) -> Result<Self, regex::Error> {
        let parse = |text: NamespaceText| {
            // From the beginning of the name, and not up to its end, as registrations in the field
            // expect: they mostly leave out the server.
            let regex = Regex::new(&format!("^(?:{})", text.regex))?;
            Ok(Namespace { regex, exclusive: text.exclusive })
        };
        texts.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn cover(&self, name: &str) -> bool {
        self.0.iter().any(|namespace| namespace.regex.is_match(name))
    }

    pub(crate) fn cover_exclusively(&self, name: &str) -> bool {
        self.0.iter().any(|namespace| namespace.exclusive && namespace.regex.is_match(name))
    }
}
