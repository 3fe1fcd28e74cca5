//! What a server's host is, whatever it is dressed up as.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// In lower case, without trailing dots.
pub(super) enum Host {
    Name(String),
    /// An address, as it came and in its one canonical form. IPv6 addresses are in brackets.
    Literal {
        text: String,
        canonical: String,
    },
    /// A number that `inet_aton` takes for an address.
    Disguised,
}

impl Host {
    pub(super) fn read(host: &str) -> Self {
        let text = host.trim_end_matches('.').to_ascii_lowercase();
        match address(&text) {
            Some(IpAddr::V4(address)) => Self::Literal { canonical: address.to_string(), text },
            Some(IpAddr::V6(address)) => Self::Literal { canonical: format!("[{address}]"), text },
            None if text.split('.').all(is_number) => Self::Disguised,
            None => Self::Name(text),
        }
    }
}

/// An IPv4 address mapped into IPv6 is the IPv4 address.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    let bare = text.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<Ipv6Addr>().ok().map(|address| address.to_canonical())
}

fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
