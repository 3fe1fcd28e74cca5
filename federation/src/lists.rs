//! Lists of strangers: bounded in number, since an element costs more in memory than on the wire,
//! and read one by one, since one that is bad must not spoil the others.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// JSON values, of which every byte is kept. More than `MAX` are an error.
pub(crate) fn pdus<'de, D, const MAX: usize>(deserializer: D) -> Result<Vec<Bytes>, D::Error>
where
    D: Deserializer<'de>,
{
    let keep = |json: Box<RawValue>| Some(Bytes::from(String::from(Box::<str>::from(json))));
    deserializer.deserialize_seq(List { keep, max: MAX, of: PhantomData })
}

/// What can be read of a list. More than `MAX` elements are an error, readable or not.
pub(crate) fn readable<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let keep = |json: Box<RawValue>| serde_json::from_str(json.get()).ok();
    // Null too: a list that may be absent may be that.
    deserializer.deserialize_any(List { keep, max: MAX, of: PhantomData })
}

struct List<T, F> {
    keep: F,
    max: usize,
    of: PhantomData<T>,
}

impl<'de, T, F: Fn(Box<RawValue>) -> Option<T>> Visitor<'de> for List<T, F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {} elements", self.max)
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let (mut kept, mut count) = (Vec::new(), 0);
        while let Some(element) = elements.next_element()? {
            count += 1;
            if count > self.max {
                return Err(A::Error::invalid_length(count, &self));
            }
            kept.extend((self.keep)(element));
        }
        Ok(kept)
    }
}
