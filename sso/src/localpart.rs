//! Names of other systems as localparts, by the mapping that the specification recommends ([spec]).
//!
//! [spec]: https://spec.matrix.org/v1.19/appendices/#mapping-from-other-character-sets

use std::fmt::Write as _;

/// Lower case; what a localpart may not have, and `=` itself, becomes `=` and two digits. One that
/// would begin like those of bridges has that character replaced too.
pub(crate) fn from_name(name: &str) -> String {
    let mut localpart = String::with_capacity(name.len());
    for (at, byte) in name.to_lowercase().bytes().enumerate() {
        let plain = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/+".contains(&byte);
        if plain && !(at == 0 && byte == b'_') {
            localpart.push(char::from(byte));
        } else {
            let _infallible = write!(localpart, "={byte:02x}");
        }
    }
    localpart
}

#[cfg(test)]
mod tests {
    use super::from_name;

    #[test]
    fn names() {
        for (name, expected) in [
            ("ada", "ada"),
            ("Ada.Lovelace", "ada.lovelace"),
            ("cas_user!", "cas_user=21"),
            ("_ada", "=5fada"),
            ("a=b", "a=3db"),
            ("ada@mail.test", "ada=40mail.test"),
            ("Łódź", "=c5=82=c3=b3d=c5=ba"),
            ("", ""),
        ] {
            assert_eq!(from_name(name), expected, "{name}");
        }
    }
}
