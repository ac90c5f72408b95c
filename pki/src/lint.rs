//! The linter: reads a TBS as a stranger would, and says what of rows E1 to E9 and E11 it breaks.
//!
//! It takes nothing from the code that wrote the TBS but the question: what should stand there. What is decided only by
//! the whole certificate (the signature of E9), or over many (the duplicates of E1), is looked at elsewhere.

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc6960};
use der::Encode;

use crate::certificate::extensions::SECURITY_IDENTIFIER;
use crate::certificate::{
    AlternativeNames, CertificateError, SubjectFields, Tbs, TimeForm, Validity, check_http_url, distinguished_name,
};
use crate::name::DistinguishedName;
use crate::profile::{CertificateProfile, Purpose};
use crate::usage::KeyUsage;
use crate::{IssuerDescription, PublicKey, SerialNumber, Timestamp};

/// 64 bits from the generator do not fit eight octets beside the sign bit (conformance: E1).
const LEAST_SERIAL_OCTETS: usize = 9;

/// What a TBS should say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The profile.
    pub profile: &'a CertificateProfile,
    /// The issuer; none for a root, which signs itself.
    pub issuer: Option<&'a IssuerDescription>,
    /// What the registry knows of the subject.
    pub subject: &'a SubjectFields,
    /// The key that is certified.
    pub key: &'a PublicKey,
    /// The serial number.
    pub serial: SerialNumber,
    /// The validity period.
    pub validity: Validity,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The row that is broken, such as `E4`; `profile` where the certificate is not what its profile says.
    pub row: &'static str,
    /// What is wrong.
    pub text: String,
}

/// All that is wrong with one TBS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", finding.row, finding.text)?;
        }
        Ok(())
    }
}

/// Looks at a TBS. An empty list means that it may be signed.
pub fn lint(tbs_der: &[u8], expected: &Expected<'_>) -> Vec<Finding> {
    let mut linter = Linter { expected, findings: Vec::new() };
    match Tbs::from_der(tbs_der) {
        Ok(tbs) => linter.all(&tbs),
        Err(error) => linter.unreadable(&error),
    }
    linter.findings
}

struct Linter<'a> {
    expected: &'a Expected<'a>,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn require(&mut self, holds: bool, row: &'static str, text: &str) {
        if !holds {
            self.findings.push(Finding { row, text: text.to_owned() });
        }
    }

    fn unreadable(&mut self, error: &CertificateError) {
        let row = match error {
            CertificateError::Version | CertificateError::Serial(_) => "E1",
            CertificateError::Key(_) => "E5",
            CertificateError::DuplicateExtension(_) => "E6",
            _ => "E9",
        };
        self.findings.push(Finding { row, text: error.to_string() });
    }

    fn all(&mut self, tbs: &Tbs) {
        self.serial(tbs);
        self.validity(tbs);
        self.key_identifiers(tbs);
        self.basic_constraints(tbs);
        self.usages(tbs);
        self.policies(tbs);
        self.addresses(tbs);
        self.names(tbs);
        self.alternative_names(tbs);
        self.nothing_else(tbs);
    }

    // conformance: E1. (That the version is 3 was seen when it was read.)
    fn serial(&mut self, tbs: &Tbs) {
        self.require(tbs.serial == self.expected.serial, "E1", "the serial number is not the one that was reserved");
        let octets = tbs.serial.as_bytes().len();
        self.require(octets >= LEAST_SERIAL_OCTETS, "E1", "the serial number is too short for 64 random bits");
    }

    // conformance: E2
    fn validity(&mut self, tbs: &Tbs) {
        let (not_before, not_after) = (tbs.not_before.0, tbs.not_after.0);
        let read = Validity { not_before, not_after };
        self.require(read == self.expected.validity, "E2", "the times are not those that were decided");
        self.require(not_before < not_after, "E2", "it ends before it begins");
        let longest = self.expected.profile.life();
        self.require(not_after.since(not_before) <= longest, "E2", "it is valid for longer than its profile says");
        if let Some(issuer) = self.expected.issuer {
            self.require(not_after <= issuer.not_after, "E2", "it outlives its issuer");
        }
        for (time, form) in [tbs.not_before, tbs.not_after] {
            self.require(form == form_of(time), "E2", "a time is UTCTime through 2049, GeneralizedTime from then on");
        }
    }

    // conformance: E3
    fn key_identifiers(&mut self, tbs: &Tbs) {
        let own = self.expected.key.key_identifier();
        let ski = tbs.extensions.subject_key_identifier.as_deref();
        self.require(ski == Some(&own), "E3", "the SKI is not the SHA-1 of the key bits");
        let authority = self.expected.issuer.map_or(&own[..], |issuer| &issuer.key_identifier);
        let aki = tbs.extensions.authority_key_identifier.as_ref();
        let keyid = aki.and_then(|aki| aki.key_identifier.as_ref()).map(|octets| octets.as_bytes());
        self.require(keyid == Some(authority), "E3", "the AKI is not the issuer's SKI");
        let only =
            aki.is_some_and(|aki| aki.authority_cert_issuer.is_none() && aki.authority_cert_serial_number.is_none());
        self.require(only, "E3", "the AKI names the issuer's certificate, and not only its key");
        self.require(tbs.public_key == *self.expected.key, "E3", "the certified key is another one");
    }

    // conformance: E4
    fn basic_constraints(&mut self, tbs: &Tbs) {
        let constraints = tbs.extensions.basic_constraints.as_ref();
        let usage = tbs.extensions.key_usage.unwrap_or_default();
        if !self.expected.profile.purpose().is_ca() {
            self.require(!constraints.is_some_and(|constraints| constraints.ca), "E4", "a leaf is a CA");
            self.require(constraints.is_none(), "E4", "a leaf has basic constraints");
            self.require(!usage.intersects(KeyUsage::CA), "E4", "a leaf has keyCertSign or cRLSign");
            return;
        }
        let critical = tbs.extensions.criticality(rfc5280::ID_CE_BASIC_CONSTRAINTS) == Some(true);
        self.require(critical, "E4", "a CA's basic constraints are absent or not critical");
        self.require(constraints.is_some_and(|constraints| constraints.ca), "E4", "a CA is none");
        let path_length = constraints.and_then(|constraints| constraints.path_len_constraint);
        self.require(path_length == self.expected.profile.path_length(), "E4", "the path length is not the profile's");
        self.require(usage.contains(KeyUsage::CA), "E4", "a CA has not keyCertSign and cRLSign");
    }

    // conformance: E5
    fn usages(&mut self, tbs: &Tbs) {
        let profile = self.expected.profile;
        let usage = tbs.extensions.key_usage.unwrap_or_default();
        let critical = tbs.extensions.criticality(rfc5280::ID_CE_KEY_USAGE) == Some(true);
        self.require(critical, "E5", "the key usage is absent or not critical");
        let unfit = usage.unfit_for(tbs.public_key.key_type());
        self.require(
            unfit.is_empty(),
            "E5",
            &format!("a {} key cannot be used for {unfit}", tbs.public_key.key_type()),
        );
        self.require(usage == profile.key_usage(), "profile", "the key usage is not the profile's");
        let extended = &tbs.extensions.extended_key_usage;
        self.require(
            extended == profile.extended_key_usage(),
            "profile",
            "the extended key usage is not the profile's",
        );
        let no_check = tbs.extensions.ocsp_no_check;
        self.require(no_check == profile.ocsp_no_check(), "profile", "ocsp-nocheck is not as the profile says");
    }

    // conformance: E6, E7. (Two extensions of one kind were noticed when it was read.)
    fn policies(&mut self, tbs: &Tbs) {
        let policies = &tbs.extensions.policies;
        self.require(!has_duplicate(policies), "E6", "a policy stands twice");
        self.require(!has_duplicate(&tbs.extensions.extended_key_usage), "E6", "an extended key usage stands twice");
        let is_root = self.expected.profile.purpose() == Purpose::RootCa;
        self.require(is_root || !policies.is_empty(), "E7", "there is no policy");
        let profile = self.expected.profile;
        self.require(policies == profile.policies(), "profile", "the policies are not the profile's");
        let stated = |oid: &ObjectIdentifier| profile.practice_statement(*oid).map(|url| (*oid, url.to_owned()));
        let statements: Vec<_> = profile.policies().iter().filter_map(stated).collect();
        let same = tbs.extensions.practice_statements == statements && tbs.extensions.other_qualifiers == 0;
        self.require(same, "profile", "the practice statements are not the profile's");
    }

    // conformance: E7, O12
    fn addresses(&mut self, tbs: &Tbs) {
        let extensions = &tbs.extensions;
        let (mut ca_issuers, mut ocsp, mut crls) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(issuer) = self.expected.issuer {
            if self.expected.profile.aia() {
                ca_issuers.push(issuer.ca_issuers_url.clone());
                ocsp.extend(issuer.ocsp_url.clone());
            }
            if self.expected.profile.crldp() {
                crls.push(issuer.crl_url.clone());
            }
        }
        self.require(extensions.ca_issuers == ca_issuers, "E7", "AIA caIssuers is not where the issuer is to be had");
        self.require(extensions.ocsp == ocsp, "E7", "AIA OCSP is not the issuer's responder");
        self.require(extensions.crls == crls, "E7", "CRLDP is not where the issuer's CRL is to be had");
        for url in extensions.ca_issuers.iter().chain(&extensions.ocsp).chain(&extensions.crls) {
            if let Err(rule) = check_http_url(url) {
                self.findings.push(Finding { row: "E7", text: format!("{url:?}: {rule}") });
            }
        }
        let needs_ocsp = !self.expected.profile.purpose().is_ca() && self.expected.profile.aia();
        self.require(!needs_ocsp || !extensions.ocsp.is_empty(), "E7", "a leaf names no OCSP responder");
        if self.expected.profile.purpose() == Purpose::OcspSigner {
            let has = |oid| extensions.criticality(oid).is_some();
            let none = !has(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS) && !has(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS);
            self.require(none, "O12", "an OCSP signer has AIA or CRLDP");
        }
    }

    // conformance: E6, E8, E11
    fn names(&mut self, tbs: &Tbs) {
        match DistinguishedName::from_der(&tbs.subject_der) {
            Ok(subject) => {
                if let Some(attribute) = subject.repeated() {
                    self.require(false, "E6", &format!("{attribute} stands twice in the subject"));
                }
                self.is_the_registrys(&subject);
            }
            Err(error) => self.require(false, "E8", &format!("the subject: {error}")),
        }
        let issuer = self.expected.issuer.map_or(&tbs.subject_der, |issuer| &issuer.subject_der);
        self.require(tbs.issuer_der == *issuer, "E9", "the issuer is not the CA's subject, byte for byte");
        let key = self.expected.issuer.map_or(self.expected.key, |issuer| &issuer.public_key);
        let algorithm = key.key_type().signature_algorithm().identifier().to_der().unwrap_or_default();
        self.require(tbs.algorithm_der == algorithm, "E9", "the signature algorithm is not the issuer's");
    }

    fn is_the_registrys(&mut self, subject: &DistinguishedName) {
        let Expected { profile, subject: fields, .. } = *self.expected;
        match distinguished_name(profile, fields) {
            Ok(expected) => self.require(*subject == expected, "E11", "the subject is not what the registry says"),
            Err(error) => self.require(false, "E11", &error.to_string()),
        }
    }

    // conformance: E8, E11
    fn alternative_names(&mut self, tbs: &Tbs) {
        let Expected { profile, subject: fields, .. } = *self.expected;
        match AlternativeNames::for_profile(profile, fields) {
            Ok(expected) => {
                let same = tbs.extensions.names == expected && tbs.extensions.other_names == 0;
                self.require(same, "E11", "the alternative names are not what the registry says");
            }
            Err(error) => self.require(false, "E11", &error.to_string()),
        }
        let present = tbs.extensions.criticality(rfc5280::ID_CE_SUBJECT_ALT_NAME);
        self.require(present != Some(true), "E8", "alternative names beside a subject are not critical");
    }

    fn nothing_else(&mut self, tbs: &Tbs) {
        const MAY_BE_CRITICAL: [ObjectIdentifier; 2] = [rfc5280::ID_CE_BASIC_CONSTRAINTS, rfc5280::ID_CE_KEY_USAGE];
        const MAY_BE_THERE: [ObjectIdentifier; 9] = [
            rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER,
            rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER,
            rfc5280::ID_CE_EXT_KEY_USAGE,
            rfc5280::ID_CE_CERTIFICATE_POLICIES,
            rfc5280::ID_CE_SUBJECT_ALT_NAME,
            rfc5280::ID_PE_AUTHORITY_INFO_ACCESS,
            rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS,
            rfc6960::ID_PKIX_OCSP_NOCHECK,
            SECURITY_IDENTIFIER,
        ];
        let extra = self.expected.profile.extensions();
        let expected: Vec<_> = extra.iter().map(|one| (one.oid(), one.der().to_vec())).collect();
        let is_expected = |oid| extra.iter().any(|one| one.oid() == oid);
        let read: Vec<_> = tbs.extensions.unknown.iter().filter(|(oid, _)| is_expected(*oid)).cloned().collect();
        self.require(read == expected, "profile", "the extra extensions are not the profile's");
        for (oid, critical) in &tbs.extensions.present {
            let known =
                MAY_BE_CRITICAL.contains(oid) || ((MAY_BE_THERE.contains(oid) || is_expected(*oid)) && !critical);
            self.require(known, "profile", &format!("extension {oid} has no place here, or must not be critical"));
        }
    }
}

fn form_of(time: Timestamp) -> TimeForm {
    if time.to_offset_date_time().year() <= 2049 { TimeForm::Utc } else { TimeForm::Generalized }
}

fn has_duplicate(list: &[ObjectIdentifier]) -> bool {
    list.iter().enumerate().any(|(index, oid)| list[..index].contains(oid))
}
