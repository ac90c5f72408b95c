//! CRLs: made on schedule and on demand, kept as files, served from memory.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use audit::Actor;
use bytes::Bytes;
use ca::crl::{CrlSchedule, PublishedCrl};
use pki::Timestamp;
use pki::crl::ParsedCrl;

use crate::failure::Failure;
use crate::service::Service;

/// The largest CRL file that is read.
const MAX_CRL_BYTES: usize = 256 << 20;

/// A CRL as it is served.
#[derive(Clone, Debug)]
pub struct ServedCrl {
    /// The issuer's id.
    pub issuer: String,
    /// cRLNumber.
    pub number: pki::crl::CrlNumber,
    /// How many entries it has.
    pub entries: usize,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// The CRL.
    pub der: Bytes,
}

/// The CRLs that are served, by issuer.
#[derive(Debug)]
pub struct Crls {
    dir: PathBuf,
    served: RwLock<BTreeMap<String, Arc<ServedCrl>>>,
    publishing: Mutex<()>,
}

/// Writes a file whole or not at all.
///
/// # Errors
/// The operating system's.
pub(crate) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = dir.join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    std::fs::File::open(dir)?.sync_all()
}

impl Crls {
    /// The CRLs in this directory. A file that is no CRL is passed over, and made anew when its time comes.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    pub fn open(dir: PathBuf) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut served = BTreeMap::new();
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let Some(issuer) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".crl")) else {
                continue;
            };
            match std::fs::read(&path).map_err(|error| error.to_string()).and_then(|der| served_crl(issuer, der)) {
                Ok(crl) => {
                    served.insert(issuer.to_owned(), Arc::new(crl));
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), error, "a CRL file cannot be read; it is left out")
                }
            }
        }
        Ok(Crls { dir, served: RwLock::new(served), publishing: Mutex::new(()) })
    }

    /// The CRL of an issuer.
    pub fn get(&self, issuer: &str) -> Option<Arc<ServedCrl>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).get(issuer).cloned()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<ServedCrl>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Puts a signed CRL in the place of the one before. A lower number is refused (conformance: C15).
    ///
    /// # Errors
    /// When it cannot be written, or its number is not higher.
    pub fn publish(&self, crl: &PublishedCrl) -> Result<(), Failure> {
        let served = served_crl(&crl.issuer, crl.der.clone()).map_err(Failure::internal)?;
        if self.get(&crl.issuer).is_some_and(|before| before.number >= served.number) {
            return Err(Failure::internal(format!("CRL {} of {} is not newer than the last", crl.number, crl.issuer)));
        }
        let path = self.dir.join(format!("{}.crl", crl.issuer));
        write_atomically(&path, &crl.der, 0o644)
            .map_err(|error| Failure::unavailable("crl", "the CRL cannot be written", format!("{path:?}: {error}")))?;
        self.served.write().unwrap_or_else(PoisonError::into_inner).insert(crl.issuer.clone(), Arc::new(served));
        Ok(())
    }
}

fn served_crl(issuer: &str, der: Vec<u8>) -> Result<ServedCrl, String> {
    let parsed = ParsedCrl::from_der(&der, MAX_CRL_BYTES).map_err(|error| error.to_string())?;
    if !parsed.description().is_complete() {
        return Err("it is a delta or a shard, and no full CRL".to_owned());
    }
    Ok(ServedCrl {
        issuer: issuer.to_owned(),
        number: parsed.description().number,
        entries: parsed.len(),
        this_update: parsed.description().this_update,
        next_update: parsed.description().next_update,
        der: der.into(),
    })
}

/// Makes and publishes the CRL of one issuing CA.
///
/// # Errors
/// When the token does not sign, or the store or the file system fails.
pub fn publish(service: &Service, issuer: &str, actor: &Actor) -> Result<PublishedCrl, Failure> {
    let _one_at_a_time = service.crls.publishing.lock().unwrap_or_else(PoisonError::into_inner);
    let authority = service.authority();
    let key = authority.issuer(issuer)?;
    let schedule = schedule(service, &key.record().name);
    let store = service.store.as_ref();
    let (_, numbered) = service.commit(|now| {
        authority.check_clock(store, now)?;
        Ok(ca::crl::begin(store, key.description(), schedule, actor, now)?)
    })?;
    let signed = numbered.sign(key.signer().as_ref())?;
    service.crls.publish(&signed)?;
    service.commit(|now| Ok((signed.published(store, actor, now)?, ())))?;
    service.metrics.crls.inc();
    Ok(signed)
}

/// How often this CA's CRL is made.
pub fn schedule(service: &Service, name: &str) -> CrlSchedule {
    match service.config.issuing_ca(name) {
        Some(ca) => CrlSchedule { interval: ca.crl_interval, overlap: ca.crl_overlap },
        None => CrlSchedule { interval: service.config.times.crl_interval, overlap: service.config.times.crl_overlap },
    }
}

/// How long after a CRL of this issuer the next one comes.
pub fn interval(service: &Service, issuer: &str) -> std::time::Duration {
    match service.authority().issuer(issuer) {
        Ok(key) => schedule(service, &key.record().name).interval,
        // The root's, which is not made here.
        Err(_) => service.config.times.root_crl_next_update,
    }
}

/// The issuing CAs whose CRL is due.
pub fn due(service: &Service, now: Timestamp) -> Vec<String> {
    let authority = service.authority();
    let due = authority.issuers().filter(|issuer| match service.crls.get(&issuer.record().id) {
        None => true,
        Some(crl) => now >= crl.this_update.plus(schedule(service, &issuer.record().name).interval),
    });
    due.map(|issuer| issuer.record().id.clone()).collect()
}
