//! Texts made of claims: `{given_name} {family_name}`.

use serde_json::{Map, Value};

pub(crate) type Claims = Map<String, Value>;

/// The longest claim that is used, in bytes.
const CLAIM_BYTES_MAX: usize = 512;

/// A claim as text. `None` if it is absent, empty, too long, or no text or number.
pub(crate) fn claim(claims: &Claims, name: &str) -> Option<String> {
    let text = match claims.get(name)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty() && text.len() <= CLAIM_BYTES_MAX).then_some(text)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Claim(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

impl Template {
    /// `None` if a brace has no partner or a claim has no name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return None;
            }
            parts.extend([Part::Text(before.to_owned()), Part::Claim(name.to_owned())]);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        (!rest.contains('}')).then_some(Self(parts))
    }

    /// Whether all of its claims are there.
    pub(crate) fn is_covered(&self, claims: &Claims) -> bool {
        self.fill(claims).is_some()
    }

    /// `None` if a claim is missing.
    pub(crate) fn fill(&self, claims: &Claims) -> Option<String> {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Claim(name) => claim(claims, name),
        });
        let filled: String = parts.collect::<Option<_>>()?;
        Some(filled.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Template;

    #[test]
    fn templates() {
        let Value::Object(claims) =
            json!({ "sub": 7, "name": "Ada", "empty": "", "list": [], "long": "x".repeat(600) })
        else {
            panic!("an object");
        };
        for (template, expected) in [
            ("{name}", Some(Some("Ada"))),
            ("{name}-{sub}", Some(Some("Ada-7"))),
            ("u{sub}", Some(Some("u7"))),
            ("plain", Some(Some("plain"))),
            ("{absent}", Some(None)),
            ("{empty}", Some(None)),
            ("{list}", Some(None)),
            ("{long}", Some(None)),
            ("", Some(None)),
            ("{", None),
            ("}", None),
            ("{}", None),
            ("{a{b}}", None),
            ("a}{b}", None),
        ] {
            let parsed = Template::parse(template);
            let filled = parsed.map(|template| template.fill(&claims));
            assert_eq!(filled, expected.map(|text| text.map(str::to_owned)), "{template}");
        }
    }
}
