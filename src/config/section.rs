//! One declaration per section gives the struct, its defaults and its part of the annotated
//! example, so that the three cannot disagree.

use std::fmt::Write as _;

/// Declares a section. Each field needs documentation (it becomes the example's comment) and a
/// default.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, )*
        }
        $( sections { $( $sub:ident: $sub_type:ty, )* } )?
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )*
            $( $( pub $sub: $sub_type, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $default, )*
                    $( $( $sub: Default::default(), )* )?
                }
            }
        }

        impl $name {
            /// Appends this section's part of the annotated example.
            pub(crate) fn write_example(path: &str, out: &mut String) {
                let about: &[&str] = &[$($about),*];
                $crate::config::section::write_head(path, about, out);
                $(
                    let default: $type = $default;
                    let docs: &[&str] = &[$($doc),+];
                    $crate::config::section::write_key(stringify!($field), docs, &default, out);
                )*
                $( $(
                    let sub = if path.is_empty() {
                        stringify!($sub).to_owned()
                    } else {
                        format!("{path}.{}", stringify!($sub))
                    };
                    <$sub_type>::write_example(&sub, out);
                )* )?
            }
        }
    };
}
pub(super) use section;

fn comment(lines: &[&str], out: &mut String) {
    for line in lines {
        let _infallible = writeln!(out, "#{line}");
    }
}

pub(super) fn write_head(path: &str, about: &[&str], out: &mut String) {
    if path.is_empty() {
        comment(about, out);
        return;
    }
    out.push('\n');
    comment(about, out);
    let _infallible = writeln!(out, "[{path}]");
}

pub(super) fn write_key(key: &str, docs: &[&str], default: &dyn erased::Shown, out: &mut String) {
    out.push('\n');
    comment(docs, out);
    let _infallible = match default.toml() {
        Some(value) => writeln!(out, "#= {key} = {value}"),
        None => writeln!(out, "# {key} = (not set)"),
    };
}

pub(super) mod erased {
    //! A default as TOML text, whatever its type.

    pub(crate) trait Shown {
        /// `None` for an optional value without a default.
        fn toml(&self) -> Option<String>;
    }

    impl<T: serde::Serialize> Shown for T {
        fn toml(&self) -> Option<String> {
            toml::Value::try_from(self).ok().map(|value| value.to_string())
        }
    }
}
