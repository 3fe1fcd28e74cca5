//! `meridian backup`, `restore`, `verify`, `compact`.

use std::path::Path;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use stdx::Rng;
use storage::Store;

use super::admin::carry_out;
use crate::{
    admin::{Answer, Request, whole},
    config::Config,
};

fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed} {wide_msg}");
    let bar = ProgressBar::new_spinner();
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, rows: u64, table: &str) {
    bar.set_position(rows);
    bar.set_message(table.to_owned());
}

/// Has the region do it, or does it on the region's data, with a bar.
fn carry_out_with_bar(config: &Config, request: Request) -> anyhow::Result<()> {
    let bar = bar();
    carry_out(config, request, move |answer| {
        if let Answer::Progress { rows, table, .. } = answer {
            show(&bar, rows, &table);
        }
    })
}

pub(super) fn backup(config: &Config, file: &Path) -> anyhow::Result<()> {
    // The region may have another working directory than this command.
    let file = std::path::absolute(file).context("the path of the backup is not valid")?;
    carry_out_with_bar(config, Request::Backup { file })
}

pub(super) fn restore(config: &Config, file: &Path) -> anyhow::Result<()> {
    let bar = bar();
    let rng = Rng::from_system();
    let (store, media) = (config.storage()?, config.media().directory);
    let mut told = |now: &storage::dump::Progress| show(&bar, now.rows, &now.table);
    let restored =
        storage::dump::restore_with_files(file, &store, rng.next_u64(), &media, &mut told);
    let read = restored?;
    bar.finish_and_clear();
    let (rows, files, into) = (read.rows, read.files, config.data_dir.display());
    println!("restored {rows} rows and {files} files into {into}");
    Ok(())
}

pub(super) fn verify(config: &Config, file: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = file else { return carry_out_with_bar(config, Request::Verify) };
    let bar = bar();
    let read = storage::dump::check(file, &mut |now| show(&bar, now.rows, &now.table))?;
    bar.finish_and_clear();
    println!("{}", whole(&read));
    Ok(())
}

/// A line for each table, bytes first, and one for all.
pub(super) fn compact(config: &Config) -> anyhow::Result<()> {
    let storage = config.storage()?;
    let store = Store::open(&storage, Rng::from_system().next_u64())
        .context("the data cannot be compacted; stop the region if it runs")?;
    let tables = store.compact()?;
    let tables = tables.with_context(|| format!("{} keeps itself compact", storage.engine))?;
    for (table, bytes) in tables.iter().filter(|(_, bytes)| **bytes > 0) {
        println!("{bytes:>14} {table}");
    }
    println!("{:>14} in all tables", tables.values().sum::<u64>());
    Ok(())
}
