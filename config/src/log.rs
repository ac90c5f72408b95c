//! What is logged, and how.

use crate::document::Document;
use crate::error::Error;
use crate::schema::section;

section! {
    RawLog {
        format: String = "text".to_owned(),
        level: String = "info".to_owned(),
    }
}

/// What is logged, and how. Logs go to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The least important line that is still written.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object on each line.
    Json,
    /// Text for people.
    Text,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something may fail.
    Warn,
    /// Something was done.
    Info,
    /// How it was done.
    Debug,
    /// Every step of it.
    Trace,
}

impl LogLevel {
    /// The level's name, as tracing writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Log {
    pub(crate) fn check(raw: &RawLog, document: &Document) -> Result<Self, Error> {
        let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
        let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        Ok(Self {
            format: document.choice("log.format", &raw.format, &formats)?,
            level: document.choice("log.level", &raw.level, &levels.map(|level| (level.name(), level)))?,
        })
    }
}
