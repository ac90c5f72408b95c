//! What targets and seeds have in common: the moment at which everything happens, and a record like those of the rooms.

use pki::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Index, Record, Table, Term};

/// 2026-01-01T00:00:00Z, when the seeds were signed.
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

/// A record with everything that the rooms' records are made of: text, octets, numbers, options, lists, and an enum that
/// carries data and nests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The key.
    pub id: String,
    /// Octets.
    #[serde(with = "serde_bytes")]
    pub der: Vec<u8>,
    /// A time.
    pub at: Timestamp,
    /// A serial number.
    pub serial: pki::SerialNumber,
    /// A reason, perhaps.
    pub reason: Option<pki::CrlReason>,
    /// A list.
    pub names: Vec<String>,
    /// A state.
    pub state: SampleState,
}

/// A state that carries its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SampleState {
    /// Without data.
    Idle,
    /// With data.
    Held {
        /// Since when.
        since: Timestamp,
        /// What it was before.
        before: Box<SampleState>,
    },
}

impl Record for Sample {
    const TABLE: Table = Table::new("sample");
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        self.names.iter().map(|name| Term::new(Index::new("sample.name"), name.as_str())).collect()
    }
}
