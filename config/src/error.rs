//! What can be wrong with a configuration file. Each message names the file, the line, the key and the remedy, so that
//! nobody has to open this crate to find out what to write instead.

use std::fmt;
use std::path::PathBuf;

/// A position in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A configuration that is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}. Remedy: {remedy}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
        /// What to do about it.
        remedy: String,
    },
    /// The file is longer than any configuration has reason to be.
    #[error("{}: has {bytes} bytes, and at most {limit} are read. Remedy: give the path of a configuration file", file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The text is not TOML.
    #[error("{at}: this is not TOML: {problem}. Remedy: {remedy}")]
    Syntax {
        /// Where reading stopped.
        at: Place,
        /// What the TOML reader said.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A key that the schema does not have.
    #[error("{at}: unknown key `{key}`. Remedy: {remedy}")]
    UnknownKey {
        /// Where the key stands.
        at: Place,
        /// The whole key, such as `times.sesion_idle`.
        key: String,
        /// The known key that was probably meant.
        nearest: Option<String>,
        /// What to do about it.
        remedy: String,
    },
    /// A key whose value has the wrong type or form.
    #[error("{at}: `{key}`: {problem}. Remedy: {remedy}")]
    Value {
        /// Where the value stands, or where it ought to stand.
        at: Place,
        /// The whole key.
        key: String,
        /// What is wrong with the value.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// Values that are well formed, and do not fit together.
    #[error("{at}: `{key}` breaks a rule: {rule}. Remedy: {remedy}")]
    Rule {
        /// Where the value stands, or where it ought to stand.
        at: Place,
        /// The whole key.
        key: String,
        /// The rule.
        rule: String,
        /// What to write instead.
        remedy: String,
    },
}

impl Error {
    /// Where in the file the fault is, for those faults that have a place there.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Read { .. } | Self::TooLong { .. } => None,
            Self::Syntax { at, .. } | Self::UnknownKey { at, .. } | Self::Value { at, .. } | Self::Rule { at, .. } => {
                Some(at)
            }
        }
    }

    /// The key that is at fault, if it is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Read { .. } | Self::TooLong { .. } | Self::Syntax { .. } => None,
            Self::UnknownKey { key, .. } | Self::Value { key, .. } | Self::Rule { key, .. } => Some(key),
        }
    }
}
