//! Typed keys as bytes whose order is the logical order.
//!
//! Integers are big-endian. Text and byte strings are escaped and terminated (`00` becomes `00 FF`,
//! the end is `00 01`), so that a tuple orders component by component and no value can pretend to
//! be the start of another.

/// A key read back from disk did not have the form of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored key does not have the form of its table")]
pub struct KeyError;

/// A type that a partition or sort key can have.
///
/// The order of the encoded bytes must be the order of the values.
pub trait Key: Sized + Send + 'static {
    fn decode(input: &mut &[u8]) -> Result<Self, KeyError>;
}

/// A value, usually a borrowed one, that can stand for a key of type `K` in a look-up.
pub trait EncodesAs<K> {
    fn encode(&self, out: &mut Vec<u8>);
}

/// The leading components of a tuple key, for range reads.
pub trait PrefixOf<K> {
    fn encode(&self, out: &mut Vec<u8>);
}

fn encode_terminated(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

fn decode_terminated(input: &mut &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut out = Vec::with_capacity(input.len());
    loop {
        let (&byte, rest) = input.split_first().ok_or(KeyError)?;
        *input = rest;
        if byte != 0 {
            out.push(byte);
            continue;
        }
        let (&mark, rest) = input.split_first().ok_or(KeyError)?;
        *input = rest;
        match mark {
            0xFF => out.push(0),
            1 => return Ok(out),
            _ => return Err(KeyError),
        }
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], KeyError> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or(KeyError)?;
    *input = rest;
    Ok(*head)
}

impl Key for String {
    fn decode(input: &mut &[u8]) -> Result<Self, KeyError> {
        Self::from_utf8(decode_terminated(input)?).map_err(|_| KeyError)
    }
}

impl<T: AsRef<str> + ?Sized> EncodesAs<String> for &T {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_terminated((*self).as_ref().as_bytes(), out);
    }
}

impl Key for Vec<u8> {
    fn decode(input: &mut &[u8]) -> Result<Self, KeyError> {
        decode_terminated(input)
    }
}

impl EncodesAs<Vec<u8>> for &[u8] {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_terminated(self, out);
    }
}

impl<const N: usize> Key for [u8; N] {
    fn decode(input: &mut &[u8]) -> Result<Self, KeyError> {
        take::<N>(input)
    }
}

impl<const N: usize> EncodesAs<[u8; N]> for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<const N: usize> EncodesAs<[u8; N]> for &[u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(*self);
    }
}

macro_rules! unsigned {
    ($($int:ty),*) => {$(
        impl Key for $int {
            fn decode(input: &mut &[u8]) -> Result<Self, KeyError> {
                Ok(<$int>::from_be_bytes(take(input)?))
            }
        }

        impl EncodesAs<$int> for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
unsigned!(u8, u16, u32, u64);

impl Key for i64 {
    fn decode(input: &mut &[u8]) -> Result<Self, KeyError> {
        // The sign bit is flipped, so that negative numbers sort first.
        Ok((u64::from_be_bytes(take(input)?) ^ (1 << 63)).cast_signed())
    }
}

impl EncodesAs<i64> for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.cast_unsigned() ^ (1 << 63)).to_be_bytes());
    }
}

impl Key for () {
    fn decode(_input: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(())
    }
}

impl EncodesAs<()> for () {
    fn encode(&self, _out: &mut Vec<u8>) {}
}

macro_rules! tuple {
    ($($key:ident $value:ident $index:tt),+) => {
        impl<$($key: Key),+> Key for ($($key,)+) {
            fn decode(input: &mut &[u8]) -> Result<Self, KeyError> {
                Ok(($($key::decode(input)?,)+))
            }
        }

        impl<$($key,)+ $($value: EncodesAs<$key>),+> EncodesAs<($($key,)+)> for ($($value,)+) {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }
        }
    };
}
tuple!(A VA 0);
tuple!(A VA 0, B VB 1);
tuple!(A VA 0, B VB 1, C VC 2);
tuple!(A VA 0, B VB 1, C VC 2, D VD 3);

macro_rules! prefix {
    ([$($key:ident $value:ident $index:tt),+] of [$($rest:ident),+]) => {
        impl<$($key,)+ $($rest,)+ $($value: EncodesAs<$key>),+>
            PrefixOf<($($key,)+ $($rest,)+)> for ($($value,)+)
        {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }
        }
    };
}
prefix!([A VA 0] of [B]);
prefix!([A VA 0] of [B, C]);
prefix!([A VA 0] of [B, C, D]);
prefix!([A VA 0, B VB 1] of [C]);
prefix!([A VA 0, B VB 1] of [C, D]);
prefix!([A VA 0, B VB 1, C VC 2] of [D]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{EncodesAs, Key};

    fn encoded<K>(value: impl EncodesAs<K>) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    proptest! {
        #[test]
        fn byte_order_is_logical_order(
            a in (".{0,6}", any::<u64>(), any::<i64>()),
            b in (".{0,6}", any::<u64>(), any::<i64>()),
        ) {
            let left = encoded::<(String, u64, i64)>((&a.0, a.1, a.2));
            let right = encoded::<(String, u64, i64)>((&b.0, b.1, b.2));
            prop_assert_eq!(left.cmp(&right), a.cmp(&b));
        }

        #[test]
        fn keys_round_trip(text in ".*", bytes in any::<Vec<u8>>(), number in any::<u64>()) {
            let raw = encoded::<(String, Vec<u8>, u64)>((&text, bytes.as_slice(), number));
            let mut input = raw.as_slice();
            let back = <(String, Vec<u8>, u64)>::decode(&mut input).expect("own encoding");
            prop_assert!(input.is_empty());
            prop_assert_eq!(back, (text, bytes, number));
        }

        #[test]
        fn junk_is_an_error_or_a_key_but_never_a_panic(junk in any::<Vec<u8>>()) {
            let _decoded = <(String, Vec<u8>, u64)>::decode(&mut junk.as_slice());
        }
    }

    #[test]
    fn no_text_is_the_start_of_another() {
        let short = encoded::<String>(&"a");
        let long = encoded::<String>(&"a\0b");
        assert!(!long.starts_with(&short));
        assert!(short < long);
    }
}
