//! The frames that only say that somebody is there. They are most of what idle clients send, so
//! the gateway answers them; see `docs/websocket.md` for what they mean.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A frame that is longer says something else.
const BEAT_BYTES_MAX: usize = 512;
/// The longest id of a request.
const ID_BYTES_MAX: usize = 255;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    /// The frame that answers.
    pub(crate) answer: Option<String>,
    /// Whether somebody is really there; a `ping` does not say.
    pub(crate) active: Option<bool>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Active {
    active: bool,
}

/// Reads a heartbeat. Whatever is anything else, in content or in form, is for the core.
pub(crate) fn read(text: &str) -> Option<Beat> {
    if text.len() > BEAT_BYTES_MAX {
        return None;
    }
    let Frame { id, method, params } = serde_json::from_str(text).ok()?;
    let active = match (method, params) {
        ("ping", _) => None,
        ("presence", Some(params)) => {
            let Active { active } = serde_json::from_str(params.get()).ok()?;
            Some(active)
        }
        _ => return None,
    };
    let answer = match id.map(RawValue::get) {
        None => None,
        Some(id) => {
            let plain: &str = serde_json::from_str(id).ok()?;
            if plain.len() > ID_BYTES_MAX {
                return None;
            }
            Some(format!(r#"{{"id":{id},"result":{{}}}}"#))
        }
    };
    Some(Beat { answer, active })
}

#[cfg(test)]
mod tests {
    use super::{Beat, read};

    #[test]
    fn heartbeats_are_told_from_everything_else() {
        let beat =
            |answer: Option<&str>, active| Some(Beat { answer: answer.map(str::to_owned), active });
        let answered = Some(r#"{"id":"a","result":{}}"#);
        let rows = [
            (r#"{"id":"a","method":"ping"}"#, beat(answered, None)),
            (r#"{"id":"a","method":"ping","params":{}}"#, beat(answered, None)),
            (r#"{"method":"ping"}"#, beat(None, None)),
            (r#"{"method":"presence","params":{"active":true}}"#, beat(None, Some(true))),
            (
                r#"{"id":"a","method":"presence","params":{"active":false}}"#,
                beat(answered, Some(false)),
            ),
            (r#"{"id":"a","method":"presence","params":{"active":true,"status_msg":"x"}}"#, None),
            (r#"{"id":"a","method":"presence","params":{"presence":"online"}}"#, None),
            (r#"{"id":"a","method":"presence"}"#, None),
            (r#"{"id":"a","method":"send","params":{}}"#, None),
            (r#"{"id":7,"method":"ping"}"#, None),
            (r#"{"id":"a"}"#, None),
            ("ping", None),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text), expected, "{text}");
        }
        let long = format!(r#"{{"id":"{}","method":"ping"}}"#, "x".repeat(256));
        assert_eq!(read(&long), None, "the core refuses an id that is too long");
    }
}
