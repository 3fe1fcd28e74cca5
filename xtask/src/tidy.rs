//! Rules of docs/style.md that a program can check: file headers, unfinished marks, module names,
//! lengths, mutable statics, and sleeps in tests.

mod ratchet;
mod source;

use std::fs;

use anyhow::Context as _;

use self::{ratchet::Ratchet, source::Source};
use crate::checkout::Checkout;

const RATCHET: &str = "xtask/ratchet.txt";

/// A file with more lines of code than this holds a second thing that wants a file of its own.
const FILE_CODE_LINES_MAX: usize = 800;

/// Such modules become the bottom of everything, so nobody may start one.
const BANNED_MODULES: &[&str] =
    &["mod", "util", "utils", "common", "helpers", "core", "misc", "globals"];

/// Files in which an unfinished mark is a mistake.
const CODE_EXTENSIONS: &[&str] =
    &["rs", "js", "mjs", "ts", "py", "sh", "c", "h", "css", "html", "toml"];

/// Assembled, so that this file does not report itself.
const MARKS: &[[&str; 2]] = &[["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["HA", "CK"]];
const UNFINISHED_MACROS: &[[&str; 2]] = &[["todo", "!"], ["unimplemented", "!"]];

pub(crate) fn check(checkout: &Checkout, bless: bool) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut long = Vec::new();
    for path in checkout.files()? {
        let Some(extension) = path.rsplit('.').next().filter(|e| CODE_EXTENSIONS.contains(e))
        else {
            continue;
        };
        let text = fs::read_to_string(checkout.path(&path)).with_context(|| path.clone())?;
        problems.extend(mark_problems(&path, &text));
        if extension == "rs" {
            let source = Source::parse(&text);
            problems.extend(rust_problems(&path, &text, &source));
            long.extend(ratchet::long_functions(&path, &source));
        }
    }
    let ratchet_path = checkout.path(RATCHET);
    if bless {
        fs::write(&ratchet_path, Ratchet::new(long).render())?;
    } else {
        let accepted = fs::read_to_string(&ratchet_path).unwrap_or_default();
        problems.extend(Ratchet::new(long).problems(&Ratchet::parse(&accepted)?));
    }
    Ok(problems)
}

fn mark_problems(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for mark in MARKS.iter().map(|parts| parts.concat()) {
            if contains_word(line, &mark) {
                problems.push(format!("{path}:{}: unfinished mark {mark}", index + 1));
            }
        }
    }
    problems
}

fn rust_problems(path: &str, text: &str, source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{path}:1: does not start with a //! that says what it is for"));
    }
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    if BANNED_MODULES.contains(&stem) {
        problems.push(format!("{path}: no module is called {stem}"));
    }
    let whole_file_is_test = path.contains("/tests/") || stem == "tests";
    let mut code_lines = 0;
    for (index, line) in source.lines() {
        let number = index + 1;
        let in_test = whole_file_is_test || source.is_test_line(index);
        code_lines += usize::from(!line.trim().is_empty() && !in_test);
        for name in UNFINISHED_MACROS.iter().map(|parts| parts.concat()) {
            if line.contains(&name) {
                problems.push(format!("{path}:{number}: {name} is left"));
            }
        }
        if in_test && is_sleep(line) {
            problems.push(format!("{path}:{number}: a test sleeps; wait for the fact instead"));
        }
        if is_mutable_static(line) {
            problems.push(format!("{path}:{number}: global state; two servers share a process"));
        }
    }
    if code_lines > FILE_CODE_LINES_MAX {
        problems.push(format!("{path}: {code_lines} lines of code, over {FILE_CODE_LINES_MAX}"));
    }
    problems
}

fn is_sleep(code: &str) -> bool {
    ["sleep(", "sleep_until(", "sleep_ms("]
        .iter()
        .any(|call| code.match_indices(call).any(|(at, _)| !code[..at].ends_with(is_identifier)))
}

fn is_mutable_static(code: &str) -> bool {
    let declaration = code.trim_start();
    let declaration = declaration.strip_prefix("pub ").unwrap_or(declaration);
    let Some(declaration) = declaration.strip_prefix("static ") else { return false };
    declaration.starts_with("mut ")
        || ["OnceLock", "OnceCell", "RwLock", "Mutex", "Atomic"]
            .iter()
            .any(|cell| declaration.contains(cell))
}

fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_identifier) && !line[at + word.len()..].starts_with(is_identifier)
    })
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        let mut problems = mark_problems(path, text);
        problems.extend(rust_problems(path, text, &Source::parse(text)));
        problems
    }

    #[test]
    fn clean_file_passes() {
        let text = "//! Typing.\n\nfn f() {\n    let a = \"sleep(1)\"; // sleep(2)\n}\n";
        assert_eq!(check("rooms/src/typing.rs", text), Vec::<String>::new());
    }

    #[test]
    fn header_is_required() {
        assert_eq!(check("a/src/b.rs", "use std::fs;\n").len(), 1);
        assert_eq!(check("a/src/b.rs", "// A plain comment.\n").len(), 1);
    }

    #[test]
    fn unfinished_marks_are_found() {
        let mark = MARKS[0].concat();
        assert_eq!(check("a/src/b.rs", &format!("//! B.\n// {mark}: later\n")).len(), 1);
        assert_eq!(mark_problems("page/app.js", &format!("// {mark}(x)\n")).len(), 1);
        assert_eq!(check("a/src/b.rs", &format!("//! B.\nfn {mark}_list() {{}}\n")).len(), 0);
        let call = UNFINISHED_MACROS[1].concat();
        assert_eq!(check("a/src/b.rs", &format!("//! B.\nfn f() {{ {call}() }}\n")).len(), 1);
    }

    #[test]
    fn module_names_are_checked() {
        assert_eq!(check("a/src/b/mod.rs", "//! B.\n").len(), 1);
        assert_eq!(check("a/src/util.rs", "//! B.\n").len(), 1);
    }

    #[test]
    fn sleeps_count_only_in_tests() {
        let body = "async fn f() { tokio::time::sleep(d).await }\n";
        assert_eq!(check("a/src/b.rs", &format!("//! B.\n{body}")).len(), 0);
        assert_eq!(check("a/tests/it/main.rs", &format!("//! B.\n{body}")).len(), 1);
        let module = format!("//! B.\n#[cfg(test)]\nmod tests {{\n    {body}}}\n");
        assert_eq!(check("a/src/b.rs", &module).len(), 1);
        assert_eq!(check("a/tests/it/main.rs", "//! B.\nfn f() { oversleep() }\n").len(), 0);
    }

    #[test]
    fn mutable_statics_are_found() {
        assert_eq!(check("a/src/b.rs", "//! B.\nstatic N: AtomicU64 = x;\n").len(), 1);
        assert_eq!(check("a/src/b.rs", "//! B.\npub static N: OnceLock<u8> = x;\n").len(), 1);
        assert_eq!(check("a/src/b.rs", "//! B.\nstatic NAMES: &[&str] = &[];\n").len(), 0);
    }

    #[test]
    fn long_files_fail() {
        let line = "const A: u8 = 1;\n";
        let at_limit = format!("//! B.\n{}", line.repeat(FILE_CODE_LINES_MAX));
        assert_eq!(check("a/src/b.rs", &at_limit).len(), 0);
        assert_eq!(check("a/src/b.rs", &format!("{at_limit}{line}")).len(), 1);
        let comments = "// a reason\n".repeat(2 * FILE_CODE_LINES_MAX);
        assert_eq!(check("a/src/b.rs", &format!("//! B.\n{comments}")).len(), 0);
    }
}
