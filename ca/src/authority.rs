//! The CA as a server runs it: its issuing keys, the profiles, and which key issues by which profile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hsm::{Signer, Token};
use pki::certificate::{ParsedCertificate, Validity};
use pki::profile::{CertificateProfile, ProfileSet};
use pki::{IssuerDescription, Timestamp};
use store::Store;

use crate::Error;
use crate::issuer::{self, IssuerRecord, IssuerState};
use crate::known_keys::KnownKeys;

/// Where relying systems find this deployment's OCSP responder, CRLs and CA certificates.
#[derive(Clone, Debug)]
pub struct PublicUrls {
    /// Such as `http://pki.example.nhs.uk`, without a slash at its end.
    pub base: String,
}

impl PublicUrls {
    /// AIA caIssuers of what this issuer signs.
    pub fn ca_certificate(&self, issuer: &str) -> String {
        format!("{}/ca/{issuer}.cer", self.base)
    }

    /// CRLDP of what this issuer signs.
    pub fn crl(&self, issuer: &str) -> String {
        format!("{}/crl/{issuer}.crl", self.base)
    }

    /// CRLDP of what this issuer signs into a partition, and the URI in that partition's CRLs (conformance: C11).
    pub fn crl_shard(&self, issuer: &str, shard: u16) -> String {
        format!("{}/crl/{issuer}/{shard}.crl", self.base)
    }

    /// freshestCRL of this issuer's full CRL, or of a partition's: where its delta CRL is to be had.
    pub fn delta_crl(&self, issuer: &str, shard: Option<u16>) -> String {
        match shard {
            None => format!("{}/crl/{issuer}/delta.crl", self.base),
            Some(shard) => format!("{}/crl/{issuer}/{shard}/delta.crl", self.base),
        }
    }

    /// AIA OCSP.
    pub fn ocsp(&self) -> String {
        format!("{}/ocsp", self.base)
    }
}

/// What the CA is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this server, which owns what it reserves.
    pub owner: String,
    /// How long a reservation may be without a result before a leader makes it void.
    pub lease: Duration,
    /// How far the clock may be behind the latest commit before nothing is signed.
    pub clock_tolerance: Duration,
    /// Which issuing CA, by name, issues by which profile, by name.
    pub routes: BTreeMap<String, String>,
    /// The addresses in certificates.
    pub urls: PublicUrls,
    /// The organisation (O) in every subject.
    pub organization: String,
    /// Lists of keys that others know (rule R6).
    pub known_keys: KnownKeys,
}

/// An issuing CA key that can sign.
#[derive(Clone)]
pub struct IssuingKey {
    record: IssuerRecord,
    description: IssuerDescription,
    signer: Arc<dyn Signer>,
}

impl IssuingKey {
    /// The issuer's record as it was at the start.
    pub fn record(&self) -> &IssuerRecord {
        &self.record
    }

    /// What certificates, CRLs and OCSP answers say about it.
    pub fn description(&self) -> &IssuerDescription {
        &self.description
    }

    /// Its key in the token.
    pub fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }
}

/// The CA.
#[derive(Clone)]
pub struct Authority {
    settings: Settings,
    profiles: Arc<ProfileSet>,
    issuers: BTreeMap<String, IssuingKey>,
}

impl Authority {
    /// A CA without keys, for the making of the hierarchy.
    pub fn without_keys(settings: Settings, profiles: Arc<ProfileSet>) -> Self {
        Authority { settings, profiles, issuers: BTreeMap::new() }
    }

    /// The CA with every issuer of the store that is in use, whatever it may sign, its key found in `token` and compared
    /// with its certificate.
    ///
    /// # Errors
    /// When a key is missing or another one, or a route leads to no issuer.
    pub fn open(
        settings: Settings,
        profiles: Arc<ProfileSet>,
        store: &dyn Store,
        token: &Arc<Token>,
        token_label: &str,
    ) -> Result<Self, Error> {
        let mut issuers = BTreeMap::new();
        for record in issuer::all(store)? {
            if record.is_root() || !record.is_in_use() {
                continue;
            }
            let missing = || (record.id.clone(), token_label.to_owned(), record.key.label.clone());
            let key = token.find_key(&record.key.label)?.ok_or_else(|| {
                let (issuer, token, label) = missing();
                Error::KeyMissing { issuer, token, label }
            })?;
            let description = describe(&record, &settings.urls)?;
            if key.public_key() != &description.public_key {
                let (issuer, token, label) = missing();
                return Err(Error::KeyDiffers { issuer, token, label });
            }
            issuers.insert(record.id.clone(), IssuingKey { record, description, signer: Arc::new(key) });
        }
        let authority = Authority { settings, profiles, issuers };
        for profile in authority.settings.routes.keys() {
            authority.profile(profile)?;
            authority.issuer_for(profile)?;
        }
        Ok(authority)
    }

    /// The same with the issuers as they stand in the store now.
    ///
    /// # Errors
    /// As [`Authority::open`].
    pub fn reopened(&self, store: &dyn Store, token: &Arc<Token>) -> Result<Self, Error> {
        Authority::open(self.settings.clone(), Arc::clone(&self.profiles), store, token, token.label())
    }

    /// The organisation (O) in every subject.
    pub fn organization(&self) -> &str {
        &self.settings.organization
    }

    /// The lists of keys that others know.
    pub fn known_keys(&self) -> &KnownKeys {
        &self.settings.known_keys
    }

    /// The name of this server.
    pub fn owner(&self) -> &str {
        &self.settings.owner
    }

    /// How long a reservation lasts.
    pub fn lease(&self) -> Duration {
        self.settings.lease
    }

    /// The profiles.
    pub fn profiles(&self) -> &ProfileSet {
        &self.profiles
    }

    /// The addresses in certificates.
    pub fn urls(&self) -> &PublicUrls {
        &self.settings.urls
    }

    /// All issuing keys that are in use, by id: also those that sign CRLs and OCSP delegates only.
    pub fn issuers(&self) -> impl Iterator<Item = &IssuingKey> {
        self.issuers.values()
    }

    /// The issuing key with this id.
    ///
    /// # Errors
    /// [`Error::NoSuchIssuer`].
    pub fn issuer(&self, id: &str) -> Result<&IssuingKey, Error> {
        self.issuers.get(id).ok_or_else(|| Error::NoSuchIssuer(id.to_owned()))
    }

    /// The key that issues by this profile: the newest active one of the CA that the configuration names.
    ///
    /// # Errors
    /// [`Error::NoIssuer`].
    pub fn issuer_for(&self, profile: &str) -> Result<&IssuingKey, Error> {
        let name = self.settings.routes.get(profile).ok_or_else(|| Error::NoIssuer(profile.to_owned()))?;
        self.issuers
            .values()
            .filter(|issuer| &issuer.record.name == name && issuer.record.state == IssuerState::Active)
            .max_by_key(|issuer| issuer.record.generation)
            .ok_or_else(|| Error::NoIssuer(profile.to_owned()))
    }

    /// The profile of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchProfile`].
    pub fn profile(&self, name: &str) -> Result<&CertificateProfile, Error> {
        self.profiles.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.profiles.iter().map(CertificateProfile::name).collect();
            Error::NoSuchProfile(name.to_owned(), names.join(", "))
        })
    }

    /// Into how many partitions the CRLs of the CA with this name are cut, by the profiles that it issues by; 0 when no
    /// certificate names a partition.
    pub fn crl_shards(&self, name: &str) -> u16 {
        let issued = self.settings.routes.iter().filter(|(_, ca)| ca.as_str() == name);
        let profiles = issued.filter_map(|(profile, _)| self.profiles.get(profile));
        profiles.map(CertificateProfile::crl_shards).max().unwrap_or(0)
    }

    /// Nothing is signed behind the latest commit.
    ///
    /// # Errors
    /// [`Error::ClockBehind`].
    pub fn check_clock(&self, store: &dyn Store, now: Timestamp) -> Result<(), Error> {
        let high_water = Timestamp::from_unix_millis(store.high_water());
        if now.plus(self.settings.clock_tolerance) < high_water {
            return Err(Error::ClockBehind { now, high_water });
        }
        Ok(())
    }

    /// From when until when a certificate of this profile is valid, if it is issued now.
    ///
    /// # Errors
    /// [`Error::IssuerEnds`] when less than the profile's life is left of the issuer's.
    // conformance: E2
    pub fn validity(
        &self,
        profile: &CertificateProfile,
        issuer: &IssuerDescription,
        jitter: f64,
        life: Option<Duration>,
        now: Timestamp,
    ) -> Result<Validity, Error> {
        let longest = profile.life();
        let life = match life {
            Some(shorter) => shorter.min(longest),
            None => longest.saturating_sub(profile.jitter().mul_f64(jitter.clamp(0.0, 1.0))),
        };
        // Relying systems' clocks may be a little behind ours.
        let not_before = now.minus(self.settings.clock_tolerance).whole_seconds();
        // A validity period includes both its ends (RFC 5280 4.1.2.5).
        let not_after = not_before.plus(life.saturating_sub(Duration::from_secs(1))).whole_seconds();
        if not_after > issuer.not_after {
            return Err(Error::IssuerEnds { issuer: issuer.id.clone(), not_after: issuer.not_after });
        }
        Ok(Validity { not_before, not_after })
    }
}

/// What certificates signed by this issuer say about it.
///
/// # Errors
/// When its own certificate cannot be read.
pub fn describe(record: &IssuerRecord, urls: &PublicUrls) -> Result<IssuerDescription, Error> {
    describe_certificate(&record.id, record.is_root(), &record.certificate_der, urls)
}

/// The same for a CA whose record is not at hand.
///
/// # Errors
/// When its certificate cannot be read.
pub fn describe_certificate(
    id: &str,
    is_root: bool,
    certificate_der: &[u8],
    urls: &PublicUrls,
) -> Result<IssuerDescription, Error> {
    let certificate = ParsedCertificate::from_der(certificate_der)?;
    Ok(IssuerDescription {
        id: id.to_owned(),
        subject_der: certificate.subject_der().to_vec(),
        public_key: certificate.public_key().clone(),
        key_identifier: certificate.subject_key_identifier().unwrap_or_default().to_vec(),
        not_after: certificate.not_after(),
        ca_issuers_url: urls.ca_certificate(id),
        ocsp_url: (!is_root).then(|| urls.ocsp()),
        crl_url: urls.crl(id),
        certificate_der: certificate_der.to_vec(),
    })
}
