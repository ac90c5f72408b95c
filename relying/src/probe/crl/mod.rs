//! Looking at a CRL: it is fetched and read as a stream (never held, whatever its length), and looked at for signature,
//! times, number, scope, the base of a delta, and what HTTP says for caches.

mod content;
mod fetch;
mod transport;

use std::time::{Duration, Instant};

use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use pki::crl::CrlDescription;
use serde::Serialize;

use super::exchange::{Kind, Target};
use super::{Check, Checks, Outcome, count, name_of};
use crate::Error;

/// The longest CRL that is read when nothing else is said: a million entries take some 45 MB.
pub const MAX_OCTETS: u64 = 256 << 20;

/// How long everything may take when nothing else is said.
pub const TIME: Duration = Duration::from_secs(60);

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct CrlProbe {
    /// Where the CRL is: `http://`, as in a certificate's CRLDP.
    pub url: String,
    /// Where the base is, if the CRL is a delta.
    pub base: Option<String>,
    /// Certificates of CAs, DER; the issuer of the CRL is found among them by name and key identifier.
    pub issuers: Vec<Vec<u8>>,
    /// The time.
    pub now: Timestamp,
    /// The longest CRL that is read, in octets.
    pub max_octets: u64,
    /// How long everything may take.
    pub time: Duration,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct CrlReport {
    /// Where it was fetched.
    pub url: String,
    /// `full`, `shard`, `delta` or `delta of a shard`; none when it cannot be read.
    pub kind: Option<&'static str>,
    /// The issuer's name (RFC 4514).
    pub issuer: Option<String>,
    /// cRLNumber, in hex.
    pub number: Option<String>,
    /// BaseCRLNumber of a delta, in hex.
    pub base: Option<String>,
    /// thisUpdate.
    pub this_update: Option<Timestamp>,
    /// nextUpdate.
    pub next_update: Option<Timestamp>,
    /// How many entries it has.
    pub entries: Option<u64>,
    /// How long it is, in octets.
    pub octets: Option<u64>,
    /// How long fetching and reading it took, in milliseconds.
    pub milliseconds: u64,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl CrlReport {
    /// How many checks came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        count(&self.checks, outcome)
    }
}

/// Fetches a CRL and looks at it.
///
/// # Errors
/// [`Error::CrlUrl`] for what is no address, [`Error::CaCertificate`], and [`Error::CrlUnreachable`] when nothing is
/// answered. All else is in the report.
pub async fn crl(probe: &CrlProbe) -> Result<CrlReport, Error> {
    let target = Target::new(&probe.url, Kind::Crl)?;
    let base_target = probe.base.as_deref().map(|url| Target::new(url, Kind::Crl)).transpose()?;
    let parse = |der: &Vec<u8>| ParsedCertificate::from_der(der).map_err(Error::from);
    let issuers = probe.issuers.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let late = || Error::CrlUnreachable {
        url: probe.url.clone(),
        reason: format!("it was not all there within {} s", probe.time.as_secs()),
    };
    tokio::time::timeout(probe.time, look(probe, &target, base_target.as_ref(), &issuers)).await.map_err(|_| late())?
}

async fn look(
    probe: &CrlProbe,
    target: &Target,
    base_target: Option<&Target>,
    issuers: &[ParsedCertificate],
) -> Result<CrlReport, Error> {
    let mut checks = Checks::default();
    let started = Instant::now();
    let fetched = fetch::crl(target, probe.max_octets).await?;
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    transport::answer(&mut checks, &fetched);
    let description = match &fetched.crl {
        Ok(description) => {
            checks.passed("form", format!("a CRL of version 2, {} octets", description.octets));
            Some(description)
        }
        Err(reason) => {
            checks.failed("form", reason.as_str());
            None
        }
    };
    if let Some(description) = description {
        let issuer = content::issuer(&mut checks, description, issuers, probe.now);
        content::times(&mut checks, description, probe.now);
        content::order(&mut checks, description);
        content::scope(&mut checks, description, &probe.url);
        match base_target {
            None => content::without_base(&mut checks, description),
            Some(base) => {
                let base = fetch::crl(base, probe.max_octets).await;
                let base = base.map_err(|error| error.to_string()).and_then(|base| base.crl);
                content::base(&mut checks, description, base.as_ref(), issuer);
            }
        }
        transport::caching(&mut checks, &fetched, description, probe.now);
        if let Err(error) = transport::conditions(&mut checks, target, &fetched).await {
            checks.warning("conditions", error.to_string());
        }
    }
    Ok(CrlReport {
        url: probe.url.clone(),
        kind: description.map(kind),
        issuer: description.map(|found| name_of(&found.issuer_der)),
        number: description.map(|found| found.number.to_string()),
        base: description.and_then(|found| found.base).map(|base| base.to_string()),
        this_update: description.map(|found| found.this_update),
        next_update: description.map(|found| found.next_update),
        entries: description.map(|found| found.entries),
        octets: description.map(|found| found.octets),
        milliseconds,
        checks: checks.0,
    })
}

fn kind(crl: &CrlDescription) -> &'static str {
    match (&crl.base, &crl.distribution_point) {
        (None, None) => "full",
        (None, Some(_)) => "shard",
        (Some(_), None) => "delta",
        (Some(_), Some(_)) => "delta of a shard",
    }
}
