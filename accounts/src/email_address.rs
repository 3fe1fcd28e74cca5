//! Email addresses in the one form in which they are compared.

/// What fits into the envelope of a mail.
const BYTES_MAX: usize = 254;

/// An address in its canonical form, which is lower case ([spec]).
///
/// Of ASCII only: letters that merely look alike, or become one letter when their case changes,
/// would make two readers one.
///
/// [spec]: https://spec.matrix.org/v1.19/appendices/#e-mail-addresses
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EmailAddress(String);

impl EmailAddress {
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let (local, domain) = address.rsplit_once('@')?;
        let local_byte =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
        let domain_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        let is_dotted = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && !part.ends_with('.')
                && !part.contains("..")
        };
        let is_address = address.len() <= BYTES_MAX
            && is_dotted(local)
            && is_dotted(domain)
            && local.bytes().all(local_byte)
            && domain.bytes().all(domain_byte);
        is_address.then(|| Self(address.to_ascii_lowercase()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::EmailAddress;

    #[test]
    fn one_form_for_each_reader() {
        let found = EmailAddress::parse("Ada.Lovelace+x@Mail.Example").expect("an address");
        assert_eq!(found.as_str(), "ada.lovelace+x@mail.example");
    }

    #[test]
    fn what_is_no_single_address() {
        let long = format!("{}@x.test", "a".repeat(250));
        let cases = [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a b@c",
            "a@b@c",
            "a@b\r\nBcc: x@y",
            "a@b,c@d",
            "<a@b>",
            "\"a\"@b",
            "a..b@c",
            ".a@b",
            "a@b.",
            "a@[127.0.0.1]",
            "ma\u{131}l@b.test",
            &long,
        ];
        for case in cases {
            assert_eq!(EmailAddress::parse(case), None, "{case:?}");
        }
    }
}
