//! The content of events that are put together here, from parts that stay as they were written.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::Error;

/// A JSON object whose values are text: numbers and strings are not re-interpreted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content(BTreeMap<String, Box<RawValue>>);

impl Content {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// `what` is for the error's text.
    pub(crate) fn parse(json: &RawValue, what: &str) -> Result<Self, Error> {
        serde_json::from_str(json.get())
            .map(Self)
            .map_err(|_| Error::BadJson(format!("{what} must be a JSON object")))
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Serialize) -> &mut Self {
        let value = to_raw_value(&value).expect("strings, numbers and maps of them are JSON");
        self.0.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn set_some(&mut self, key: &str, value: Option<impl Serialize>) -> &mut Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.get(key).map(|value| &**value)
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Box<RawValue>> {
        self.0.remove(key)
    }

    /// Takes all keys of `other`, over those that are there.
    pub(crate) fn extend(&mut self, other: Self) -> &mut Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn to_raw(&self) -> Box<RawValue> {
        to_raw_value(&self.0).expect("a map of JSON texts is JSON")
    }
}
