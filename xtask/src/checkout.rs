//! The working copy: where it is, which files belong to it, and how programs are run in it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context as _, bail};

/// The root of the working copy.
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has a parent")?;
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Files that git tracks or would track, as paths relative to the root, sorted.
    pub(crate) fn files(&self) -> anyhow::Result<Vec<String>> {
        let output = self
            .command("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .output()
            .context("git ls-files")?;
        if !output.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut files: Vec<String> = String::from_utf8(output.stdout)?
            .lines()
            .filter(|file| self.root.join(file).is_file())
            .map(str::to_owned)
            .collect();
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }

    /// A program that will run at the root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// The cargo that runs this task.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
        command.args(arguments);
        command
    }

    /// The same program, killed with everything it started in its process group after `seconds`.
    pub(crate) fn bounded(&self, seconds: u32, command: &Command) -> Command {
        let mut bounded = self.command("timeout");
        bounded.args(["--kill-after=10", &seconds.to_string()]);
        bounded.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => bounded.env(name, value),
                None => bounded.env_remove(name),
            };
        }
        bounded
    }
}

/// Runs a command to its end, with its output on the terminal.
pub(crate) fn succeeds(command: &mut Command) -> anyhow::Result<bool> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    Ok(status.success())
}

/// Runs a command to its end, with its output on the terminal and in `log`.
pub(crate) fn logged(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    let file = File::create(log).with_context(|| log.display().to_string())?;
    let file = Arc::new(Mutex::new(file));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|o| Box::new(o) as _),
        child.stderr.take().map(|o| Box::new(o) as _),
    ];
    let copies: Vec<_> = outputs
        .into_iter()
        .flatten()
        .map(|output| {
            let file = Arc::clone(&file);
            thread::spawn(move || copy_lines(output, &file))
        })
        .collect();
    let status = child.wait()?;
    for copy in copies {
        copy.join().expect("copying lines does not panic");
    }
    match status.code() {
        Some(0) => Ok(()),
        Some(124 | 137) => bail!("took too long (see {})", log.display()),
        _ => bail!("{status} (see {})", log.display()),
    }
}

/// Lines are copied as they come: a step that hangs shows where.
fn copy_lines(output: impl Read, file: &Mutex<File>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let mut file = file.lock().expect("no copier panics");
        // A full disk or a closed terminal must not stop the step itself.
        drop(file.write_all(&line));
        drop(std::io::stdout().write_all(&line));
        line.clear();
    }
}
