//! The machine loses power, modelled: what a process wrote and did not sync is taken back. The
//! notes for that are kept by a preloaded library; `load/shim/powerloss.c` states the model.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

const SHIM: &str = include_str!("../shim/powerloss.c");
const RECORD_HEADER: usize = 24;

/// A directory whose files return to their last sync when the process that wrote them is killed.
pub(crate) struct PowerLoss {
    library: PathBuf,
    root: PathBuf,
    undo: PathBuf,
}

/// Undo logs with their generation, by device and inode.
type Logs = HashMap<(u64, u64), Vec<(u64, PathBuf)>>;

/// What a power loss took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What a file's bytes were before a change.
#[derive(Debug, PartialEq, Eq)]
struct Undo {
    old_size: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl PowerLoss {
    /// Compiles the library into `directory` and follows the files under `root`.
    pub(crate) fn new(directory: &Path, root: &Path) -> anyhow::Result<Self> {
        let source = directory.join("powerloss.c");
        let library = directory.join("powerloss.so");
        let undo = directory.join("undo");
        fs::write(&source, SHIM)?;
        fs::create_dir_all(&undo)?;
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status()
            .context("cc, the C compiler")?;
        ensure!(status.success(), "cc: {status}");
        Ok(Self { library, root: root.canonicalize()?, undo })
    }

    pub(crate) fn environment(&self) -> Vec<(String, PathBuf)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.library.clone()),
            ("POWERLOSS_ROOT".to_owned(), self.root.clone()),
            ("POWERLOSS_UNDO".to_owned(), self.undo.clone()),
        ]
    }

    /// Takes back what was not synced. The process must be dead.
    pub(crate) fn strike(&self) -> anyhow::Result<Dropped> {
        let mut logs = self.logs()?;
        let mut dropped = Dropped::default();
        for path in files_under(&self.root)? {
            let status = fs::metadata(&path)?;
            let Some(mut generations) = logs.remove(&(status.dev(), status.ino())) else {
                continue;
            };
            generations.sort_unstable();
            for (_, log) in generations.into_iter().rev() {
                let undone = undo(&path, &fs::read(log)?)?;
                dropped.bytes += undone;
            }
            dropped.files += 1;
        }
        // Logs that are left belong to files that are gone.
        fs::remove_dir_all(&self.undo)?;
        fs::create_dir_all(&self.undo)?;
        Ok(dropped)
    }

    fn logs(&self) -> anyhow::Result<Logs> {
        let mut logs = Logs::new();
        for entry in fs::read_dir(&self.undo)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            ensure!(name != "mapped", "the server maps a file for writing, which is not modelled");
            let (device, inode, generation) =
                log_name(&name).with_context(|| format!("undo log {name}"))?;
            logs.entry((device, inode)).or_default().push((generation, entry.path()));
        }
        Ok(logs)
    }
}

/// `DEVICE-INODE.GENERATION`
fn log_name(name: &str) -> Option<(u64, u64, u64)> {
    let (file, generation) = name.split_once('.')?;
    let (device, inode) = file.split_once('-')?;
    Some((device.parse().ok()?, inode.parse().ok()?, generation.parse().ok()?))
}

fn files_under(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Plays one log backwards over a file and returns how many changed bytes it took back.
fn undo(path: &Path, log: &[u8]) -> anyhow::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut taken = 0;
    for undo in parse(log).into_iter().rev() {
        taken += file.metadata()?.len().saturating_sub(undo.old_size) + undo.bytes.len() as u64;
        file.set_len(undo.old_size)?;
        file.write_all_at(&undo.bytes, undo.offset)?;
    }
    Ok(taken)
}

/// A torn record at the end is of a change that had not begun: the log is written first.
fn parse(mut log: &[u8]) -> Vec<Undo> {
    let mut records = Vec::new();
    while let Some((header, rest)) = log.split_at_checked(RECORD_HEADER) {
        let field = |at: usize| {
            u64::from_ne_bytes(header[at..at + 8].try_into().expect("a header has three words"))
        };
        let length = usize::try_from(field(16)).unwrap_or(usize::MAX);
        let Some((bytes, rest)) = rest.split_at_checked(length) else { break };
        records.push(Undo { old_size: field(0), offset: field(8), bytes: bytes.to_owned() });
        log = rest;
    }
    records
}

/// What a file holds after the victim was killed, without and with the loss of power.
const EXPECTED: &[(&str, Option<&str>, Option<&str>)] = &[
    ("synced", Some("kept"), Some("kept")),
    ("never-synced", Some("lost"), Some("")),
    ("appended", Some("kept and lost"), Some("kept")),
    ("overwritten", Some("loss"), Some("kept")),
    ("truncated", Some(""), Some("kept")),
    ("replaced", Some("new"), Some("")),
    ("recreated", Some("new and kept"), Some("new and kept")),
];

/// Runs a victim, kills it, and looks at its files before and after the strike: a model that loses
/// nothing, or what was synced, would prove nothing about the server.
pub(crate) fn check() -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("powerloss-check-{}", std::process::id()));
    let root = directory.join("data");
    fs::create_dir_all(&root)?;
    let result = check_in(&directory, &root);
    fs::remove_dir_all(&directory)?;
    result
}

fn check_in(directory: &Path, root: &Path) -> anyhow::Result<()> {
    let power = PowerLoss::new(directory, root)?;
    let mut victim = Command::new(std::env::current_exe()?)
        .arg("powerloss-victim")
        .arg(&power.root)
        .envs(power.environment())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(victim.stdout.take().context("the victim's output")?).read_line(&mut line)?;
    victim.kill()?;
    victim.wait()?;
    ensure!(line.trim() == "ready", "the victim did not get ready: {line:?}");
    for (name, before, _) in EXPECTED {
        compare(root, name, *before, "before the strike")?;
    }
    let dropped = power.strike()?;
    for (name, _, after) in EXPECTED {
        compare(root, name, *after, "after the strike")?;
    }
    println!("power loss model: {} bytes of {} files taken back", dropped.bytes, dropped.files);
    Ok(())
}

fn compare(root: &Path, name: &str, expected: Option<&str>, when: &str) -> anyhow::Result<()> {
    let found = fs::read_to_string(root.join(name)).ok();
    if found.as_deref() != expected {
        bail!("{name} {when}: {found:?}, not {expected:?}");
    }
    Ok(())
}

/// Writes the files of [`EXPECTED`], says so, and waits to be killed.
pub(crate) fn victim(directory: &Path) -> anyhow::Result<()> {
    let create = |name: &str, text: &str, sync: bool| -> anyhow::Result<File> {
        let mut file = File::create(directory.join(name))?;
        file.write_all(text.as_bytes())?;
        if sync {
            file.sync_data()?;
        }
        Ok(file)
    };
    create("synced", "kept", true)?;
    create("never-synced", "lost", false)?;
    create("appended", "kept", true)?.write_all(b" and lost")?;
    let overwritten = create("overwritten", "kept", true)?;
    overwritten.write_all_at(b"l", 0)?;
    overwritten.write_all_at(b"oss", 1)?;
    create("truncated", "kept", true)?;
    File::create(directory.join("truncated"))?;
    // The rename is durable at once, the content is not.
    create("replaced", "old", true)?;
    create("replacement", "new", false)?;
    fs::rename(directory.join("replacement"), directory.join("replaced"))?;
    // The inode of a removed file may come back with the next one.
    create("removed", "some text that is not synced", false)?;
    fs::remove_file(directory.join("removed"))?;
    create("recreated", "new and kept", true)?;
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(old_size: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        for field in [old_size, offset, bytes.len() as u64] {
            record.extend_from_slice(&field.to_ne_bytes());
        }
        record.extend_from_slice(bytes);
        record
    }

    #[test]
    fn torn_record_is_left_out() {
        let mut log = record(4, 1, b"ab");
        log.extend_from_slice(&record(6, 6, b"cd")[..RECORD_HEADER + 1]);
        assert_eq!(parse(&log), [Undo { old_size: 4, offset: 1, bytes: b"ab".to_vec() }]);
        assert_eq!(parse(&log[..RECORD_HEADER - 1]), []);
    }

    #[test]
    fn changes_are_undone_in_reverse() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("file");
        // "abcd" became "aXcd", then "aYYd", then "aYYdEF".
        fs::write(&path, "aYYdEF").expect("written");
        let log = [record(4, 1, b"b"), record(4, 1, b"Xc"), record(4, 4, b"")].concat();
        assert_eq!(undo(&path, &log).expect("undone"), 5);
        assert_eq!(fs::read(&path).expect("read"), b"abcd");
    }

    #[test]
    fn names_of_logs_are_read() {
        assert_eq!(log_name("2049-77.3"), Some((2049, 77, 3)));
        assert_eq!(log_name("mapped"), None);
    }
}
