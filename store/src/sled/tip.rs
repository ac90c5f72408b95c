//! A witness beside sled: the last commit that was acknowledged.
//!
//! sled ends its recovery at the first damaged message of the log and calls that success. The commits behind it would
//! be gone without a word, so a small file says which commit must be there. It is written after a group is durable and
//! before its commits are answered; it is not synced, since it may lag behind the store but never be ahead of it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::Error;

const FILE: &str = "tip";
const MAGIC: &[u8; 8] = b"CRDNTIP1";
const LENGTH: usize = 32;

/// What the witness says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    /// The epoch of the store.
    pub epoch: u64,
    /// The number of the last acknowledged commit.
    pub commit: u64,
}

impl Tip {
    fn to_bytes(self) -> [u8; LENGTH] {
        let mut out = [0; LENGTH];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.epoch.to_be_bytes());
        out[16..24].copy_from_slice(&self.commit.to_be_bytes());
        let digest = Sha256::digest(&out[..24]);
        out[24..].copy_from_slice(&digest[..8]);
        out
    }

    fn from_bytes(bytes: &[u8]) -> Option<Tip> {
        let number = |range| Some(u64::from_be_bytes(bytes.get::<std::ops::Range<usize>>(range)?.try_into().ok()?));
        let tip = Tip { epoch: number(8..16)?, commit: number(16..24)? };
        (tip.to_bytes().as_slice() == bytes).then_some(tip)
    }

    /// Reads the witness in a store's directory; `None` if there is none or it cannot be trusted.
    pub(super) fn read(dir: &Path) -> Option<Tip> {
        let mut bytes = Vec::new();
        File::open(dir.join(FILE)).ok()?.take(LENGTH as u64 + 1).read_to_end(&mut bytes).ok()?;
        Tip::from_bytes(&bytes)
    }

    /// Whether there is a witness file, of whatever content.
    pub(super) fn exists(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }
}

/// The witness file, open for writing.
#[derive(Debug)]
pub(super) struct TipFile {
    file: File,
}

impl TipFile {
    /// Opens or makes the file and writes a tip that is durable when this returns.
    pub(super) fn open(dir: &Path, tip: Tip) -> Result<TipFile, Error> {
        let path = dir.join(FILE);
        let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
        let file = options.open(&path).map_err(Error::io("open", &path))?;
        let opened = TipFile { file };
        opened.write(tip).map_err(Error::io("write", &path))?;
        opened.file.set_len(LENGTH as u64).map_err(Error::io("write", &path))?;
        opened.sync().map_err(Error::io("sync", &path))?;
        Ok(opened)
    }

    /// Writes a tip, to be synced whenever the system likes.
    pub(super) fn write(&self, tip: Tip) -> std::io::Result<()> {
        self.file.write_all_at(&tip.to_bytes(), 0)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_with_any_flipped_bit_is_not_trusted() {
        let tip = Tip { epoch: 3, commit: 77 };
        let bytes = tip.to_bytes();
        assert_eq!(Tip::from_bytes(&bytes), Some(tip));
        for bit in 0..LENGTH * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Tip::from_bytes(&flipped), None);
        }
        assert_eq!(Tip::from_bytes(&bytes[..LENGTH - 1]), None);
    }
}
