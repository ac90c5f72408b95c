//! What can go wrong, with whose fault it is and what helps.

use std::path::PathBuf;

use crate::batch::Table;

/// Everything that a store answers instead of a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An expectation of the batch does not hold; nothing of the batch was applied. Read again and decide anew.
    #[error("the row {} in table {} is not in the expected version", hex(.key), .table.name())]
    Conflict {
        /// The table of the row.
        table: Table,
        /// The key of the row.
        key: Vec<u8>,
    },
    /// Something in the batch is larger than the store accepts; nothing was applied.
    #[error("{what} has {size} bytes or entries, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes, or its number of entries.
        size: usize,
        /// The largest size that is accepted.
        limit: usize,
    },
    /// The batch contradicts itself; nothing was applied. A mistake of the calling code.
    #[error("the batch cannot be committed: {reason}")]
    InvalidBatch {
        /// The rule that it breaks.
        reason: String,
    },
    /// Another process (or another part of this one) has the store open.
    #[error("the store in {} is in use{}; it can have one owner at a time", .dir.display(), by_process(.pid))]
    InUse {
        /// The store's directory.
        dir: PathBuf,
        /// The process that has it, as far as it wrote that down.
        pid: Option<u32>,
    },
    /// The store's files do not hold what was written to them.
    #[error(
        "the store in {} is damaged: {detail}. Keep the directory as it is and put the last backup in place with `cardinal restore`",
        .dir.display()
    )]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The store was written by a newer version of this program.
    #[error(
        "the store in {} has layout version {found}, this program knows up to {supported}: use the newer program",
        .dir.display()
    )]
    NewerStore {
        /// The store's directory.
        dir: PathBuf,
        /// The layout version that was found.
        found: u16,
        /// The newest layout version that this program can use.
        supported: u16,
    },
    /// The batch was being written when the medium failed: it may or may not be there when the store is opened again.
    #[error(
        "whether the commit is durable is not known: {reason}. The store takes no more commits until it is opened again"
    )]
    OutcomeUnknown {
        /// What failed.
        reason: String,
    },
    /// The disk is nearly full; nothing was applied. Once there is room again, commits are taken again.
    #[error(
        "the disk with {} has too little room to commit safely, which takes {needed} bytes: {detail}. Make room there",
        .dir.display()
    )]
    DiskFull {
        /// The store's directory.
        dir: PathBuf,
        /// What has to be left, in bytes.
        needed: u64,
        /// What was found.
        detail: String,
    },
    /// A failure of the medium stopped the store; nothing of this batch was applied. Reads go on, as far as the medium
    /// lets them.
    #[error("the store takes no more commits until it is opened again, because {reason}")]
    Failed {
        /// What failed then.
        reason: String,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The backend reports something that fits no other case.
    #[error("the store in {} answers: {detail}", .dir.display())]
    Backend {
        /// The store's directory.
        dir: PathBuf,
        /// The backend's message.
        detail: String,
    },
    /// A record was written under a schema that this program does not know.
    #[error("the record {} in table {} has schema {found}, this program knows {supported}", hex(.key), .table.name())]
    RecordSchema {
        /// The table of the record.
        table: Table,
        /// The key of the record.
        key: Vec<u8>,
        /// The schema byte that was found.
        found: u8,
        /// The schema byte that this program writes and reads.
        supported: u8,
    },
    /// A row's bytes are not the record that its table holds.
    #[error("the record {} in table {} cannot be read: {detail}", hex(.key), .table.name())]
    RecordDecode {
        /// The table of the record.
        table: Table,
        /// The key of the record.
        key: Vec<u8>,
        /// What is wrong with it.
        detail: String,
    },
    /// A sealed value cannot be opened.
    #[error("the sealed record {} in table {} cannot be opened: {detail}", hex(.key), .table.name())]
    Unsealable {
        /// The table of the record.
        table: Table,
        /// The key of the record.
        key: Vec<u8>,
        /// What is wrong with it.
        detail: String,
    },
    /// The operating system gave no random octets for a seal; nothing was applied.
    #[error("a value could not be sealed: the system's random number generator failed")]
    SealFailed,
    /// A record cannot be written as CBOR.
    #[error("a record for table {} cannot be written: {detail}", .table.name())]
    RecordEncode {
        /// The table of the record.
        table: Table,
        /// What is wrong with it.
        detail: String,
    },
    /// A backup is already being made.
    #[error("a backup of this store is already being made")]
    BackupRunning,
    /// The backup could not be written to where it was to go.
    #[error("the backup cannot be written: {source}")]
    BackupWrite {
        /// The answer of the writer.
        source: std::io::Error,
    },
    /// The backup could not be read.
    #[error("the backup cannot be read: {source}")]
    BackupRead {
        /// The answer of the reader.
        source: std::io::Error,
    },
    /// The backup does not hold what was written to it; nothing was put in place.
    #[error("the backup is damaged: {detail}. Nothing was put in place")]
    BackupDamaged {
        /// What was found.
        detail: String,
    },
    /// The backup was made by a newer version of this program; nothing was put in place.
    #[error("the backup has format version {found}, this program knows up to {supported}: use the newer program")]
    NewerBackup {
        /// The format version that was found.
        found: u16,
        /// The newest format version that this program can read.
        supported: u16,
    },
    /// A restore would overwrite something.
    #[error("{} is there already; a restore moves it aside only when told to replace it", .dir.display())]
    TargetExists {
        /// The directory that was to be made.
        dir: PathBuf,
    },
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn by_process(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl Error {
    /// Turns an IO error into one that names what was attempted, and where.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}
