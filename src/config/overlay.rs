//! `MERIDIAN_STORAGE__ENGINE=sled` stands for `engine = "sled"` under `[storage]`.

use anyhow::bail;

const PREFIX: &str = "MERIDIAN_";

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars()
}

/// Sets the keys that the variables name, over what the file says.
pub(super) fn apply(
    table: &mut toml::Table,
    variables: impl Iterator<Item = (String, String)>,
) -> anyhow::Result<()> {
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        // The command line has a variable of its own for the file's place.
        if path == "CONFIG" {
            continue;
        }
        let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        set(table, &path, parse(&value), &name)?;
    }
    Ok(())
}

/// A TOML value where it reads as one (`true`, `3`, `["a"]`), else text.
fn parse(value: &str) -> toml::Value {
    let document = format!("value = {value}");
    let parsed = document.parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

fn set(
    table: &mut toml::Table,
    path: &[String],
    value: toml::Value,
    name: &str,
) -> anyhow::Result<()> {
    match path {
        [] => Ok(()),
        [key] => {
            table.insert(key.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => {
            let entry = table
                .entry(section.clone())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match entry {
                toml::Value::Table(inner) => set(inner, rest, value, name),
                _ => bail!("{name}: `{section}` is not a section"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::apply;

    #[test]
    fn variables_win_over_the_file() {
        let mut table: toml::Table =
            "listen = \"1.2.3.4:1\"\n[storage]\nengine = \"fjall\"".parse().expect("valid");
        let variables = [
            ("MERIDIAN_STORAGE__ENGINE", "sled"),
            ("MERIDIAN_RATE_LIMITS__ENABLED", "false"),
            ("MERIDIAN_LISTEN", "127.0.0.1:9"),
            ("PATH", "/bin"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        apply(&mut table, variables.into_iter()).expect("no section is overwritten");
        let expected: toml::Table = "listen = \"127.0.0.1:9\"\n[storage]\nengine = \"sled\"\n[rate_limits]\nenabled = false"
            .parse()
            .expect("valid");
        assert_eq!(table, expected);
    }
}
