//! What the disk of this machine takes for a flush: below that no acknowledged send can be.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Instant,
};

use super::report::{Latency, Report};

const FLUSHES: usize = 200;
/// About what a few events take in the journal.
const BYTES: [u8; 4096] = [7; 4096];

pub(super) fn measure(report: &mut Report, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join("flush");
    let mut file = File::create(&path)?;
    let mut latency = Latency::new();
    for _ in 0..FLUSHES {
        let begin = Instant::now();
        file.write_all(&BYTES)?;
        file.sync_data()?;
        latency.record(begin.elapsed());
    }
    fs::remove_file(&path)?;
    report.add_latency("a flush of 4 KiB by this machine", &latency, None);
    Ok(())
}
