//! Frames: one JSON object each.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    error::Error,
    nesting::{LEVELS_MAX, is_deeper_than},
};

/// The longest id of a request; it may become a transaction id.
const ID_BYTES_MAX: usize = 255;

/// What a client sends.
pub(super) enum Incoming {
    Request(Request),
    /// The answer to a server's ping, or something else that needs none.
    Ignored,
}

pub(super) struct Request {
    /// A notification has none and gets no answer.
    pub(super) id: Option<String>,
    pub(super) method: String,
    pub(super) params: Box<RawValue>,
}

#[derive(Deserialize)]
struct Frame {
    id: Option<Value>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
}

/// Reads a frame. The error is the whole answer, since a frame that cannot be read may have no id.
pub(super) fn read(text: &str) -> Result<Incoming, String> {
    // The frame and its `params` are around what would be the body over HTTP.
    if is_deeper_than(text.as_bytes(), LEVELS_MAX + 2) {
        return Err(failure(None, &Error::too_deep()));
    }
    let frame: Frame = match serde_json::from_str(text) {
        Ok(frame) => frame,
        Err(_) if crate::extract::is_json(text.as_bytes()) => {
            let error = Error::bad_json("A frame is an object with `id`, `method` and `params`");
            return Err(failure(None, &error));
        }
        Err(_) => return Err(failure(None, &Error::not_json())),
    };
    let id = match frame.id {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if id.len() <= ID_BYTES_MAX => Some(id),
        Some(_) => {
            let error = Error::invalid_param("`id` is a text of at most 255 bytes");
            return Err(failure(None, &error));
        }
    };
    let Some(method) = frame.method else { return Ok(Incoming::Ignored) };
    let params = frame.params.unwrap_or_else(|| RawValue::NULL.to_owned());
    Ok(Incoming::Request(Request { id, method, params }))
}

pub(super) fn success(id: &str, result: &Value) -> String {
    json!({ "id": id, "result": result }).to_string()
}

pub(super) fn failure(id: Option<&str>, error: &Error) -> String {
    json!({ "id": id, "error": error.to_json() }).to_string()
}

/// A batch in its envelope. `body` is a sync response and is not looked into.
pub(super) fn batch(seq: u64, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(body.len() + 48);
    frame.extend_from_slice(br#"{"method":"sync","seq":"#);
    frame.extend_from_slice(seq.to_string().as_bytes());
    frame.extend_from_slice(br#","data":"#);
    frame.extend_from_slice(body);
    frame.push(b'}');
    frame
}

#[cfg(test)]
mod tests {
    use super::{Incoming, read};

    #[test]
    fn frames_are_read_or_refused() {
        let refused = [
            ("{", "M_NOT_JSON"),
            ("", "M_NOT_JSON"),
            ("[]", "M_BAD_JSON"),
            ("7", "M_BAD_JSON"),
            (r#"{"id":7,"method":"ping"}"#, "M_INVALID_PARAM"),
            (r#"{"id":"a","method":7}"#, "M_BAD_JSON"),
        ];
        for (text, errcode) in refused {
            let answer = read(text).err().unwrap_or_default();
            assert!(
                answer.contains(errcode) && answer.contains(r#""id":null"#),
                "{text}: {answer}"
            );
        }
        let long = format!(r#"{{"id":"{}","method":"ping"}}"#, "x".repeat(256));
        assert!(read(&long).is_err());
        assert!(matches!(read(r#"{"id":"s9"}"#), Ok(Incoming::Ignored)));
        let Ok(Incoming::Request(request)) = read(r#"{"id":"1","method":"ping"}"#) else {
            panic!("a request");
        };
        assert_eq!((request.id.as_deref(), request.method.as_str()), (Some("1"), "ping"));
    }
}
