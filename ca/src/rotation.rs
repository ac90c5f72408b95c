//! The record of a rotation: which key is exchanged, who does it, and how far it has come.
//!
//! Each step is written down before it is begun and after it is done, so that a rotation that was interrupted at any
//! point can be resumed at the step that it was at. What the steps do is not known here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use audit::{Actor, AuditRecord, Outcome};
use pki::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Record, Table, Term};

/// Rotations, by id.
pub const ROTATIONS: Table = Table::new("rotation");

/// What is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationKind {
    /// The key of an issuing CA.
    IssuingCa,
    /// The root's key.
    Root,
    /// The keys that sign OCSP answers.
    OcspSigner,
    /// The key and certificate of the API door.
    Tls,
    /// The PIN of a token.
    TokenPin,
    /// The key that encrypts personal data in the store.
    DataKey,
}

impl RotationKind {
    /// All of them.
    pub const ALL: [RotationKind; 6] = [
        RotationKind::IssuingCa,
        RotationKind::Root,
        RotationKind::OcspSigner,
        RotationKind::Tls,
        RotationKind::TokenPin,
        RotationKind::DataKey,
    ];

    /// Its name in commands and records.
    pub const fn name(self) -> &'static str {
        match self {
            RotationKind::IssuingCa => "issuing-ca",
            RotationKind::Root => "root",
            RotationKind::OcspSigner => "ocsp-signer",
            RotationKind::Tls => "tls",
            RotationKind::TokenPin => "token-pin",
            RotationKind::DataKey => "data-key",
        }
    }

    /// Whether a CA's key is made, which takes two people (conformance: K6).
    pub const fn makes_a_ca_key(self) -> bool {
        matches!(self, RotationKind::IssuingCa | RotationKind::Root)
    }
}

impl fmt::Display for RotationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RotationKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(RotationKind::name).join(", ");
            format!("there is no rotation of {text:?}; there are: {names}")
        })
    }
}

/// How far a rotation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationState {
    /// Under way; or interrupted, where nobody is at it.
    Running,
    /// The next step comes at a time, and is done by itself then.
    Waiting {
        /// When.
        until: Timestamp,
    },
    /// Whole.
    Done {
        /// Since when.
        at: Timestamp,
    },
    /// Given up; what was made for it is gone or void.
    BackedOut {
        /// Since when.
        at: Timestamp,
    },
}

/// One step, begun at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name.
    pub step: String,
    /// When it was last begun.
    pub begun: Timestamp,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
    /// Why it failed, if it did and was not done since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// One rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Its id: kind, target and a number, such as `issuing-ca.devices.1`.
    pub id: String,
    /// What is exchanged.
    pub kind: RotationKind,
    /// Which one: the CA's name, the token's label; the kind's own name where there is one only.
    pub target: String,
    /// The names of the people who do it, as they gave them.
    pub people: Vec<String>,
    /// When it was begun.
    pub started: Timestamp,
    /// How far it has come.
    pub state: RotationState,
    /// The steps that were begun, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// What later steps need of earlier ones, by name. Never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

impl Record for Rotation {
    const TABLE: Table = ROTATIONS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

impl Rotation {
    /// Whether it is neither whole nor given up.
    pub fn is_open(&self) -> bool {
        matches!(self.state, RotationState::Running | RotationState::Waiting { .. })
    }

    /// Whether this step was done.
    pub fn has_done(&self, step: &str) -> bool {
        self.steps.iter().any(|record| record.step == step && record.done.is_some())
    }

    /// Whether this step was begun, done or not.
    pub fn has_begun(&self, step: &str) -> bool {
        self.steps.iter().any(|record| record.step == step)
    }

    /// What an earlier step left.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// The step is begun, perhaps again.
    pub fn begin(&mut self, step: &str, now: Timestamp) {
        match self.steps.iter_mut().find(|record| record.step == step) {
            Some(record) => record.begun = now,
            None => self.steps.push(StepRecord { step: step.to_owned(), begun: now, done: None, failure: None }),
        }
    }

    /// The step is done.
    pub fn finish(&mut self, step: &str, now: Timestamp) {
        if let Some(record) = self.steps.iter_mut().find(|record| record.step == step) {
            record.done = Some(now);
            record.failure = None;
        }
    }

    /// The step failed. It can be begun again.
    pub fn fail(&mut self, step: &str, cause: &str) {
        if let Some(record) = self.steps.iter_mut().find(|record| record.step == step) {
            record.failure = Some(cause.to_owned());
        }
    }

    /// The audit record of something that happened to it. People are named in the rotation itself: audit records carry
    /// no names.
    pub fn audit(&self, now: Timestamp, actor: &Actor, operation: &str, outcome: Outcome) -> AuditRecord {
        let mut record = AuditRecord::new(now, actor.clone(), operation, outcome)
            .on("rotation", &self.id)
            .fact("kind", self.kind)
            .fact("target", &self.target)
            .fact("people", self.people.len());
        record.follows = Some(self.id.clone());
        record
    }
}

/// All rotations, the open ones and the earlier ones, by id.
///
/// # Errors
/// When the store fails.
pub fn all(store: &dyn store::Store) -> Result<Vec<Rotation>, store::Error> {
    let mut found: Vec<Rotation> = Vec::new();
    loop {
        let after = found.last().map(store::Record::key);
        let page = store::load_range::<Rotation>(store, b"", after.as_deref(), 100)?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page.into_iter().map(|found| found.record));
    }
}

/// The id of the next rotation of this kind and target.
///
/// # Errors
/// When the store fails.
pub fn next_id(store: &dyn store::Store, kind: RotationKind, target: &str) -> Result<String, store::Error> {
    let before = all(store)?.iter().filter(|rotation| rotation.kind == kind && rotation.target == target).count();
    Ok(format!("{kind}.{target}.{}", before + 1))
}
