//! The configuration: `meridian.toml`, overlaid by `MERIDIAN_*` variables. The only code that
//! reads configuration as text; every crate below gets typed values.

mod clients;
mod gateways;
mod overlay;
mod policy_server;
mod section;
mod sections;
mod sign_on;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub use self::sections::Config;
pub(crate) use self::sign_on::Captcha;

/// Where the file is looked for when none is named.
pub(crate) const DEFAULT_FILE: &str = "meridian.toml";

impl Config {
    /// Reads `file`, or `meridian.toml` if it exists, and lays the environment over it.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let path = file.map_or_else(|| PathBuf::from(DEFAULT_FILE), Path::to_owned);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut table: toml::Table =
            text.parse().with_context(|| format!("{} is not valid TOML", path.display()))?;
        overlay::apply(&mut table, overlay::environment())?;
        Self::from_table(table)
            .with_context(|| format!("the configuration ({}) is not valid", path.display()))
    }

    /// Reads a configuration from its text alone.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Self::from_table(text.parse()?)
    }

    fn from_table(table: toml::Table) -> anyhow::Result<Self> {
        let config: Self = toml::Value::Table(table).try_into()?;
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn no_configuration_is_a_configuration() {
        let config = Config::parse("").expect("the defaults are valid");
        assert_eq!(config.server_name, "localhost");
        assert_eq!(config.listen, "127.0.0.1:8008");
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("servername = \"x\"", "servername"),
            ("[storage]\nengine = \"mysql\"", "mysql"),
            ("server_name = \"not a name\"", "server_name"),
            ("[tls]\ncertificate = \"a.pem\"", "private_key"),
            ("[support]\nadmin = \"ada\"", "ada"),
            ("[turn]\nuris = [\"turn:t.test\"]", "shared_secret"),
            ("[turn]\nuris = [\"t.test\"]\nshared_secret = \"s\"", "t.test"),
            ("[login.jwt]\nenabled = true", "secret"),
            ("[registration]\nrequire_email = true", "[mail]"),
            ("[mail]\nhost = \"x\"\nfrom = \"a@b.test\"", "public_url"),
            ("public_url = \"https://x\"\n[mail]\nhost = \"x\"", "from"),
            ("public_url = \"https://x\"\n[mail]\nhost = \"x\"\nfrom = \"x\"", "from"),
            ("[[login.oidc]]\nid = \"x\"", "name"),
            ("[login.cas]\nserver_url = \"https://c.test\"", "public_url"),
            ("[login.cas]\nserver_url = \"cas\"", "URL"),
            ("[login]\ntrusted_clients = [\"javascript:x\"]", "javascript"),
            ("[registration]\nrequire_captcha = true", "[captcha]"),
            ("[captcha]\npublic_key = \"x\"", "private_key"),
            ("[federation]\ndelegate_to = \"https://x.test\"", "delegate_to"),
            ("[policy_server]\nrooms = [\"#x:y.test\"]", "`rooms`"),
            ("[policy_server]\ndenied_text = [\"?\"]", "[policy_server]"),
            ("[policy_server]\nroom_rate = [1.0, 0]", "room_rate"),
        ];
        for (text, mention) in cases {
            let error = Config::parse(text).expect_err(text);
            assert!(format!("{error:#}").contains(mention), "{text}: {error:#}");
        }
    }

    #[test]
    fn the_example_is_the_one_in_the_repository_and_is_valid() {
        let example = Config::example();
        let kept = include_str!("../docs/meridian.example.toml");
        assert_eq!(kept, example, "run: cargo run -- config example > docs/meridian.example.toml");
        let uncommented: String = example
            .lines()
            .map(|line| line.strip_prefix("#= ").unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n");
        Config::parse(&example).expect("the example as it is");
        Config::parse(&uncommented).expect("the example with every default written out");
    }
}
