//! What can be wrong with keys, certificates and their files.

use std::io;
use std::path::PathBuf;

/// Why a key or certificate cannot be used. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that does not hold what it should.
    #[error("{}: {reason}. Enrol again to get a new one", path.display())]
    Credentials {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A private key that others may read.
    #[error("{}: others than its owner may read this private key (mode {mode:04o}): run chmod 600 on it", path.display())]
    KeyFileMode {
        /// Its path.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// TLS cannot be set up with these keys and certificates.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}
