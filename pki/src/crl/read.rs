//! Reading of CRLs as a stream: bounded memory, whatever their length.

use std::io::Read;

use der::Decode;
use spki::AlgorithmIdentifierRef;

use super::describe::{CrlDescription, ListExtensions};
use super::entry::{self, EntryFault, read_time};
use super::wire::known_algorithm;
use super::{CrlEntry, CrlError};
use crate::digest::MessageDigest;
use crate::strict;
use crate::{SerialNumber, SignatureAlgorithm, Timestamp};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const EXTENSIONS: u8 = 0xa0;

/// How much is asked for at once.
const CHUNK: usize = 64 * 1024;

/// The longest element that is looked at as a whole: an entry, the issuer's name, the extensions.
const MAX_ELEMENT: u64 = 64 * 1024;

/// How much of a CRL is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlLimits {
    /// The length of the whole list, in octets.
    pub max_octets: u64,
    /// How many entries it may have.
    pub max_entries: u64,
}

impl CrlLimits {
    /// A list of so many octets, with as many entries as find room in it.
    pub const fn octets(max_octets: u64) -> Self {
        CrlLimits { max_octets, max_entries: u64::MAX }
    }
}

/// A CRL that is being read: an iterator of its entries. What it says beside them, [`CrlReader::finish`] tells, since the
/// extensions and the signature come after the entries: until then nothing of it is to be believed.
pub struct CrlReader<R> {
    source: Source<R>,
    limits: CrlLimits,
    list_end: u64,
    tbs_end: u64,
    entries_end: u64,
    algorithm: SignatureAlgorithm,
    algorithm_der: Vec<u8>,
    issuer_der: Vec<u8>,
    this_update: Timestamp,
    next_update: Timestamp,
    times_in_right_form: bool,
    entries: u64,
    previous: Option<SerialNumber>,
    in_order: bool,
    removals: bool,
    failed: bool,
}

impl<R> std::fmt::Debug for CrlReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrlReader").field("at", &self.source.at).field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl<R: Read> CrlReader<R> {
    /// Reads as far as the first entry. `reader` is asked for large pieces, and needs no buffer.
    ///
    /// # Errors
    /// When it is no DER `CertificateList` of version 2, has no nextUpdate, or is signed with an algorithm that is not
    /// known here.
    pub fn new(reader: R, limits: CrlLimits) -> Result<Self, CrlError> {
        let mut source = Source::new(reader, limits.max_octets);
        let list_end = source.enter(SEQUENCE, "a CRL is no SEQUENCE", u64::MAX)?;
        if list_end > limits.max_octets {
            return Err(CrlError::TooLong { limit: limits.max_octets });
        }
        source.mark();
        let tbs_end = source.enter(SEQUENCE, "the signed part is no SEQUENCE", list_end)?;
        let at = source.at;
        if source.element(tbs_end)? != [0x02, 0x01, 0x01] {
            return Err(CrlError::Malformed { at, rule: "the version is not 2" });
        }
        let algorithm_der = source.element(tbs_end)?.to_vec();
        let algorithm = AlgorithmIdentifierRef::from_der(&algorithm_der).ok();
        let algorithm = algorithm.and_then(|algorithm| known_algorithm(&algorithm)).ok_or(CrlError::Algorithm)?;
        source.hash_with(MessageDigest::new(algorithm));
        let at = source.at;
        let issuer_der = source.element(tbs_end)?.to_vec();
        match strict::check(&issuer_der) {
            Ok(element) if element.tag == SEQUENCE => {}
            Ok(_) => return Err(CrlError::Malformed { at, rule: "the issuer is no Name" }),
            Err(rule) => return Err(CrlError::Malformed { at, rule }),
        }
        let (this_update, this_form) = source.time(tbs_end)?;
        if !matches!(source.peek(tbs_end)?, Some(0x17 | 0x18)) {
            return Err(CrlError::NextUpdateMissing);
        }
        let (next_update, next_form) = source.time(tbs_end)?;
        let mut entries_end = source.at;
        if source.peek(tbs_end)? == Some(SEQUENCE) {
            let at = source.at;
            entries_end = source.enter(SEQUENCE, "revokedCertificates is no SEQUENCE", tbs_end)?;
            if entries_end == source.at {
                // RFC 5280 5.1.2.6; conformance: C3
                return Err(CrlError::Malformed { at, rule: "revokedCertificates is empty, and ought to be absent" });
            }
        }
        Ok(CrlReader {
            source,
            limits,
            list_end,
            tbs_end,
            entries_end,
            algorithm,
            algorithm_der,
            issuer_der,
            this_update,
            next_update,
            times_in_right_form: this_form && next_form,
            entries: 0,
            previous: None,
            in_order: true,
            removals: false,
            failed: false,
        })
    }

    /// Reads what is left of it.
    ///
    /// # Errors
    /// When something of it is malformed, something follows it, or it has a critical extension or a scope that is not
    /// known here.
    pub fn finish(mut self) -> Result<CrlDescription, CrlError> {
        for entry in self.by_ref() {
            entry?;
        }
        if self.failed {
            return Err(CrlError::Read("an entry of it was malformed".to_owned()));
        }
        let extensions = if self.source.at < self.tbs_end { self.extensions()? } else { ListExtensions::default() };
        if extensions.base.is_none() && self.removals {
            return Err(CrlError::Reason(super::EntryReason::RemoveFromCrl.code()));
        }
        let number = extensions.number.ok_or(CrlError::Number)?;
        let digest = self.source.digest()?;
        if self.source.element(self.list_end)? != self.algorithm_der {
            return Err(CrlError::Algorithm);
        }
        let at = self.source.at;
        let element = self.source.element(self.list_end)?;
        let signature = match strict::check(element) {
            Ok(bits) if bits.tag == BIT_STRING => bits.content.strip_prefix(&[0]).map(<[u8]>::to_vec),
            _ => None,
        };
        let signature =
            signature.ok_or(CrlError::Malformed { at, rule: "the signature is no BIT STRING of octets" })?;
        self.source.end(self.list_end)?;
        Ok(CrlDescription {
            issuer_der: self.issuer_der,
            algorithm: self.algorithm,
            this_update: self.this_update,
            next_update: self.next_update,
            number,
            authority_key_identifier: extensions.authority_key_identifier,
            base: extensions.base,
            distribution_point: extensions.distribution_point,
            freshest_crls: extensions.freshest_crls,
            expired_certs_on_crl: extensions.expired_certs_on_crl,
            extensions: extensions.present,
            entries: self.entries,
            in_order: self.in_order,
            octets: self.list_end,
            times_in_right_form: self.times_in_right_form,
            authority_key_identifier_is_plain: extensions.authority_key_identifier_is_plain,
            digest,
            signature,
        })
    }

    fn extensions(&mut self) -> Result<ListExtensions, CrlError> {
        let at = self.source.at;
        let element = self.source.element(self.tbs_end)?;
        let read = || -> Result<ListExtensions, EntryFault> {
            let outer = strict::check(element)?;
            if outer.tag != EXTENSIONS {
                return Err("there is something else than extensions behind the entries".into());
            }
            let list = strict::check(outer.content)?;
            if list.tag != SEQUENCE {
                Err("the extensions are no SEQUENCE".into())
            } else {
                ListExtensions::read(list.content)
            }
        };
        let extensions = read().map_err(|fault| fault.at(at))?;
        if self.source.at != self.tbs_end {
            return Err(CrlError::Malformed { at: self.source.at, rule: "something follows the extensions" });
        }
        Ok(extensions)
    }

    fn entry(&mut self) -> Result<CrlEntry, CrlError> {
        if self.entries == self.limits.max_entries {
            return Err(CrlError::TooMany { limit: self.limits.max_entries });
        }
        let at = self.source.at;
        let raw = self.source.element(self.entries_end)?;
        let entry = entry::read(raw).map_err(|fault| fault.at(at))?.entry;
        match self.previous {
            Some(previous) if previous == entry.serial => return Err(CrlError::Duplicate(entry.serial)),
            Some(previous) if previous > entry.serial => self.in_order = false,
            _ => {}
        }
        self.previous = Some(entry.serial);
        self.entries += 1;
        self.removals |= entry.reason == super::EntryReason::RemoveFromCrl;
        Ok(entry)
    }
}

impl<R: Read> Iterator for CrlReader<R> {
    type Item = Result<CrlEntry, CrlError>;

    /// The next entry; after an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.source.at >= self.entries_end {
            return None;
        }
        let entry = self.entry();
        self.failed = entry.is_err();
        Some(entry)
    }
}

/// Octets as they come, cut into elements, and hashed on the way.
struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of the buffer was taken already.
    start: usize,
    /// From where on the buffer is not hashed yet; none before and after what is signed.
    unhashed: Option<usize>,
    digest: Option<MessageDigest>,
    /// How many octets were taken.
    at: u64,
    max_octets: u64,
    received: u64,
}

impl<R: Read> Source<R> {
    fn new(reader: R, max_octets: u64) -> Self {
        let buffer = Vec::with_capacity(2 * CHUNK);
        Source { reader, buffer, start: 0, unhashed: None, digest: None, at: 0, max_octets, received: 0 }
    }

    /// What is taken from here on is signed.
    fn mark(&mut self) {
        self.unhashed = Some(self.start);
    }

    fn hash_with(&mut self, digest: MessageDigest) {
        self.digest = Some(digest);
    }

    fn hash_taken(&mut self) {
        if let (Some(from), Some(digest)) = (self.unhashed, self.digest.as_mut()) {
            digest.update(&self.buffer[from..self.start]);
            self.unhashed = Some(self.start);
        }
    }

    /// The digest of all that was taken since [`Source::mark`].
    fn digest(&mut self) -> Result<Vec<u8>, CrlError> {
        self.hash_taken();
        self.unhashed = None;
        Ok(self.digest.take().ok_or(CrlError::Algorithm)?.finish())
    }

    /// Makes `count` octets available.
    fn need(&mut self, count: usize) -> Result<(), CrlError> {
        while self.buffer.len() - self.start < count {
            self.hash_taken();
            // Before the digest is known, which is within the first chunk, nothing that is signed may go.
            let keep = self.unhashed.unwrap_or(self.start).min(self.start);
            self.buffer.drain(..keep);
            self.start -= keep;
            self.unhashed = self.unhashed.map(|from| from - keep);
            if self.fill()? == 0 {
                return Err(CrlError::Malformed { at: self.received, rule: "it is cut short" });
            }
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<usize, CrlError> {
        let before = self.buffer.len();
        let limit = (CHUNK as u64).min(self.max_octets.saturating_add(1).saturating_sub(self.received));
        let read = (&mut self.reader).take(limit).read_to_end(&mut self.buffer);
        read.map_err(|error| CrlError::Read(error.to_string()))?;
        let count = self.buffer.len() - before;
        self.received += count as u64;
        if self.received > self.max_octets {
            return Err(CrlError::TooLong { limit: self.max_octets });
        }
        Ok(count)
    }

    /// Identifier octet, length of the header, and length of the content of what comes next.
    fn header(&mut self, end: u64) -> Result<(u8, usize, u64), CrlError> {
        let wrong = |at, rule| Err(CrlError::Malformed { at, rule });
        self.need(2)?;
        let (tag, first) = (self.buffer[self.start], self.buffer[self.start + 1]);
        let (header, length) = match first {
            0..=0x7f => (2, u64::from(first)),
            0x81..=0x86 => {
                let octets = usize::from(first & 0x7f);
                self.need(2 + octets)?;
                let octets = &self.buffer[self.start + 2..self.start + 2 + octets];
                let length = octets.iter().fold(0, |length, octet| length << 8 | u64::from(*octet));
                if octets[0] == 0 || length < 0x80 {
                    return wrong(self.at, "a length is not in its shortest form");
                }
                (2 + octets.len(), length)
            }
            _ => return wrong(self.at, "a length is indefinite or too large"),
        };
        if (self.at + header as u64).saturating_add(length) > end {
            return wrong(self.at, "an element is longer than what it is in");
        }
        Ok((tag, header, length))
    }

    fn skip(&mut self, count: usize) {
        self.start += count;
        self.at += count as u64;
    }

    /// Takes the header of a constructed element, and says where its content ends.
    fn enter(&mut self, expected: u8, rule: &'static str, end: u64) -> Result<u64, CrlError> {
        let (tag, header, length) = self.header(end)?;
        if tag != expected {
            return Err(CrlError::Malformed { at: self.at, rule });
        }
        self.skip(header);
        Ok(self.at + length)
    }

    /// Takes a whole element.
    fn element(&mut self, end: u64) -> Result<&[u8], CrlError> {
        let (_, header, length) = self.header(end)?;
        if length > MAX_ELEMENT {
            return Err(CrlError::Malformed { at: self.at, rule: "an element has more than 65536 octets" });
        }
        let whole = header + length as usize;
        self.need(whole)?;
        self.skip(whole);
        Ok(&self.buffer[self.start - whole..self.start])
    }

    /// The identifier octet of what comes next; none at the end.
    fn peek(&mut self, end: u64) -> Result<Option<u8>, CrlError> {
        if self.at >= end {
            return Ok(None);
        }
        self.need(1)?;
        Ok(Some(self.buffer[self.start]))
    }

    fn time(&mut self, end: u64) -> Result<(Timestamp, bool), CrlError> {
        let at = self.at;
        let element = self.element(end)?;
        let read =
            strict::check(element).map_err(EntryFault::from).and_then(|element| Ok((element.tag, read_time(element)?)));
        let (tag, read) = read.map_err(|fault| fault.at(at))?;
        Ok((read.time, (tag == 0x17) == read.is_utc_time))
    }

    /// Makes sure that the list is at its end, and the stream too.
    fn end(&mut self, end: u64) -> Result<(), CrlError> {
        if self.at != end || self.start < self.buffer.len() || self.fill()? > 0 {
            return Err(CrlError::Malformed { at: self.at, rule: "something follows it" });
        }
        Ok(())
    }
}
