//! Reading of full CRLs.

use std::collections::HashMap;

use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_CRL_NUMBER, ID_CE_CRL_REASONS, ID_CE_INVALIDITY_DATE,
};
use der::asn1::{AnyRef, ContextSpecific, GeneralizedTime};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use spki::AlgorithmIdentifierRef;
use x509_cert::ext::pkix::AuthorityKeyIdentifier;
use x509_cert::time::Time;

use super::wire::{ExtensionRef, SignedEnvelope, each, exactly, timestamp};
use super::{CrlEntry, CrlError, CrlNumber};
use crate::{CrlReason, PublicKey, SerialNumber, SignatureAlgorithm, Timestamp};

/// A full CRL of version 2, read and checked for its form. Whether to believe it says
/// [`ParsedCrl::verify_signed_by`].
#[derive(Clone, Debug)]
pub struct ParsedCrl {
    tbs_der: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    issuer_der: Vec<u8>,
    number: CrlNumber,
    this_update: Timestamp,
    next_update: Timestamp,
    authority_key_identifier: Option<Vec<u8>>,
    entries: HashMap<SerialNumber, CrlEntry>,
}

impl ParsedCrl {
    /// Reads a DER `CertificateList` of at most `max_bytes`. An entry takes at least some 20 octets, so that the limit
    /// bounds the memory as well.
    ///
    /// # Errors
    /// When it is too long, malformed, lists a serial number twice, or has a critical extension that is not known here.
    pub fn from_der(der: &[u8], max_bytes: usize) -> Result<Self, CrlError> {
        if der.len() > max_bytes {
            return Err(CrlError::TooLong { length: der.len(), limit: max_bytes });
        }
        let envelope = SignedEnvelope::from_der(der).map_err(CrlError::Malformed)?;
        let mut crl = read_tbs(&envelope).map_err(|error| match error {
            CrlError::Encoding(error) => CrlError::Malformed(error),
            error => error,
        })?;
        crl.tbs_der = envelope.tbs_der.to_vec();
        crl.signature = envelope.signature.to_vec();
        Ok(crl)
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`CrlError::Signature`] when it is not by this key.
    pub fn verify_signed_by(&self, issuer_key: &PublicKey) -> Result<(), CrlError> {
        issuer_key.verify(self.algorithm, &self.tbs_der, &self.signature).map_err(|_| CrlError::Signature)
    }

    /// The DER of the issuer's name.
    pub fn issuer_der(&self) -> &[u8] {
        &self.issuer_der
    }

    /// cRLNumber.
    pub fn number(&self) -> CrlNumber {
        self.number
    }

    /// thisUpdate.
    pub fn this_update(&self) -> Timestamp {
        self.this_update
    }

    /// nextUpdate.
    pub fn next_update(&self) -> Timestamp {
        self.next_update
    }

    /// The key identifier in the authority key identifier.
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.authority_key_identifier.as_deref()
    }

    /// What it says of a certificate: `None` if it does not list it.
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

fn read_tbs(envelope: &SignedEnvelope<'_>) -> Result<ParsedCrl, CrlError> {
    let tbs: AnyRef<'_> = exactly(envelope.tbs_der)?;
    tbs.tag().assert_eq(Tag::Sequence)?;
    let mut fields = SliceReader::new(tbs.value())?;
    let version: AnyRef<'_> = fields.decode()?;
    if version.tag() != Tag::Integer || version.value() != [1] {
        return Err(CrlError::Malformed(Tag::Integer.value_error()));
    }
    let inner: AlgorithmIdentifierRef<'_> = fields.decode()?;
    let algorithm = envelope.known_algorithm(&inner).ok_or(CrlError::Signature)?;
    let issuer_der = fields.tlv_bytes()?.to_vec();
    let this_update = read_time(fields.decode()?);
    let next_update = match fields.peek_tag()? {
        Tag::UtcTime | Tag::GeneralizedTime => read_time(fields.decode()?),
        _ => return Err(CrlError::NextUpdateMissing),
    };
    let mut entries = HashMap::new();
    if !fields.is_finished() && fields.peek_tag()? == Tag::Sequence {
        let mut list = SliceReader::new(fields.decode::<AnyRef<'_>>()?.value())?;
        if list.is_finished() {
            // An empty list is to be absent (RFC 5280 5.1.2.6).
            return Err(CrlError::Malformed(Tag::Sequence.value_error()));
        }
        while !list.is_finished() {
            let entry = read_entry(list.decode()?)?;
            if entries.insert(entry.serial, entry).is_some() {
                return Err(CrlError::Duplicate(entry.serial));
            }
        }
    }
    let (mut number, mut authority_key_identifier) = (None, None);
    if let Some(extensions) = ContextSpecific::<AnyRef<'_>>::decode_explicit(&mut fields, TagNumber::N0)? {
        for extension in read_extensions(extensions.value)? {
            match extension.extn_id {
                ID_CE_CRL_NUMBER => {
                    let value: AnyRef<'_> = exactly(extension.extn_value)?;
                    value.tag().assert_eq(Tag::Integer)?;
                    number = Some(CrlNumber::from_der_content(value.value())?);
                }
                ID_CE_AUTHORITY_KEY_IDENTIFIER => {
                    let identifier = AuthorityKeyIdentifier::from_der(extension.extn_value)?.key_identifier;
                    authority_key_identifier = identifier.map(|identifier| identifier.as_bytes().to_vec());
                }
                oid if extension.critical => return Err(CrlError::CriticalExtension(oid)),
                _ => {}
            }
        }
    }
    fields.finish(())?;
    Ok(ParsedCrl {
        tbs_der: Vec::new(),
        algorithm,
        signature: Vec::new(),
        issuer_der,
        number: number.ok_or(CrlError::Number)?,
        this_update,
        next_update,
        authority_key_identifier,
        entries,
    })
}

fn read_entry(entry: AnyRef<'_>) -> Result<CrlEntry, CrlError> {
    entry.tag().assert_eq(Tag::Sequence)?;
    let mut fields = SliceReader::new(entry.value())?;
    let serial: AnyRef<'_> = fields.decode()?;
    serial.tag().assert_eq(Tag::Integer)?;
    let serial = SerialNumber::from_der_content(serial.value()).map_err(|_| CrlError::Serial)?;
    let at = read_time(fields.decode()?);
    let (mut reason, mut invalidity_date) = (CrlReason::Unspecified, None);
    if !fields.is_finished() {
        for extension in read_extensions(fields.decode()?)? {
            match extension.extn_id {
                ID_CE_CRL_REASONS => {
                    let value: AnyRef<'_> = exactly(extension.extn_value)?;
                    value.tag().assert_eq(Tag::Enumerated)?;
                    let &[code] = value.value() else { return Err(Tag::Enumerated.value_error().into()) };
                    reason = CrlReason::from_code(code).ok_or(CrlError::Reason(code))?;
                }
                ID_CE_INVALIDITY_DATE => {
                    let date: GeneralizedTime = exactly(extension.extn_value)?;
                    invalidity_date = Some(timestamp(date.to_unix_duration()));
                }
                oid if extension.critical => return Err(CrlError::CriticalExtension(oid)),
                _ => {}
            }
        }
    }
    fields.finish(())?;
    Ok(CrlEntry { serial, at, reason, invalidity_date })
}

fn read_extensions(list: AnyRef<'_>) -> der::Result<Vec<ExtensionRef<'_>>> {
    let mut extensions: Vec<ExtensionRef<'_>> = Vec::new();
    each(list, |extension| {
        let extension: ExtensionRef<'_> = extension.decode_as()?;
        if extensions.iter().any(|other| other.extn_id == extension.extn_id) {
            return Err(Tag::Sequence.value_error());
        }
        extensions.push(extension);
        Ok(())
    })?;
    Ok(extensions)
}

fn read_time(time: Time) -> Timestamp {
    timestamp(time.to_unix_duration())
}
