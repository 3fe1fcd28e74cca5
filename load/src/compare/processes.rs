//! What a server costs that is several processes: a database forks one for each connection.

use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command},
    time::Duration,
};

use anyhow::Context as _;

/// Processes of ours and all that descends from them. They end with this value: a tool that fails
/// half-way leaves no server behind.
pub(super) struct Processes {
    roots: Vec<Child>,
    ticks_per_second: u64,
}

struct Stat {
    parent: u32,
    /// The process's own time, and that of its children that have ended and were waited for.
    ticks: u64,
}

impl Processes {
    pub(super) fn new(roots: Vec<Child>) -> anyhow::Result<Self> {
        let output = Command::new("getconf").arg("CLK_TCK").output().context("getconf CLK_TCK")?;
        let ticks_per_second = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(Self { roots, ticks_per_second })
    }

    pub(super) fn push(&mut self, root: Child) {
        self.roots.push(root);
    }

    /// CPU time so far, in user and kernel, in steps of a tick (10 ms as a rule).
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        let table = table()?;
        let ticks: u64 =
            self.all(&table).iter().filter_map(|pid| table.get(pid)).map(|stat| stat.ticks).sum();
        Ok(Duration::from_micros(ticks * 1_000_000 / self.ticks_per_second))
    }

    /// Memory in bytes. What processes share counts as a part for each (`Pss`).
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        let table = table()?;
        // One that has just ended has no memory.
        let sizes = self.all(&table).into_iter().filter_map(|pid| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        Ok(sizes.sum::<u64>() * 1024)
    }

    /// The first root that has ended, with how.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<String>> {
        for root in &mut self.roots {
            if let Some(status) = root.try_wait()? {
                return Ok(Some(status.to_string()));
            }
        }
        Ok(None)
    }

    fn all(&self, table: &BTreeMap<u32, Stat>) -> Vec<u32> {
        let mut found: Vec<u32> = self.roots.iter().map(Child::id).collect();
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            found.extend(
                table.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid),
            );
            next += 1;
        }
        found
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // The last one started is the first to end: a server before its database.
        for root in self.roots.iter_mut().rev() {
            drop(root.kill());
            drop(root.wait());
        }
    }
}

fn table() -> anyhow::Result<BTreeMap<u32, Stat>> {
    let mut table = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may end between the two calls.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        if let Some(stat) = stat.as_deref().and_then(parse) {
            table.insert(pid, stat);
        }
    }
    Ok(table)
}

/// The program's name may hold spaces and brackets, so fields count from the last bracket.
fn parse(stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let times = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok());
    Some(Stat { parent, ticks: times.sum::<Option<u64>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_ended_children_counts() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 120 34 5 1 20 0 9 0 1 2 3";
        let stat = parse(stat).expect("valid");
        assert_eq!((stat.parent, stat.ticks), (3, 160));
        assert!(parse("7 (a)").is_none());
    }

    #[test]
    fn a_shell_is_counted_with_what_it_runs() {
        // They end when this test lets go of the shell's input.
        let shell = Command::new("sh")
            .args(["-c", "cat | cat"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        let processes = Processes::new(vec![shell]).expect("ticks");
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while processes.all(&table().expect("proc")).len() < 3 {
            assert!(std::time::Instant::now() < deadline, "the children do not appear");
            std::thread::yield_now();
        }
        assert!(processes.memory().expect("memory") > 0);
    }
}
