//! The blocks of a dump file.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::DumpError;

pub(super) const MAGIC: &[u8; 8] = b"MRDNDMP2";
/// The same without files.
const MAGIC_1: &[u8; 8] = b"MRDNDMP1";
/// A block is closed once it is this long, so a reader holds little more in memory.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// Longer blocks are not believed: the length itself may be damaged.
const BLOCK_BYTES_MAX: usize = 256 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Header = 1,
    Rows = 2,
    End = 3,
    File = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Header, Self::Rows, Self::End, Self::File]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// New fields go to the end, into a new magic.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) schema: u32,
    pub(super) engine: String,
    pub(super) incarnation: u64,
    pub(super) previous: Vec<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

fn checksum(number: u64, kind: u8, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.digest()
}

pub(super) struct BlockWriter {
    file: BufWriter<File>,
    number: u64,
}

impl BlockWriter {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        file.write_all(MAGIC)?;
        Ok(Self { file, number: 0 })
    }

    pub(super) fn block(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::from(ErrorKind::FileTooLarge);
        let length = u32::try_from(payload.len()).map_err(too_long)?;
        self.file.write_all(&[kind as u8])?;
        self.file.write_all(&length.to_le_bytes())?;
        self.file.write_all(payload)?;
        self.file.write_all(&checksum(self.number, kind as u8, payload).to_le_bytes())?;
        self.number += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.file.into_inner()?.sync_all()
    }
}

/// Reads blocks and knows where it is, for the error message.
pub(super) struct BlockReader {
    path: PathBuf,
    file: BufReader<File>,
    number: u64,
    offset: u64,
    pub(super) rows: u64,
}

impl BlockReader {
    pub(super) fn open(path: &Path) -> Result<Self, DumpError> {
        let io = |source| DumpError::Io { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let mut magic = [0; 8];
        match file.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC || magic == *MAGIC_1 => {
                let path = path.to_owned();
                Ok(Self { path, file, number: 0, offset: MAGIC.len() as u64, rows: 0 })
            }
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(io(error)),
            _ => Err(DumpError::NotADump { path: path.to_owned() }),
        }
    }

    pub(super) fn damaged(&self, reason: &'static str) -> DumpError {
        let path = self.path.clone();
        DumpError::Damaged { path, offset: self.offset, rows: self.rows, reason }
    }

    pub(super) fn block(&mut self) -> Result<(Kind, Vec<u8>), DumpError> {
        let [kind, length @ ..] = self.take::<5>()?;
        let length = u32::from_le_bytes(length) as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(self.damaged("a block has an impossible length"));
        }
        let mut payload = vec![0; length];
        self.read(|file| file.read_exact(&mut payload))?;
        let expected = u64::from_le_bytes(self.take::<8>()?);
        if checksum(self.number, kind, &payload) != expected {
            return Err(self.damaged("a block does not match its checksum"));
        }
        let known = Kind::from_byte(kind);
        let kind = known.ok_or_else(|| self.damaged("a block is of an unknown kind"))?;
        self.number += 1;
        self.offset += (5 + length + 8) as u64;
        Ok((kind, payload))
    }

    /// Nothing may follow the end.
    pub(super) fn finish(&mut self) -> Result<(), DumpError> {
        let mut one = [0];
        match self.file.read(&mut one) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows the end")),
            Err(source) => Err(DumpError::Io { path: self.path.clone(), source }),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DumpError> {
        let mut bytes = [0; N];
        self.read(|file| file.read_exact(&mut bytes))?;
        Ok(bytes)
    }

    fn read(
        &mut self,
        read: impl FnOnce(&mut BufReader<File>) -> io::Result<()>,
    ) -> Result<(), DumpError> {
        read(&mut self.file).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => self.damaged("the file ends too early"),
            _ => DumpError::Io { path: self.path.clone(), source },
        })
    }
}

/// Appends a length-prefixed string of bytes.
pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("no engine stores a key or value of 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(super) fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_first_chunk::<4>()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *input = rest;
    Some(bytes)
}
