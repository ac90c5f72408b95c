//! Certificate profiles: what a certificate of a kind looks like. They are data, in TOML, and checked when they are
//! loaded; what a [`CertificateProfile`] says has passed the rules of [`check`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use const_oid::ObjectIdentifier;
use sha2::{Digest, Sha256};

use crate::KeyType;
use crate::usage::KeyUsage;

mod check;
mod parts;
mod raw;
mod standard;
mod template;

pub use template::{Field, SubjectAttribute, Template};

/// No text of profiles is longer, in octets.
const MAX_TEXT: usize = 1024 * 1024;

/// What a certificate is for. Each purpose brings rules that no profile may break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// The anchor: signs issuing CAs and its CRL.
    RootCa,
    /// Signs leaves, CRLs and OCSP signers.
    IssuingCa,
    /// A card holder's logins.
    CardAuthentication,
    /// A card holder's signatures, which stand for years.
    CardSigning,
    /// A pool card lent for a shift.
    TemporaryCard,
    /// An issuance station of a registration authority.
    RaStation,
    /// A TLS server of this product.
    ServiceTls,
    /// Signs OCSP answers for one issuing CA (RFC 6960 4.2.2.2).
    OcspSigner,
    /// An OCSP responder that follows the status feed.
    ResponderClient,
    /// A relying system that looks access up.
    RelyingClient,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Purpose; 10] = [
        Self::RootCa,
        Self::IssuingCa,
        Self::CardAuthentication,
        Self::CardSigning,
        Self::TemporaryCard,
        Self::RaStation,
        Self::ServiceTls,
        Self::OcspSigner,
        Self::ResponderClient,
        Self::RelyingClient,
    ];

    /// Its name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RootCa => "root-ca",
            Self::IssuingCa => "issuing-ca",
            Self::CardAuthentication => "card-authentication",
            Self::CardSigning => "card-signing",
            Self::TemporaryCard => "temporary-card",
            Self::RaStation => "ra-station",
            Self::ServiceTls => "service-tls",
            Self::OcspSigner => "ocsp-signer",
            Self::ResponderClient => "responder-client",
            Self::RelyingClient => "relying-client",
        }
    }

    /// The purpose with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// Whether it is a CA's.
    pub const fn is_ca(self) -> bool {
        matches!(self, Self::RootCa | Self::IssuingCa)
    }

    /// Whether it is on a person's card.
    pub const fn is_card(self) -> bool {
        matches!(self, Self::CardAuthentication | Self::CardSigning | Self::TemporaryCard)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kinds of subject alternative name that a profile may take from the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SanKind {
    /// dNSName.
    Dns,
    /// iPAddress.
    Ip,
    /// rfc822Name.
    Email,
    /// The Microsoft user principal name, as otherName.
    Upn,
    /// The Microsoft security identifier. No alternative name by the letter: it has an extension of its own,
    /// szOID_NTDS_CA_SECURITY_EXT, but says who somebody is just as these do.
    Sid,
    /// uniformResourceIdentifier.
    Uri,
    /// A permanent identifier (RFC 4043), as otherName.
    PermanentIdentifier,
}

impl SanKind {
    /// All of them.
    pub const ALL: [SanKind; 7] =
        [Self::Dns, Self::Ip, Self::Email, Self::Upn, Self::Sid, Self::Uri, Self::PermanentIdentifier];

    /// Its name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Ip => "ip",
            Self::Email => "email",
            Self::Upn => "upn",
            Self::Sid => "sid",
            Self::Uri => "uri",
            Self::PermanentIdentifier => "permanent-identifier",
        }
    }

    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl fmt::Display for SanKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An extension that a site adds: the same octets in each certificate of the profile. It is never critical, since a
/// relying system that does not know a critical extension must refuse the certificate (RFC 5280 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraExtension {
    pub(crate) oid: ObjectIdentifier,
    pub(crate) der: Vec<u8>,
}

impl ExtraExtension {
    /// Its identifier.
    pub fn oid(&self) -> ObjectIdentifier {
        self.oid
    }

    /// The content of extnValue: one DER element.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// What certificates of one kind look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateProfile {
    pub(crate) name: String,
    pub(crate) purpose: Purpose,
    pub(crate) subject: Vec<SubjectAttribute>,
    pub(crate) san: Vec<SanKind>,
    pub(crate) san_required: bool,
    pub(crate) required_san: Vec<SanKind>,
    pub(crate) permanent_identifier_assigner: Option<ObjectIdentifier>,
    pub(crate) key_types: Vec<KeyType>,
    pub(crate) key_usage: KeyUsage,
    pub(crate) extended_key_usage: Vec<ObjectIdentifier>,
    pub(crate) policies: Vec<ObjectIdentifier>,
    pub(crate) practice_statements: BTreeMap<ObjectIdentifier, String>,
    pub(crate) extensions: Vec<ExtraExtension>,
    pub(crate) life: Duration,
    pub(crate) jitter: Duration,
    pub(crate) path_length: Option<u8>,
    pub(crate) ocsp_no_check: bool,
    pub(crate) aia: bool,
    pub(crate) crldp: bool,
    pub(crate) crl_shards: u16,
}

impl CertificateProfile {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its certificates are for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The subject's attributes, the outermost first.
    pub fn subject(&self) -> &[SubjectAttribute] {
        &self.subject
    }

    /// The kinds of subject alternative name that are taken from the registry.
    pub fn san(&self) -> &[SanKind] {
        &self.san
    }

    /// Whether at least one subject alternative name must be there.
    pub fn san_required(&self) -> bool {
        self.san_required
    }

    /// The kinds of which there must be one each.
    pub fn required_san(&self) -> &[SanKind] {
        &self.required_san
    }

    /// Who assigns the permanent identifiers (RFC 4043 section 2: an assigner makes them unique beyond this CA).
    pub fn permanent_identifier_assigner(&self) -> Option<ObjectIdentifier> {
        self.permanent_identifier_assigner
    }

    /// The kinds of key that may be certified.
    pub fn key_types(&self) -> &[KeyType] {
        &self.key_types
    }

    /// The keyUsage extension.
    pub fn key_usage(&self) -> KeyUsage {
        self.key_usage
    }

    /// The extKeyUsage extension; none when empty.
    pub fn extended_key_usage(&self) -> &[ObjectIdentifier] {
        &self.extended_key_usage
    }

    /// The certificatePolicies extension; none when empty.
    pub fn policies(&self) -> &[ObjectIdentifier] {
        &self.policies
    }

    /// Where the certification practice statement of a policy is to be had, if the certificate says so (RFC 5280 4.2.1.4).
    pub fn practice_statement(&self, policy: ObjectIdentifier) -> Option<&str> {
        self.practice_statements.get(&policy).map(String::as_str)
    }

    /// The extensions that the site adds.
    pub fn extensions(&self) -> &[ExtraExtension] {
        &self.extensions
    }

    /// How long a certificate is valid, at most.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// By how much a life may be shortened at random, so that cohorts spread. Always less than the life.
    pub fn jitter(&self) -> Duration {
        self.jitter
    }

    /// pathLenConstraint of a CA.
    pub fn path_length(&self) -> Option<u8> {
        self.path_length
    }

    /// Whether ocsp-nocheck is set (RFC 6960 4.2.2.2.1).
    pub fn ocsp_no_check(&self) -> bool {
        self.ocsp_no_check
    }

    /// Whether the authority information access extension is set.
    pub fn aia(&self) -> bool {
        self.aia
    }

    /// Whether the CRL distribution points extension is set.
    pub fn crldp(&self) -> bool {
        self.crldp
    }

    /// Into how many partitions the certificates' CRL is cut: 0 when each certificate names the full CRL of its issuer.
    /// Otherwise a certificate is given a partition from 1 to this number when it is issued, for good (conformance: C12).
    pub fn crl_shards(&self) -> u16 {
        self.crl_shards
    }
}

/// All profiles of a site, from one text.
#[derive(Clone, Debug)]
pub struct ProfileSet {
    profiles: BTreeMap<String, CertificateProfile>,
    version: String,
}

impl ProfileSet {
    /// Reads and checks profiles. `origin` names the text in errors: the file it came from.
    ///
    /// # Errors
    /// When the text is not TOML, has a key that is not known, or a profile breaks a rule: the first such.
    pub fn load(text: &str, origin: &str) -> Result<ProfileSet, ProfileError> {
        Self::load_or_list(text, origin).map_err(|mut errors| errors.swap_remove(0))
    }

    /// The same, for whoever is writing profiles: does not stop at the first profile that breaks a rule.
    ///
    /// # Errors
    /// One for each profile that breaks a rule, in their order; or the one place where the text cannot be read.
    pub fn load_or_list(text: &str, origin: &str) -> Result<ProfileSet, Vec<ProfileError>> {
        let fail = |line, message: String| vec![ProfileError::Syntax { origin: origin.to_owned(), line, message }];
        if text.len() > MAX_TEXT {
            return Err(fail(None, format!("the text is longer than {MAX_TEXT} octets")));
        }
        let document: raw::Document = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_at(text, span.start));
            fail(line, error.message().to_owned())
        })?;
        if document.profile.is_empty() {
            return Err(fail(None, "there is no [[profile]] in it".to_owned()));
        }
        let mut profiles: BTreeMap<String, CertificateProfile> = BTreeMap::new();
        let mut errors = Vec::new();
        for spanned in document.profile {
            let place = check::Place { text, origin, start: spanned.span().start };
            let checked = check::profile(&place, spanned.into_inner()).and_then(|profile| {
                check::against_others(&place, &profile, profiles.values())?;
                Ok(profile)
            });
            match checked {
                Ok(profile) => drop(profiles.insert(profile.name.clone(), profile)),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let version = data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
        Ok(ProfileSet { profiles, version })
    }

    /// The profile of this name.
    pub fn get(&self, name: &str) -> Option<&CertificateProfile> {
        self.profiles.get(name)
    }

    /// All profiles, by name.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateProfile> {
        self.profiles.values()
    }

    /// SHA-256 of the text, in hex: what audit records name.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What a certificate with these policies is for. A policy belongs to one purpose, so that one look at a
    /// certificate that our CA signed tells a card from a station.
    pub fn purpose_of(&self, policies: &[ObjectIdentifier]) -> Option<Purpose> {
        self.iter()
            .filter(|profile| !profile.purpose.is_ca())
            .find(|profile| profile.policies.iter().any(|policy| policies.contains(policy)))
            .map(|profile| profile.purpose)
    }
}

/// Why profiles are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, or not of the form of profiles.
    #[error("{origin}{}: {message}", Line(*.line))]
    Syntax {
        /// The file.
        origin: String,
        /// The line, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A profile that breaks a rule.
    #[error("{origin}:{line}: profile {profile:?}, {key}: {rule}; {remedy}")]
    Rule {
        /// The file.
        origin: String,
        /// The line, counted from 1.
        line: usize,
        /// The profile's name.
        profile: String,
        /// The key that the rule is about.
        key: &'static str,
        /// The rule that is broken.
        rule: Box<str>,
        /// What to do.
        remedy: Box<str>,
    },
}

struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
