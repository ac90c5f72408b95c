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
mod raw;
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
    /// The Microsoft user principal name, as otherName.
    Upn,
}

impl SanKind {
    /// All of them.
    pub const ALL: [SanKind; 3] = [Self::Dns, Self::Ip, Self::Upn];

    /// Its name in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Ip => "ip",
            Self::Upn => "upn",
        }
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
    pub(crate) key_types: Vec<KeyType>,
    pub(crate) key_usage: KeyUsage,
    pub(crate) extended_key_usage: Vec<ObjectIdentifier>,
    pub(crate) policies: Vec<ObjectIdentifier>,
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
    /// When the text is not TOML, has a key that is not known, or a profile breaks a rule.
    pub fn load(text: &str, origin: &str) -> Result<ProfileSet, ProfileError> {
        let fail = |line, message: String| ProfileError::Syntax { origin: origin.to_owned(), line, message };
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
        for spanned in document.profile {
            let place = check::Place { text, origin, start: spanned.span().start };
            let raw = spanned.into_inner();
            let profile = check::profile(&place, raw)?;
            check::against_others(&place, &profile, profiles.values())?;
            profiles.insert(profile.name.clone(), profile);
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
