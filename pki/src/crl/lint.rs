//! The linter of CRLs: reads what is about to be signed as a stranger would, and says what of rows C1 to C14 it breaks.
//!
//! It takes nothing from the code that wrote the bytes but the question: what should stand there. Rows that need more
//! than one list (C6, C9, C12, C13, C15, C16) are the business of who publishes them.

use super::describe::{CrlDescription, EXPIRED_CERTS_ON_CRL, IssuingDistributionPoint};
use super::frame::Frame;
use super::{CrlEntry, CrlError, CrlHeader, CrlLimits, CrlReader, EntryReason, entry, wire};
use crate::lint::{Finding, Findings};
use const_oid::db::rfc5280::{
    ID_CE_AUTHORITY_KEY_IDENTIFIER, ID_CE_CRL_NUMBER, ID_CE_DELTA_CRL_INDICATOR, ID_CE_FRESHEST_CRL,
    ID_CE_ISSUING_DISTRIBUTION_POINT,
};

/// Looks at what stands around the entries: as a list without any, since these are looked at one by one.
pub(super) fn frame(frame: &Frame, header: &CrlHeader<'_>) -> Result<(), CrlError> {
    let mut linter = Linter(Vec::new());
    let tbs_der = [frame.head(0), frame.after.clone()].concat();
    // Any signature: whether it is the issuer's is seen when there is one.
    let list = wire::envelope(&tbs_der, header.issuer.signature_algorithm(), &[0], &[])?;
    let limits = CrlLimits::octets(list.len() as u64);
    match CrlReader::new(list.as_slice(), limits).and_then(CrlReader::finish) {
        Ok(read) => linter.all(&read, header),
        Err(error) => linter.require(false, "C1", &error.to_string()),
    }
    linter.end()
}

/// Looks at one entry.
pub(super) fn entry(raw: &[u8], expected: &CrlEntry, is_delta: bool) -> Result<(), CrlError> {
    let read = match entry::read(raw) {
        Ok(read) => read,
        Err(fault) => return Err(fault.at(0)),
    };
    let holds = read.entry.serial == expected.serial
        && read.entry.at == expected.at.whole_seconds()
        && read.entry.reason == expected.reason
        && read.right_form
        && !read.critical
        && !read.says_unspecified
        && read.entry.invalidity_date.is_none_or(|date| date <= read.entry.at)
        && (is_delta || read.entry.reason != EntryReason::RemoveFromCrl);
    if holds {
        return Ok(());
    }
    let mut linter = Linter(Vec::new());
    let serial = expected.serial;
    let mut require = |holds, row, text: &str| linter.require(holds, row, &format!("the entry of {serial}: {text}"));
    // conformance: C4, C8, C10, C14
    require(read.entry.serial == serial, "C4", "the serial number is another one");
    require(read.entry.at == expected.at.whole_seconds(), "C9", "the revocation date is another one");
    require(read.right_form, "C9", "the revocation date is UTCTime through 2049, GeneralizedTime from then on");
    require(read.entry.reason == expected.reason, "C10", "the reason is another one");
    require(!read.critical, "C10", "an extension is critical");
    require(!read.says_unspecified, "C10", "unspecified is written out");
    let date = read.entry.invalidity_date;
    require(date.is_none_or(|date| date <= read.entry.at), "C14", "the invalidity date is after the revocation");
    let removes = read.entry.reason == EntryReason::RemoveFromCrl;
    require(is_delta || !removes, "C8", "removeFromCRL has a place in delta CRLs only");
    linter.end()
}

struct Linter(Vec<Finding>);

impl Linter {
    fn require(&mut self, holds: bool, row: &'static str, text: &str) {
        if !holds {
            self.0.push(Finding { row, text: text.to_owned() });
        }
    }

    fn end(self) -> Result<(), CrlError> {
        if self.0.is_empty() { Ok(()) } else { Err(CrlError::Lint(Findings(self.0))) }
    }

    fn all(&mut self, read: &CrlDescription, header: &CrlHeader<'_>) {
        self.origin(read, header);
        self.times(read, header);
        self.scope(read, header);
        self.extensions(read);
    }

    // conformance: C1, C5. (That the version is 2, and both algorithms the same, was seen when it was read.)
    fn origin(&mut self, read: &CrlDescription, header: &CrlHeader<'_>) {
        let issuer = header.issuer;
        self.require(read.issuer_der == issuer.subject_der, "C1", "the issuer is not the CA's subject, byte for byte");
        self.require(read.algorithm == issuer.signature_algorithm(), "C1", "the algorithm is not the issuer's");
        let identifier = read.authority_key_identifier.as_deref();
        self.require(identifier == Some(&issuer.key_identifier), "C5", "the AKI is not the issuer's SKI");
        let plain = read.authority_key_identifier_is_plain;
        self.require(plain, "C5", "the AKI names the issuer's certificate, and not only its key");
        self.require(read.number == header.number, "C6", "the number is not the one that was taken");
    }

    // conformance: C2
    fn times(&mut self, read: &CrlDescription, header: &CrlHeader<'_>) {
        let expected = (header.this_update.whole_seconds(), header.next_update.whole_seconds());
        self.require((read.this_update, read.next_update) == expected, "C2", "the times are not those decided");
        self.require(read.this_update < read.next_update, "C2", "nextUpdate is not after thisUpdate");
        let text = "a time is UTCTime through 2049, GeneralizedTime from then on";
        self.require(read.times_in_right_form, "C2", text);
        let since = header.expired_certs_on_crl.map(|since| since.whole_seconds());
        self.require(read.expired_certs_on_crl == since, "C13", "expiredCertsOnCRL is not what was decided");
    }

    // conformance: C3, C7, C11
    fn scope(&mut self, read: &CrlDescription, header: &CrlHeader<'_>) {
        self.require(read.entries == 0, "C3", "a list without entries has revokedCertificates");
        self.require(read.base == header.base, "C7", "the base is not the one that was decided");
        self.require(read.base.is_none_or(|base| base < read.number), "C7", "the base is not lower than the number");
        let expected = header.distribution_point.map(|uri| IssuingDistributionPoint {
            uris: vec![uri.to_owned()],
            only_user_certs: false,
            only_ca_certs: false,
        });
        let same = read.distribution_point == expected;
        self.require(same, "C11", "the issuing distribution point is not the address in the certificates' CRLDP");
        let freshest = read.freshest_crls.iter().map(String::as_str);
        self.require(freshest.eq(header.freshest_crl), "C7", "freshestCRL is not where the deltas are");
        let both = read.base.is_some() && !read.freshest_crls.is_empty();
        self.require(!both, "C7", "a delta says where its deltas are");
    }

    // conformance: C5, C7, C11
    fn extensions(&mut self, read: &CrlDescription) {
        for (oid, critical) in &read.extensions {
            let must_be = match *oid {
                ID_CE_DELTA_CRL_INDICATOR | ID_CE_ISSUING_DISTRIBUTION_POINT => true,
                ID_CE_AUTHORITY_KEY_IDENTIFIER | ID_CE_CRL_NUMBER | ID_CE_FRESHEST_CRL | EXPIRED_CERTS_ON_CRL => false,
                _ => {
                    self.require(false, "C1", &format!("extension {oid} has no place here"));
                    continue;
                }
            };
            let row = match *oid {
                ID_CE_ISSUING_DISTRIBUTION_POINT => "C11",
                ID_CE_AUTHORITY_KEY_IDENTIFIER => "C5",
                _ => "C7",
            };
            let word = if must_be { "must be" } else { "must not be" };
            self.require(*critical == must_be, row, &format!("extension {oid} {word} critical"));
        }
    }
}
