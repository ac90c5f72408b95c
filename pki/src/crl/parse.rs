//! Reading of CRLs that are small enough to be held.

use std::collections::HashMap;

use super::{CrlDescription, CrlEntry, CrlError, CrlLimits, CrlReader};
use crate::{PublicKey, SerialNumber};

/// A CRL of version 2 with its entries, read and checked for its form: a full one, a shard or a delta, as its
/// [`CrlDescription`] says. Whether to believe it says [`ParsedCrl::verify_signed_by`].
#[derive(Clone, Debug)]
pub struct ParsedCrl {
    description: CrlDescription,
    entries: HashMap<SerialNumber, CrlEntry>,
}

impl ParsedCrl {
    /// Reads a DER `CertificateList` of at most `max_octets`. An entry takes at least some 20 octets, so that the limit
    /// bounds the memory as well.
    ///
    /// # Errors
    /// When it is too long, malformed, lists a serial number twice, or has a critical extension or a scope that is not
    /// known here.
    pub fn from_der(der: &[u8], max_octets: usize) -> Result<Self, CrlError> {
        let limit = max_octets as u64;
        if der.len() > max_octets {
            return Err(CrlError::TooLong { limit });
        }
        let mut reader = CrlReader::new(der, CrlLimits::octets(limit))?;
        let mut entries = HashMap::new();
        for entry in &mut reader {
            let entry = entry?;
            if entries.insert(entry.serial, entry).is_some() {
                return Err(CrlError::Duplicate(entry.serial));
            }
        }
        Ok(ParsedCrl { description: reader.finish()?, entries })
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`CrlError::Signature`] when it is not by this key.
    pub fn verify_signed_by(&self, issuer_key: &PublicKey) -> Result<(), CrlError> {
        self.description.verify_signed_by(issuer_key)
    }

    /// What it says beside its entries.
    pub fn description(&self) -> &CrlDescription {
        &self.description
    }

    /// What it says of a certificate: `None` if it does not list it. A delta says what is new since its base, and a shard
    /// speaks of the certificates that name it.
    pub fn entry(&self, serial: &SerialNumber) -> Option<&CrlEntry> {
        self.entries.get(serial)
    }

    /// How many certificates it lists.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it lists none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = &CrlEntry> {
        self.entries.values()
    }
}
