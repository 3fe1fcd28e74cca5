//! Writing a dump.

use std::{
    ffi::OsString,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    Attachment, DumpError, Progress,
    files::write_file,
    format::{BLOCK_BYTES, BlockWriter, End, Header, Kind, push_bytes},
};
use crate::{
    engine::EngineSnapshot,
    store::{SCHEMA_VERSION, Store},
};

/// Writes the store, as it is now, to a file. The server may go on meanwhile. The file appears
/// under its name once it is complete and on disk. Blocks.
pub fn dump(
    store: &Store,
    file: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Progress, DumpError> {
    dump_with_files(store, file, &mut || Ok(Vec::new()), progress)
}

/// The same with files that rows speak of. `files` is asked for them once the rows are read: what
/// the rows know of is there then, if it does not go away meanwhile.
pub fn dump_with_files(
    store: &Store,
    file: &Path,
    files: &mut dyn FnMut() -> io::Result<Vec<Attachment>>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Progress, DumpError> {
    let partial = partial_name(file);
    let io = |source| DumpError::Io { path: partial.clone(), source };
    let mut writer = File::create(&partial).and_then(BlockWriter::new).map_err(io)?;
    let outcome = write_all(store, &mut writer, io, files, progress);
    let published = outcome.and_then(|summary| {
        writer.finish().and_then(|()| publish(&partial, file)).map_err(io)?;
        Ok(summary)
    });
    if published.is_err() {
        // The first error is the one to report.
        let _left_behind = std::fs::remove_file(&partial);
    }
    published
}

fn partial_name(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".partial");
    name.into()
}

fn publish(partial: &Path, file: &Path) -> io::Result<()> {
    std::fs::rename(partial, file)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn write_all(
    store: &Store,
    writer: &mut BlockWriter,
    io: impl Fn(io::Error) -> DumpError + Copy,
    files: &mut dyn FnMut() -> io::Result<Vec<Attachment>>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Progress, DumpError> {
    let snapshot = store.snapshot()?;
    let header = Header {
        schema: SCHEMA_VERSION,
        engine: store.engine_name().to_owned(),
        incarnation: store.incarnation(),
        previous: store.previous_incarnations().to_vec(),
    };
    writer.block(Kind::Header, &encode(&header)).map_err(io)?;
    let mut done = Progress::default();
    for table in snapshot.tables()? {
        write_table(&*snapshot, &table, writer, io, &mut done, progress)?;
    }
    for attachment in files().map_err(io)? {
        write_file(&attachment, writer, io, &mut done)?;
        progress(&done);
    }
    let end = End { rows: done.rows, bytes: done.bytes };
    writer.block(Kind::End, &encode(&end)).map_err(io)?;
    Ok(done)
}

fn encode(value: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("the dump's own types can be written into memory")
}

fn write_table(
    snapshot: &dyn EngineSnapshot,
    table: &str,
    writer: &mut BlockWriter,
    io: impl Fn(io::Error) -> DumpError + Copy,
    done: &mut Progress,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), DumpError> {
    done.enter(table);
    let mut block = Vec::new();
    push_bytes(&mut block, table.as_bytes());
    let empty = block.len();
    let mut written = Ok(());
    let mut each = |key: &[u8], value: &[u8]| {
        push_bytes(&mut block, key);
        push_bytes(&mut block, value);
        done.count(key, value);
        if block.len() >= BLOCK_BYTES {
            written = writer.block(Kind::Rows, &block);
            block.truncate(empty);
            progress(done);
        }
        written.is_ok()
    };
    let read = snapshot.for_each(table, &mut each);
    read.map_err(|source| DumpError::Read { table: table.to_owned(), source })?;
    written.map_err(io)?;
    if block.len() > empty {
        writer.block(Kind::Rows, &block).map_err(io)?;
    }
    progress(done);
    Ok(())
}
