//! The CAs: the root, and the issuing CAs with the profiles by which each of them issues.

use std::time::Duration;

use pki::KeyType;

use crate::document::Document;
use crate::error::Error;
use crate::schema::section;
use crate::times::Times;

/// Profiles that belong to no single issuing CA: those of the CAs themselves are the root's, and every issuing CA
/// certifies its own OCSP signers (RFC 6960 4.2.2.2).
pub const IMPLIED_PROFILES: [&str; 3] = ["root-ca", "issuing-ca", "ocsp-signer"];

/// In the place of an interval: no delta CRLs.
const NEVER: &str = "never";

section! {
    RawRootCa {
        common_name: String = "Example Root CA".to_owned(),
        key_type: String = "P-384".to_owned(),
    }
}

section! {
    RawIssuingCa {
        name: String = String::new(),
        common_name: String = String::new(),
        key_type: String = "P-256".to_owned(),
        freshness: String = "other".to_owned(),
        profiles: Vec<String> = Vec::new(),
        crl_interval: Option<String> = None,
        crl_overlap: Option<String> = None,
        crl_delta_interval: String = NEVER.to_owned(),
        crl_delta_overlap: Option<String> = None,
        crl_on_revocation: String = "no".to_owned(),
        crl_keep_expired: bool = false,
    }
}

impl RawIssuingCa {
    pub(crate) fn shipped() -> Vec<Self> {
        [
            (
                "authentication",
                "Example Authentication CA",
                "authentication",
                ["card-authentication", "temporary-card"].as_slice(),
            ),
            ("signing", "Example Signing CA", "other", &["card-signing"]),
            (
                "devices",
                "Example Devices CA",
                "other",
                &["ra-station", "service-tls", "responder-client", "relying-client"],
            ),
        ]
        .into_iter()
        .map(|(name, common_name, freshness, profiles)| Self {
            name: name.to_owned(),
            common_name: common_name.to_owned(),
            freshness: freshness.to_owned(),
            profiles: profiles.iter().map(|profile| (*profile).to_owned()).collect(),
            crl_keep_expired: name == "signing",
            ..Self::default()
        })
        .collect()
    }
}

/// The root CA.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootCa {
    /// The common name (CN) of its subject.
    pub common_name: String,
    /// The kind of its key.
    pub key_type: KeyType,
}

/// An issuing CA.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuingCa {
    /// Its short name, in URLs, key labels and commands.
    pub name: String,
    /// The common name (CN) of its subject.
    pub common_name: String,
    /// The kind of its key.
    pub key_type: KeyType,
    /// The names of the profiles by which it issues.
    pub profiles: Vec<String>,
    /// How often it publishes a CRL.
    pub crl_interval: Duration,
    /// How long a CRL stays good beyond the publication of the next.
    pub crl_overlap: Duration,
    /// How often it publishes a delta CRL; none if it publishes no deltas.
    pub crl_delta_interval: Option<Duration>,
    /// How long a delta CRL stays good beyond the publication of the next.
    pub crl_delta_overlap: Duration,
    /// What it publishes at once after a revocation.
    pub crl_on_revocation: CrlOnRevocation,
    /// Whether entries of expired certificates stay on its CRLs for good.
    pub crl_keep_expired: bool,
    /// OCSP nextUpdate less thisUpdate.
    pub ocsp_next_update: Duration,
    /// HTTP max-age of its OCSP answers.
    pub ocsp_max_age: Duration,
    /// How long after the feed's last heartbeat its OCSP answers are withheld.
    pub feed_withhold: Duration,
}

/// What an issuing CA publishes at once after a revocation, a hold, or the end of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrlOnRevocation {
    /// Nothing: it comes with the schedule.
    No,
    /// A delta CRL.
    Delta,
    /// A full CRL.
    Full,
}

#[derive(Clone, Copy)]
enum Freshness {
    Authentication,
    Other,
}

impl RootCa {
    pub(crate) fn check(raw: &RawRootCa, document: &Document) -> Result<Self, Error> {
        Ok(Self {
            common_name: document.line("root_ca.common_name", &raw.common_name, 64)?,
            key_type: key_type("root_ca.key_type", &raw.key_type, document)?,
        })
    }
}

fn key_type(key: &str, text: &str, document: &Document) -> Result<KeyType, Error> {
    let names = KeyType::ALL.map(|key_type| (key_type.to_string(), key_type));
    document.choice(key, text, &names.each_ref().map(|(name, key_type)| (name.as_str(), *key_type)))
}

pub(crate) fn issuing_cas(
    raw: &[RawIssuingCa],
    root: &RawRootCa,
    times: &Times,
    document: &Document,
) -> Result<Vec<IssuingCa>, Error> {
    let mut cas: Vec<IssuingCa> = Vec::with_capacity(raw.len());
    for (number, raw) in raw.iter().enumerate() {
        let key = |name: &str| format!("issuing_ca[{number}].{name}");
        let ca = IssuingCa::check(raw, &key, times, document)?;
        if ca.common_name == root.common_name || cas.iter().any(|other| other.common_name == ca.common_name) {
            return Err(document.rule_error(
                &key("common_name"),
                "every CA has a common name of its own",
                "say in the name what the CA is for",
            ));
        }
        if ca.name == "root" || cas.iter().any(|other| other.name == ca.name) {
            return Err(document.rule_error(
                &key("name"),
                "every issuing CA has a name of its own, and \"root\" is taken",
                "choose another name",
            ));
        }
        for (position, profile) in ca.profiles.iter().enumerate() {
            let key = key(&format!("profiles[{position}]"));
            if let Some(other) = cas.iter().find(|other| other.profiles.contains(profile)) {
                return Err(document.rule_error(
                    &key,
                    format!("one CA issues by one profile, and \"{profile}\" is already issued by \"{}\"", other.name),
                    "leave it with one of the two",
                ));
            }
            if ca.profiles[..position].contains(profile) {
                return Err(document.rule_error(&key, "a profile stands in the list once", "remove one of the two"));
            }
        }
        cas.push(ca);
    }
    if cas.is_empty() {
        return Err(document.rule_error(
            "issuing_ca",
            "there is at least one issuing CA",
            "remove the line to have the three that ship, or add an [[issuing_ca]]",
        ));
    }
    Ok(cas)
}

impl IssuingCa {
    fn check(
        raw: &RawIssuingCa,
        key: &dyn Fn(&str) -> String,
        times: &Times,
        document: &Document,
    ) -> Result<Self, Error> {
        if raw.profiles.is_empty() {
            return Err(document.rule_error(
                &key("profiles"),
                "an issuing CA issues by at least one profile",
                "list profiles by the names that they have in the profile file",
            ));
        }
        let mut profiles = Vec::with_capacity(raw.profiles.len());
        for (position, profile) in raw.profiles.iter().enumerate() {
            let key = key(&format!("profiles[{position}]"));
            if IMPLIED_PROFILES.contains(&profile.as_str()) {
                return Err(document.rule_error(
                    &key,
                    format!("\"{profile}\" belongs to no single issuing CA: the root certifies CAs, and every issuing CA its own OCSP signers"),
                    "remove it from the list",
                ));
            }
            profiles.push(document.identifier(&key, profile)?);
        }
        let duration = |name: &str, text: &Option<String>, default: Duration| match text {
            Some(text) => document.duration(&key(name), text),
            None => Ok(default),
        };
        let freshness = [("authentication", Freshness::Authentication), ("other", Freshness::Other)];
        let (ocsp_next_update, ocsp_max_age, feed_withhold) =
            match document.choice(&key("freshness"), &raw.freshness, &freshness)? {
                Freshness::Authentication => (
                    times.ocsp_next_update_authentication,
                    times.ocsp_max_age_authentication,
                    times.feed_withhold_authentication,
                ),
                Freshness::Other => (times.ocsp_next_update_other, times.ocsp_max_age_other, times.feed_withhold_other),
            };
        let crl_interval = duration("crl_interval", &raw.crl_interval, times.crl_interval)?;
        let crl_delta_interval = match raw.crl_delta_interval.as_str() {
            NEVER => None,
            text => Some(document.duration(&key("crl_delta_interval"), text)?),
        };
        if crl_delta_interval.is_some_and(|delta| delta >= crl_interval) {
            return Err(document.rule_error(
                &key("crl_delta_interval"),
                format!(
                    "delta CRLs come between two full ones, which come every {}",
                    humantime::format_duration(crl_interval)
                ),
                "write a shorter time, or \"never\" to have no deltas",
            ));
        }
        let on_revocation =
            [("no", CrlOnRevocation::No), ("delta", CrlOnRevocation::Delta), ("full", CrlOnRevocation::Full)];
        let crl_on_revocation = document.choice(&key("crl_on_revocation"), &raw.crl_on_revocation, &on_revocation)?;
        if crl_on_revocation == CrlOnRevocation::Delta && crl_delta_interval.is_none() {
            return Err(document.rule_error(
                &key("crl_on_revocation"),
                "a delta CRL is published only by a CA whose full CRLs name it",
                "write a time into `crl_delta_interval`, or \"full\" here",
            ));
        }
        Ok(Self {
            name: document.identifier(&key("name"), &raw.name)?,
            common_name: document.line(&key("common_name"), &raw.common_name, 64)?,
            key_type: key_type(&key("key_type"), &raw.key_type, document)?,
            profiles,
            crl_interval,
            crl_overlap: duration("crl_overlap", &raw.crl_overlap, times.crl_overlap)?,
            crl_delta_interval,
            crl_delta_overlap: duration("crl_delta_overlap", &raw.crl_delta_overlap, times.crl_delta_overlap)?,
            crl_on_revocation,
            crl_keep_expired: raw.crl_keep_expired,
            ocsp_next_update,
            ocsp_max_age,
            feed_withhold,
        })
    }
}
