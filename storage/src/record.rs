//! Stored values carry a version and know their predecessor.
//!
//! On disk a record is one version byte and a postcard body. A type that changes its shape gets a
//! new version whose `Previous` is the old type with a `From` into the new one; rows are read in
//! whatever version they were written and written in the newest.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A stored value could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record is empty")]
    Empty,
    #[error("record version {0} is newer than this build or was never used")]
    UnknownVersion(u8),
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

/// A value that a table can hold.
pub trait Record: Sized + Send + 'static {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &Bytes) -> Result<Self, RecordError>;
}

/// A serde type at one version of its shape. Give the first version `Previous = First`.
pub trait Versioned: Serialize + DeserializeOwned + Send + 'static {
    const VERSION: u8;
    type Previous: Upgrade<Self>;
}

/// How an older shape becomes a newer one.
pub trait Upgrade<New>: Sized {
    fn upgrade(version: u8, body: &[u8]) -> Result<New, RecordError>;
}

/// The predecessor of a first version: there is none.
#[derive(Debug, Serialize, Deserialize)]
pub enum First {}

impl<New> Upgrade<New> for First {
    fn upgrade(version: u8, _body: &[u8]) -> Result<New, RecordError> {
        Err(RecordError::UnknownVersion(version))
    }
}

impl<Old, New> Upgrade<New> for Old
where
    Old: Versioned + Into<New>,
{
    fn upgrade(version: u8, body: &[u8]) -> Result<New, RecordError> {
        decode::<Old>(version, body).map(Into::into)
    }
}

fn decode<T: Versioned>(version: u8, body: &[u8]) -> Result<T, RecordError> {
    if version == T::VERSION {
        postcard::from_bytes(body).map_err(|error| RecordError::Damaged(error.to_string()))
    } else {
        T::Previous::upgrade(version, body)
    }
}

impl<T: Versioned> Record for T {
    fn to_bytes(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![T::VERSION])
            .expect("records hold only what postcard can write, into memory")
    }

    fn from_bytes(bytes: &Bytes) -> Result<Self, RecordError> {
        let (&version, body) = bytes.split_first().ok_or(RecordError::Empty)?;
        decode(version, body)
    }
}

/// Bytes stored as they are, for content-addressed rows whose form cannot change.
///
/// What is read is a copy: a slice of an engine's block would keep the whole block in memory.
impl Record for Bytes {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn from_bytes(bytes: &Bytes) -> Result<Self, RecordError> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

/// A row whose presence is all it says.
impl Record for () {
    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    fn from_bytes(_bytes: &Bytes) -> Result<Self, RecordError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde::{Deserialize, Serialize};

    use super::{First, Record, RecordError, Versioned};

    #[derive(Serialize, Deserialize)]
    struct NameV1 {
        name: String,
    }
    impl Versioned for NameV1 {
        const VERSION: u8 = 1;
        type Previous = First;
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Name {
        name: String,
        length: u32,
    }
    impl Versioned for Name {
        const VERSION: u8 = 2;
        type Previous = NameV1;
    }
    impl From<NameV1> for Name {
        fn from(old: NameV1) -> Self {
            Self { length: old.name.len() as u32, name: old.name }
        }
    }

    #[test]
    fn an_old_row_is_read_in_the_new_shape() {
        let old = Bytes::from(NameV1 { name: "ada".into() }.to_bytes());
        assert_eq!(Name::from_bytes(&old), Ok(Name { name: "ada".into(), length: 3 }));
    }

    #[test]
    fn a_newer_row_is_refused() {
        let newer = Bytes::from_static(&[9, 1, 2, 3]);
        assert_eq!(Name::from_bytes(&newer), Err(RecordError::UnknownVersion(9)));
    }
}
