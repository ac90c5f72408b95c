//! Audit records: who did what to which thing, when, and how it ended.
//!
//! A record is a row of the commit that it records: no audit, no act. This room gives the record its form and reads it
//! back; the store numbers the records without gaps.
//!
//! A record names people by their user id and never carries a name, a date of birth or a document number.

use std::collections::BTreeMap;
use std::fmt;

use pki::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest record that is written or read.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

const FORMAT: u8 = 1;

/// One act, or one attempt at one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When it was decided.
    pub time: Timestamp,
    /// Who acted.
    pub actor: Actor,
    /// What was done, by its name in the policy, such as `card.issue`; acts of the service itself are named alike.
    pub operation: String,
    /// What it was done to.
    pub targets: Vec<Target>,
    /// How it ended.
    pub outcome: Outcome,
    /// Further facts by name: profile, reason, serial number. Never personal data, never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// The act that this one belongs to, such as an issuance: records with the same value tell one story.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// The service desk's reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// Who acted: a person with a card at a station, a station or a responder by itself, somebody on the server's own machine, or the
/// service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user id of the acting person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The card that the person acted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// The station that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<String>,
    /// The OCSP responder that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responder: Option<String>,
    /// Somebody on the server's own machine: the account, and the names that were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
}

impl Actor {
    /// The service itself: nobody asked.
    pub fn service() -> Self {
        Actor::default()
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (name, value) in [
            ("person", &self.person),
            ("card", &self.card),
            ("station", &self.station),
            ("responder", &self.responder),
            ("local", &self.local),
        ] {
            if let Some(value) = value {
                parts.push(format!("{name} {value}"));
            }
        }
        if parts.is_empty() { f.write_str("the service") } else { f.write_str(&parts.join(", ")) }
    }
}

/// A thing that was acted on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// `person`, `card`, `certificate`, `station`, `issuer`, `crl`, `session`, …
    pub kind: String,
    /// Its identifier.
    pub id: String,
}

impl Target {
    /// A target of this kind.
    pub fn new(kind: &str, id: impl fmt::Display) -> Self {
        Target { kind: kind.to_owned(), id: id.to_string() }
    }
}

/// How an act ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is about to be done: a signature may exist from now on.
    Intent,
    /// It was done, by this commit.
    Done,
    /// It was not allowed.
    Refused {
        /// The rule.
        rule: String,
    },
    /// It was allowed, and did not succeed.
    Failed {
        /// Why, without personal data.
        cause: String,
    },
}

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than a record may have.
    #[error("an audit record of {0} bytes is longer than the {MAX_RECORD_BYTES} that are allowed")]
    TooLong(usize),
    /// Another format than this version knows.
    #[error("the audit record has format {0}, and this version reads format {FORMAT}: use a newer version of cardinal")]
    Format(u8),
    /// Not a record.
    #[error("the audit record cannot be read: {0}")]
    Malformed(String),
}

impl AuditRecord {
    /// A record of `operation` at `time`.
    pub fn new(time: Timestamp, actor: Actor, operation: &str, outcome: Outcome) -> Self {
        AuditRecord {
            time,
            actor,
            operation: operation.to_owned(),
            targets: Vec::new(),
            outcome,
            facts: BTreeMap::new(),
            follows: None,
            ticket: None,
        }
    }

    /// Adds what was acted on.
    pub fn on(mut self, kind: &str, id: impl fmt::Display) -> Self {
        self.targets.push(Target::new(kind, id));
        self
    }

    /// Adds a fact.
    pub fn fact(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }

    /// Names the act that this one belongs to.
    pub fn follows(mut self, act: impl fmt::Display) -> Self {
        self.follows = Some(act.to_string());
        self
    }

    /// The bytes that the store keeps: a format octet, then CBOR.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![FORMAT];
        ciborium::into_writer(self, &mut bytes).map_err(|error| Error::Malformed(error.to_string()))?;
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(Error::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads what [`AuditRecord::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are too many, of another format, or no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(Error::TooLong(bytes.len()));
        }
        match bytes.split_first() {
            Some((&FORMAT, body)) => {
                let mut rest = body;
                let record = ciborium::from_reader(&mut rest).map_err(|error| Error::Malformed(error.to_string()))?;
                if rest.is_empty() { Ok(record) } else { Err(Error::Malformed("bytes follow it".to_owned())) }
            }
            Some((&other, _)) => Err(Error::Format(other)),
            None => Err(Error::Malformed("it is empty".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        let actor = Actor { person: Some("555000000018".into()), ..Actor::default() };
        AuditRecord::new(Timestamp::from_unix_seconds(1), actor, "card.issue", Outcome::Intent)
            .on("card", "C1")
            .fact("profile", "card-authentication")
            .follows("issuance-1")
    }

    #[test]
    fn what_was_written_is_read_back() {
        assert_eq!(AuditRecord::decode(&record().encode().unwrap()).unwrap(), record());
    }

    #[test]
    fn a_record_of_another_format_cut_short_or_with_something_behind_it_is_refused() {
        let bytes = record().encode().unwrap();
        let mut other = bytes.clone();
        other[0] = 9;
        assert!(matches!(AuditRecord::decode(&other), Err(Error::Format(9))));
        assert!(AuditRecord::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(AuditRecord::decode(&[bytes, vec![0]].concat()).is_err());
        assert!(AuditRecord::decode(&[]).is_err());
        assert!(matches!(AuditRecord::decode(&vec![1; MAX_RECORD_BYTES + 1]), Err(Error::TooLong(_))));
    }

    #[test]
    fn a_record_that_is_too_long_is_not_written() {
        assert!(matches!(record().fact("long", "x".repeat(MAX_RECORD_BYTES)).encode(), Err(Error::TooLong(_))));
    }
}
