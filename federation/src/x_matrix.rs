//! `Authorization: X-Matrix`, read as tolerantly and written as strictly as the specification says
//! (section "Request Authentication").

use std::fmt::Write as _;

use ruma::{OwnedServerName, ServerName};

/// Parameters of a header that are looked at.
const PARAMETERS_MAX: usize = 16;
/// What may stand between parameters.
const SEPARATORS: [char; 3] = [' ', '\t', ','];

/// Who says that they sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct XMatrix {
    pub(crate) origin: OwnedServerName,
    /// Absent before v1.3.
    pub(crate) destination: Option<OwnedServerName>,
    pub(crate) key: String,
    pub(crate) sig: String,
}

/// Why a header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is of another scheme, lacks something, or names us by what is no name.
    Malformed,
    /// `origin` is no server name.
    Origin,
}

struct Parameters {
    origin: String,
    destination: Option<String>,
    key: String,
    sig: String,
}

impl XMatrix {
    pub(crate) fn parse(header: &str) -> Result<Self, Unusable> {
        let found = Parameters::read(header).ok_or(Unusable::Malformed)?;
        let Parameters { origin, destination, key, sig } = found;
        let destination = destination.map(ServerName::parse).transpose();
        let destination = destination.map_err(|_| Unusable::Malformed)?;
        let origin = ServerName::parse(origin).map_err(|_| Unusable::Origin)?;
        Ok(Self { origin, destination, key, sig })
    }

    pub(crate) fn to_header(&self) -> String {
        let mut header = format!("X-Matrix origin=\"{}\"", self.origin);
        if let Some(destination) = &self.destination {
            let _infallible = write!(header, ",destination=\"{destination}\"");
        }
        let _infallible = write!(header, ",key=\"{}\",sig=\"{}\"", self.key, self.sig);
        header
    }
}

impl Parameters {
    fn read(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim_start_matches([' ', '\t']).split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("X-Matrix") {
            return None;
        }
        let (mut origin, mut destination, mut key, mut sig) = (None, None, None, None);
        let mut rest = rest.trim_start_matches(SEPARATORS);
        let mut count = 0;
        while !rest.is_empty() {
            count += 1;
            // What is not looked at could say something twice.
            if count > PARAMETERS_MAX {
                return None;
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = value(after.trim_start_matches([' ', '\t']))?;
            rest = after.trim_start_matches(SEPARATORS);
            let slot = match name.trim_matches([' ', '\t']).to_ascii_lowercase().as_str() {
                "origin" => &mut origin,
                "destination" => &mut destination,
                "key" => &mut key,
                "sig" => &mut sig,
                _ => continue,
            };
            // Said twice it could mean two things to two readers.
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(Self { origin: origin?, destination, key: key?, sig: sig? })
    }
}

/// A value and what follows it: a quoted string, or whatever comes before the next comma. Deployed
/// servers leave values unquoted that hold colons, slashes and pluses.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(',').unwrap_or((text, ""));
        return Some((value.trim_end_matches([' ', '\t']).to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                let rest = quoted[at + 1..].trim_start_matches([' ', '\t']);
                return (rest.is_empty() || rest.starts_with(',')).then_some((value, rest));
            }
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Unusable, XMatrix};

    #[test]
    fn headers_are_read_however_they_are_written() {
        let plain = r#"X-Matrix origin="a.test",destination="b.test",key="ed25519:1",sig="c+/g""#;
        let expected = XMatrix::parse(plain).expect("the specification's own form");
        assert_eq!(expected.to_header(), plain);
        for same in [
            r#"x-matrix origin="a.test",destination="b.test",key="ed25519:1",sig="c+/g""#,
            r#"X-MATRIX   sig="c+/g", key="ed25519:1" , destination="b.test",origin="a.test""#,
            r"X-Matrix origin=a.test,destination=b.test,key=ed25519:1,sig=c+/g",
            "X-Matrix\torigin=a.test ,\tdestination = b.test,key=\"ed25519:1\",sig=c+/g",
            r#"X-Matrix Origin="a.test",DESTINATION="b.test",Key="ed25519:1",Sig="c+/g""#,
            "  X-Matrix origin=a.test,destination=b.test,key=ed25519:1,sig=c+/g  ",
            "X-Matrix \t ,, origin=a.test,,\tdestination=b.test , ,key=ed25519:1,sig=c+/g, ",
            r#"X-Matrix origin="a.test" ,destination="b.test"	,key="ed25519:1",sig="c+\/g""#,
            r#"X-Matrix new="x,y=\"z\"",origin="a\.test",destination="b.test",key="ed25519:1",sig="c+/g""#,
        ] {
            assert_eq!(XMatrix::parse(same).as_ref(), Ok(&expected), "{same}");
        }
    }

    #[test]
    fn a_port_needs_no_quotes() {
        let header = "X-Matrix origin=a.test:8448,key=ed25519:a_1,sig=x";
        let parsed = XMatrix::parse(header).expect("deployed servers write this");
        assert_eq!(parsed.origin, "a.test:8448");
        assert_eq!(parsed.destination, None);
    }

    #[test]
    fn what_is_ambiguous_or_incomplete_is_refused() {
        for bad in [
            "",
            "X-Matrix",
            "X-Matrix ",
            "Bearer abc",
            r#"X-Matrix origin="a.test",key="ed25519:1""#,
            r#"X-Matrix key="ed25519:1",sig="x""#,
            r#"X-Matrix origin="a.test",origin="b.test",key="ed25519:1",sig="x""#,
            r#"X-Matrix origin="a.test,key="ed25519:1",sig="x""#,
            r#"X-Matrix origin="a.test"x,key="ed25519:1",sig="x""#,
            r#"X-Matrix origin="a.test",destination="",key="ed25519:1",sig="x""#,
            r#"X-Matrix origin="a.test",Origin="a.test",key="ed25519:1",sig="x""#,
            r#"X-Matrix origin="a.test",key="ed25519:1",sig="x",sig=y"#,
            r#"X-Matrix origin="a.test",key="ed25519:1",sig="x"#,
            r#"X-Matrix origin="a.test",key="ed25519:1",sig="x\"#,
            r#"X-Matrix origin="a.test";key="ed25519:1";sig="x""#,
            r#"X-Matrix origin="a.test" key="ed25519:1" sig="x""#,
            r#"X-Matrixorigin="a.test",key="ed25519:1",sig="x""#,
            r#"X-Matrix origin="a.test",key="ed25519:1",signature="x""#,
        ] {
            assert_eq!(XMatrix::parse(bad), Err(Unusable::Malformed), "{bad}");
        }
    }

    #[test]
    fn what_is_no_server_name_is_told_apart() {
        for bad in [
            "",
            "a b",
            "user@a.test",
            "a.test/b",
            "a.test:99999",
            "a.test:http",
            ":1",
            r#"a.test\""#,
        ] {
            let header = format!(r#"X-Matrix origin="{bad}",key="ed25519:1",sig="x""#);
            assert_eq!(XMatrix::parse(&header), Err(Unusable::Origin), "{bad}");
        }
    }

    #[test]
    fn what_stands_behind_many_parameters_is_not_overlooked() {
        let header = |unknown| {
            let unknown: String = (0..unknown).map(|index| format!(",x{index}=y")).collect();
            format!("X-Matrix origin=a.test,key=ed25519:1,sig=x{unknown},origin=b.test")
        };
        for unknown in [0, 12, 13, 5000] {
            assert_eq!(XMatrix::parse(&header(unknown)), Err(Unusable::Malformed), "{unknown}");
        }
        let many = "X-Matrix origin=a.test,key=ed25519:1,sig=x,a=1,b=2,c=3,d=4,e=5,f=6,g=7";
        assert!(XMatrix::parse(many).is_ok());
    }
}
