//! Room on the disk, made sure of before a group goes to sled.
//!
//! sled does not survive a write that finds the disk full: it takes no more of them, and where the write was that of a
//! node it was splitting, it cannot read that node either. So the committer looks for room first, and has the system
//! allocate the next part of sled's log. A group that finds no room is refused, and nothing has happened.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, fstat, statvfs};
use rustix::io::Errno;

use crate::error::Error;

/// How much of the log is allocated ahead at a time, in bytes.
const AHEAD: u64 = 8 << 20;
/// How many bytes sled writes for each that it is given.
const AMPLIFICATION: u64 = 3;

/// What is known of the room for sled's log.
#[derive(Debug)]
pub(super) struct Room {
    /// What the disk is to have left, in bytes; 0 if nobody cares.
    keep: u64,
    /// Up to here the log's blocks are allocated, whatever its length.
    allocated: u64,
    /// The file system can allocate blocks ahead.
    can_allocate: bool,
}

impl Room {
    pub(super) fn new(keep: u64) -> Room {
        Room { keep, allocated: 0, can_allocate: keep > 0 }
    }

    /// Makes sure that a group of `size` bytes can be written.
    pub(super) fn make_sure(&mut self, dir: &Path, log: &File, size: usize) -> Result<(), Error> {
        if self.keep == 0 {
            return Ok(());
        }
        let full = |needed, detail| Error::DiskFull { dir: dir.to_owned(), needed, detail };
        let to_write = AMPLIFICATION * size as u64;
        let needed = self.keep.saturating_add(to_write);
        // Where the system cannot tell, there is nothing to refuse for.
        if let Ok(disk) = statvfs(dir) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            if free < needed {
                return Err(full(needed, format!("{free} bytes are left")));
            }
        }
        let Ok(length) = fstat(log).map(|stat| stat.st_size as u64) else { return Ok(()) };
        let end = length + AHEAD / 2 + to_write;
        if !self.can_allocate || end <= self.allocated {
            return Ok(());
        }
        // The length stays as it is: sled takes what lies within it for its own.
        match fallocate(log, FallocateFlags::KEEP_SIZE, length, AHEAD + to_write) {
            Ok(()) => self.allocated = length + AHEAD + to_write,
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                return Err(full(AHEAD + to_write, std::io::Error::from(error).to_string()));
            }
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "the log's blocks cannot be allocated ahead");
                self.can_allocate = false;
            }
        }
        Ok(())
    }
}
