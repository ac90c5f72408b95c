//! Building of CRLs: walked over to measure, to hash and lint, and to write, so that no list is ever held.

use std::io::Write;

use super::describe::fingerprint;
use super::frame::{CrlHeader, Frame, header};
use super::{CrlEntry, CrlError, CrlNumber, EntryReason, entry, lint};
use crate::digest::MessageDigest;
use crate::{PublicKey, SerialNumber, SignatureAlgorithm};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// How much is hashed, or written, at once.
const CHUNK: usize = 64 * 1024;

/// The entries of a CRL, in the order of their serial numbers as numbers (that of [`SerialNumber`]), none twice. It is
/// asked several times, and says the same each time: what changes in between is noticed, and refused.
pub trait CrlEntries {
    /// Calls `take` for each entry, and ends at its first error.
    ///
    /// # Errors
    /// That of `take`, as it is; [`CrlError::Entries`] when the entries cannot be had.
    fn for_each(&self, take: &mut dyn FnMut(&CrlEntry) -> Result<(), CrlError>) -> Result<(), CrlError>;
}

impl CrlEntries for [CrlEntry] {
    fn for_each(&self, take: &mut dyn FnMut(&CrlEntry) -> Result<(), CrlError>) -> Result<(), CrlError> {
        self.iter().try_for_each(take)
    }
}

impl<const N: usize> CrlEntries for [CrlEntry; N] {
    fn for_each(&self, take: &mut dyn FnMut(&CrlEntry) -> Result<(), CrlError>) -> Result<(), CrlError> {
        self.as_slice().for_each(take)
    }
}

impl CrlEntries for Vec<CrlEntry> {
    fn for_each(&self, take: &mut dyn FnMut(&CrlEntry) -> Result<(), CrlError>) -> Result<(), CrlError> {
        self.as_slice().for_each(take)
    }
}

/// A CRL whose bytes are fixed and linted, and wait for their signature. It can be made in no other way, and not be
/// changed.
#[derive(Debug)]
pub struct PreparedCrl {
    frame: Frame,
    algorithm: SignatureAlgorithm,
    number: CrlNumber,
    is_delta: bool,
    entries: u64,
    entries_octets: u64,
    digest: Vec<u8>,
}

/// A CRL that was signed and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedCrlSummary {
    /// Its cRLNumber.
    pub number: CrlNumber,
    /// How many entries it has.
    pub entries: u64,
    /// How long it is, in octets.
    pub octets: u64,
    /// What distinguishes these very octets from those of any other list: SHA-256 of the signed part's digest, of the
    /// algorithm and of the signature. [`super::CrlDescription::fingerprint`] of the same list is the same.
    pub fingerprint: [u8; 32],
}

/// Fixes the bytes of a CRL, lints them, and hashes them.
///
/// # Errors
/// When the header contradicts itself, entries are out of order, or a date cannot be expressed; and that of the entries.
// conformance: C1, C2, C3, C4, C5, C7, C8, C10, C11, C14
pub fn prepare_crl<E: CrlEntries + ?Sized>(header: &CrlHeader<'_>, entries: &E) -> Result<PreparedCrl, CrlError> {
    header.check()?;
    let frame = header.encode()?;
    lint::frame(&frame, header)?;
    let is_delta = header.base.is_some();
    let (mut count, mut octets, mut scratch) = (0, 0, Vec::with_capacity(128));
    each_encoded(entries, is_delta, |encoded, _| {
        count += 1;
        octets += encoded.len() as u64;
        Ok(())
    })?;
    let algorithm = header.issuer.signature_algorithm();
    let mut digest = MessageDigest::new(algorithm);
    digest.update(&frame.head(octets));
    let mut hashed = 0;
    each_encoded(entries, is_delta, |encoded, entry| {
        lint::entry(encoded, entry, is_delta)?;
        hashed += encoded.len() as u64;
        scratch.extend_from_slice(encoded);
        if scratch.len() >= CHUNK {
            digest.update(&scratch);
            scratch.clear();
        }
        Ok(())
    })?;
    digest.update(&scratch);
    if hashed != octets {
        return Err(CrlError::Changed);
    }
    digest.update(&frame.after);
    let digest = digest.finish();
    Ok(PreparedCrl {
        frame,
        algorithm,
        number: header.number,
        is_delta,
        entries: count,
        entries_octets: octets,
        digest,
    })
}

/// Encodes each entry by itself, and checks their order.
// conformance: C4, C8
fn each_encoded<E: CrlEntries + ?Sized>(
    entries: &E,
    is_delta: bool,
    mut take: impl FnMut(&[u8], &CrlEntry) -> Result<(), CrlError>,
) -> Result<(), CrlError> {
    let mut previous: Option<SerialNumber> = None;
    let mut encoded = Vec::with_capacity(128);
    entries.for_each(&mut |entry| {
        let serial = entry.serial;
        match previous {
            Some(previous) if previous == serial => return Err(CrlError::Duplicate(serial)),
            Some(previous) if previous > serial => return Err(CrlError::Order { serial, after: previous }),
            _ => previous = Some(serial),
        }
        if entry.reason == EntryReason::RemoveFromCrl && !is_delta {
            return Err(CrlError::Reason(entry.reason.code()));
        }
        encoded.clear();
        entry::encode(entry, &mut encoded)?;
        take(&encoded, entry)
    })
}

impl PreparedCrl {
    /// The digest of its `TBSCertList`, by the hash function of [`PreparedCrl::signature_algorithm`]: what is to be
    /// signed.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// What it is to be signed with.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// Its cRLNumber.
    pub fn number(&self) -> CrlNumber {
        self.number
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Verifies the signature with the issuer's key, and writes the DER `CertificateList`. What was written is to be
    /// thrown away after an error.
    ///
    /// # Errors
    /// [`CrlError::Signature`] when the signature is not by that key; [`CrlError::Changed`] when the entries are not the
    /// same as before; [`CrlError::Write`]; and that of the entries.
    // conformance: C15
    pub fn write<E: CrlEntries + ?Sized>(
        self,
        entries: &E,
        signature: &[u8],
        issuer_key: &PublicKey,
        out: &mut dyn Write,
    ) -> Result<SignedCrlSummary, CrlError> {
        let verified = issuer_key.verify_digest(self.algorithm, &self.digest, signature);
        verified.map_err(|_| CrlError::Signature)?;
        let head = self.frame.head(self.entries_octets);
        let mut end = Vec::new();
        der::Encode::encode_to_vec(&self.algorithm.identifier(), &mut end)?;
        end.extend(header(BIT_STRING, signature.len() as u64 + 1));
        end.push(0);
        end.extend_from_slice(signature);
        let tbs_octets = head.len() as u64 + self.entries_octets + self.frame.after.len() as u64;
        let start = header(SEQUENCE, tbs_octets + end.len() as u64);
        let octets = start.len() as u64 + tbs_octets + end.len() as u64;

        out.write_all(&start).map_err(CrlError::write)?;
        let mut hashed = Hashed { digest: MessageDigest::new(self.algorithm), out, chunk: head };
        let mut written = 0;
        each_encoded(entries, self.is_delta, |encoded, _| {
            written += encoded.len() as u64;
            // A source that does not end must not fill the disk.
            if written > self.entries_octets { Err(CrlError::Changed) } else { hashed.put(encoded) }
        })?;
        hashed.put(&self.frame.after)?;
        if hashed.finish()? != self.digest {
            return Err(CrlError::Changed);
        }
        out.write_all(&end).map_err(CrlError::write)?;
        Ok(SignedCrlSummary {
            number: self.number,
            entries: self.entries,
            octets,
            fingerprint: fingerprint(self.algorithm, &self.digest, signature),
        })
    }
}

/// What is written is hashed as well.
struct Hashed<'a> {
    digest: MessageDigest,
    out: &'a mut dyn Write,
    chunk: Vec<u8>,
}

impl Hashed<'_> {
    fn put(&mut self, octets: &[u8]) -> Result<(), CrlError> {
        self.chunk.extend_from_slice(octets);
        if self.chunk.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CrlError> {
        self.digest.update(&self.chunk);
        self.out.write_all(&self.chunk).map_err(CrlError::write)?;
        self.chunk.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, CrlError> {
        self.flush()?;
        Ok(self.digest.finish())
    }
}
