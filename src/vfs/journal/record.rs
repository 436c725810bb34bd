//! The records of the journal, as bytes.
//!
//! A record is a mark, its length, a checksum and its fields. One that is torn or spoilt is
//! left out, and the mark is what the next one is found by.

use std::ops::Range;

use crate::remote::Version;

/// A record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Written by earlier versions: a close of this path is about to be written down.
    Claimed {
        /// The intent to come.
        id: u64,
        /// The absolute path on the server.
        path: Vec<u8>,
    },
    /// A file to upload. Replaces an earlier one of the same number.
    Intent(Intent),
    /// The server is being written to.
    Begun(u64),
    /// A mode or a time to set, too.
    Rights {
        /// The intent.
        id: u64,
        /// Permission bits.
        mode: Option<u32>,
        /// Seconds since 1970, UTC.
        modified: Option<i64>,
    },
    /// It is on the server, or need not be any more.
    Done(u64),
    /// Written by earlier versions: a later close takes its place.
    Replaced(u64),
    /// The server has its first bytes, confirmed: these need not be here any more.
    Arrived {
        /// The intent.
        id: u64,
        /// Bytes.
        size: u64,
    },
    /// Written by earlier versions: another mount has changed the file since this mount died.
    Overtaken(u64),
}

/// A file to upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// Its number, by which later records refer to it.
    pub id: u64,
    /// The absolute path on the server.
    pub path: Vec<u8>,
    /// What the server had; `None` when the name was new.
    pub base: Option<Version>,
    /// Bytes of the base that still stand.
    pub kept: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Permission bits to be set.
    pub mode: Option<u32>,
    /// A time to be set, seconds since 1970 in UTC.
    pub modified: Option<i64>,
    /// Something of it may be on the server.
    pub begun: bool,
    /// Another mount has changed the file after this.
    pub overtaken: bool,
    /// The name must be new.
    pub exclusive: bool,
    /// What the server lacks.
    pub dirty: Vec<Range<u64>>,
    /// The dirty bytes, range by range; `None` where they are in a data file.
    pub bytes: Option<Vec<u8>>,
}

impl Intent {
    /// The server has its first `size` bytes; whether that is all, or more than all, of it.
    pub fn arrived(&mut self, size: u64) -> bool {
        let mut gone = 0;
        for range in &mut self.dirty {
            let start = range.start.max(size.min(range.end));
            gone += start - range.start;
            range.start = start;
        }
        self.dirty.retain(|range| !range.is_empty());
        if let Some(bytes) = &mut self.bytes {
            bytes.drain(..bytes.len().min(usize::try_from(gone).unwrap_or(usize::MAX)));
        }
        self.base = Some(Version {
            size: Some(size),
            modified: None,
        });
        self.kept = size;
        size >= self.size
    }
}

/// What a record begins with.
const MARK: [u8; 4] = *b"fj\x01\n";
/// Bytes before the fields: mark, length and checksum.
const HEAD: usize = 16;
/// No record is longer.
const LIMIT: usize = 1 << 20;

impl Record {
    /// The bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Out(vec![0; HEAD]);
        match self {
            Self::Intent(intent) => {
                out.number(1, 1);
                out.number(intent.id, 8);
                out.bytes(&intent.path);
                let base = intent.base.unwrap_or_default();
                out.number(u64::from(intent.base.is_some()), 1);
                out.option(base.size);
                out.option(base.modified.map(i64::cast_unsigned));
                out.number(intent.kept, 8);
                out.number(intent.size, 8);
                out.option(intent.mode.map(u64::from));
                out.option(intent.modified.map(i64::cast_unsigned));
                out.number(u64::from(intent.begun), 1);
                out.number(u64::from(intent.overtaken), 1);
                out.number(intent.dirty.len() as u64, 8);
                for range in &intent.dirty {
                    out.number(range.start, 8);
                    out.number(range.end, 8);
                }
                out.number(u64::from(intent.bytes.is_some()), 1);
                out.bytes(intent.bytes.as_deref().unwrap_or_default());
                out.number(u64::from(intent.exclusive), 1);
            }
            Self::Begun(id) => {
                out.number(2, 1);
                out.number(*id, 8);
            }
            Self::Rights { id, mode, modified } => {
                out.number(3, 1);
                out.number(*id, 8);
                out.option(mode.map(u64::from));
                out.option(modified.map(i64::cast_unsigned));
            }
            Self::Done(id) => {
                out.number(4, 1);
                out.number(*id, 8);
            }
            Self::Replaced(id) => {
                out.number(5, 1);
                out.number(*id, 8);
            }
            Self::Overtaken(id) => {
                out.number(6, 1);
                out.number(*id, 8);
            }
            Self::Arrived { id, size } => {
                out.number(8, 1);
                out.number(*id, 8);
                out.number(*size, 8);
            }
            Self::Claimed { id, path } => {
                out.number(7, 1);
                out.number(*id, 8);
                out.bytes(path);
            }
        }
        let mut bytes = out.0;
        let length = (bytes.len() - HEAD) as u32;
        let sum = checksum(&bytes[HEAD..]);
        bytes[..4].copy_from_slice(&MARK);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes[8..HEAD].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The number of the intent that it belongs to.
    pub fn id(&self) -> u64 {
        match self {
            Self::Intent(intent) => intent.id,
            Self::Claimed { id, .. } | Self::Rights { id, .. } | Self::Arrived { id, .. } => *id,
            Self::Begun(id) | Self::Done(id) | Self::Replaced(id) | Self::Overtaken(id) => *id,
        }
    }

    /// The record at the start of `bytes`, and its length; `None` where none is whole.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut head = In(bytes.get(..HEAD)?.strip_prefix(&MARK)?);
        let length = usize::try_from(head.number(4)?).ok()?;
        let sum = head.number(8)?;
        if length > LIMIT {
            return None;
        }
        let fields = bytes.get(HEAD..HEAD + length)?;
        if checksum(fields) != sum {
            return None;
        }
        let mut fields = In(fields);
        let kind = fields.number(1)?;
        let id = fields.number(8)?;
        let record = match kind {
            1 => Self::Intent(fields.intent(id)?),
            2 => Self::Begun(id),
            3 => Self::Rights {
                id,
                mode: fields.mode()?,
                modified: fields.option()?.map(u64::cast_signed),
            },
            4 => Self::Done(id),
            5 => Self::Replaced(id),
            6 => Self::Overtaken(id),
            7 => Self::Claimed {
                id,
                path: fields.bytes()?,
            },
            8 => Self::Arrived {
                id,
                size: fields.number(8)?,
            },
            _ => return None,
        };
        Some((record, HEAD + length))
    }

    /// Where the next whole record in `bytes` begins, which is looked for where none is at their start.
    pub fn seek(bytes: &[u8]) -> Option<usize> {
        let marks = bytes.windows(MARK.len()).enumerate();
        let mut begins = marks.filter(|(_, four)| *four == MARK).map(|(at, _)| at);
        begins.find(|&at| Self::read(&bytes[at..]).is_some())
    }
}

/// FNV-1a, 64 bits: enough to tell a torn record from a whole one.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, number: u64, bytes: usize) {
        self.0.extend_from_slice(&number.to_le_bytes()[..bytes]);
    }

    fn option(&mut self, number: Option<u64>) {
        self.number(u64::from(number.is_some()), 1);
        self.number(number.unwrap_or(0), 8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64, 8);
        self.0.extend_from_slice(bytes);
    }
}

struct In<'a>(&'a [u8]);

impl In<'_> {
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let mut number = [0; 8];
        number[..bytes].copy_from_slice(self.0.get(..bytes)?);
        self.0 = &self.0[bytes..];
        Some(u64::from_le_bytes(number))
    }

    fn option(&mut self) -> Option<Option<u64>> {
        let is_some = self.number(1)? == 1;
        let number = self.number(8)?;
        Some(is_some.then_some(number))
    }

    fn mode(&mut self) -> Option<Option<u32>> {
        let mode = self.option()?;
        Some(mode.and_then(|mode| u32::try_from(mode).ok()))
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.number(8)?).ok()?;
        let bytes = self.0.get(..length)?.to_vec();
        self.0 = &self.0[length..];
        Some(bytes)
    }

    fn intent(&mut self, id: u64) -> Option<Intent> {
        let path = self.bytes()?;
        let has_base = self.number(1)? == 1;
        let size = self.option()?;
        let modified = self.option()?.map(u64::cast_signed);
        let mut intent = Intent {
            id,
            path,
            base: has_base.then_some(Version { size, modified }),
            kept: self.number(8)?,
            size: self.number(8)?,
            mode: self.mode()?,
            modified: self.option()?.map(u64::cast_signed),
            begun: self.number(1)? == 1,
            overtaken: self.number(1)? == 1,
            ..Intent::default()
        };
        for _ in 0..self.number(8)? {
            intent.dirty.push(self.number(8)?..self.number(8)?);
        }
        let inline = self.number(1)? == 1;
        let bytes = self.bytes()?;
        intent.bytes = inline.then_some(bytes);
        // Older ones end here.
        intent.exclusive = self.number(1) == Some(1);
        Some(intent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let intent = Intent {
            id: 7,
            path: b"/a/b \xff".to_vec(),
            base: Some(Version {
                size: Some(5),
                modified: Some(-3),
            }),
            kept: 2,
            size: 9,
            mode: Some(0o640),
            modified: Some(-1),
            begun: true,
            overtaken: false,
            exclusive: true,
            dirty: vec![2..4, 5..9],
            bytes: Some(b"abcdef".to_vec()),
        };
        let large = Intent {
            bytes: None,
            base: None,
            ..intent.clone()
        };
        vec![
            Record::Intent(intent),
            Record::Intent(large),
            Record::Begun(7),
            Record::Rights {
                id: 7,
                mode: None,
                modified: Some(i64::MIN),
            },
            Record::Done(7),
            Record::Replaced(8),
            Record::Overtaken(9),
            Record::Arrived {
                id: 9,
                size: 1 << 40,
            },
            Record::Claimed {
                id: 10,
                path: b"/a".to_vec(),
            },
        ]
    }

    #[test]
    fn arrived_bytes_become_the_base() {
        let Some(Record::Intent(mut intent)) = records().into_iter().next() else {
            panic!("no intent");
        };
        assert!(!intent.arrived(6));
        assert_eq!(intent.dirty, std::iter::once(6..9).collect::<Vec<_>>());
        assert_eq!(intent.bytes.as_deref(), Some(&b"def"[..]));
        assert_eq!(
            (intent.base.and_then(|base| base.size), intent.kept),
            (Some(6), 6)
        );
        assert!(intent.arrived(9));
    }

    #[test]
    fn behind_damage_the_next_record_is_found() {
        let (one, two) = (Record::Done(1).write(), Record::Done(2).write());
        let mut bytes = [b"fj\x01\nnoise".as_slice(), &one, &two].concat();
        assert_eq!(Record::seek(&bytes), Some(9));
        bytes[15] ^= 1;
        assert_eq!(Record::seek(&bytes), Some(9 + one.len()));
        assert_eq!(Record::seek(&bytes[..20]), None);
    }

    #[test]
    fn written_record_is_read_back() {
        for record in records() {
            let bytes = record.write();
            assert_eq!(Record::read(&bytes), Some((record, bytes.len())));
        }
    }

    #[test]
    fn torn_or_damaged_record_is_rejected() {
        for record in records() {
            let mut bytes = record.write();
            for length in 0..bytes.len() {
                assert_eq!(Record::read(&bytes[..length]), None);
            }
            for at in 0..bytes.len() {
                bytes[at] ^= 0x10;
                assert_ne!(
                    Record::read(&bytes).map(|(read, _)| read).as_ref(),
                    Some(&record)
                );
                bytes[at] ^= 0x10;
            }
        }
    }
}
