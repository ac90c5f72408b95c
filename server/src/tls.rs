//! The certificate of the API door: a key in a file of the service's own, certified by the devices CA.

use std::path::PathBuf;
use std::sync::Arc;

use ca::certificate::CertificateState;
use hsm::{MemoryKey, Signer};
use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use ring::rand::SystemRandom;
use store::Store;

use crate::crls::write_atomically;
use crate::doors::api::{Door, DoorCertificate};
use crate::failure::Failure;

/// The longest key or certificate file that is read.
const MAX_FILE: u64 = 64 * 1024;

/// The door's certificate and where it is kept.
#[derive(Debug)]
pub struct TlsIdentity {
    door: Arc<Door>,
    shown: std::sync::Mutex<Shown>,
    /// Held while key and certificate are read or written: they are two files.
    exchange: std::sync::Mutex<()>,
}

/// What is known of the certificate that is shown.
#[derive(Clone, Debug)]
struct Shown {
    der: Vec<u8>,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Shown {
    fn of(chain: &[Vec<u8>]) -> Result<Self, Failure> {
        let leaf = ParsedCertificate::from_der(chain.first().map_or(&[][..], Vec::as_slice));
        let leaf = leaf.map_err(Failure::internal)?;
        let (not_before, not_after) = (leaf.not_before(), leaf.not_after());
        Ok(Shown { der: leaf.der().to_vec(), serial: leaf.serial().to_string(), not_before, not_after })
    }
}

/// What the identity is made from.
pub(crate) struct TlsSource<'a> {
    pub(crate) config: &'a config::Config,
    pub(crate) authority: &'a ca::Authority,
    pub(crate) store: &'a dyn Store,
    pub(crate) above: &'a [Vec<u8>],
    pub(crate) random: &'a SystemRandom,
}

struct Identity {
    chain: Vec<Vec<u8>>,
    pkcs8: zeroize::Zeroizing<Vec<u8>>,
}

impl TlsSource<'_> {
    fn dir(&self) -> PathBuf {
        self.config.service.data_dir.join("tls")
    }

    /// What the door sends: its certificate, its issuer's, and what leads from there to each key of the root, so that
    /// whoever trusts any of them goes on (conformance: K2).
    fn chain(&self, leaf: &[u8], issuer: &ca::IssuingKey) -> Vec<Vec<u8>> {
        let mut chain = vec![leaf.to_vec(), issuer.description().certificate_der.clone()];
        chain.extend_from_slice(self.above);
        chain
    }

    /// What is on disk, if it is whole, fits the configured names, is not due, and is good by the store's record of it. A
    /// store that was restored may not know it: nobody could revoke it then, and OCSP would not answer for it.
    fn kept(&self, now: Timestamp) -> Result<Option<Identity>, Failure> {
        let Some((identity, leaf)) = self.on_disk(now) else { return Ok(None) };
        Ok(self.is_good(&leaf)?.then_some(identity))
    }

    fn is_good(&self, leaf: &ParsedCertificate) -> Result<bool, Failure> {
        let record = ca::certificate::find(self.store, leaf, leaf.der())?;
        let good = record.is_some_and(|record| matches!(record.state, CertificateState::Good { .. }));
        if !good {
            tracing::warn!(serial = %leaf.serial(), "the API door's certificate is unknown or revoked: it gets a new one");
        }
        Ok(good)
    }

    fn on_disk(&self, now: Timestamp) -> Option<(Identity, ParsedCertificate)> {
        let read = |name: &str| {
            let path = self.dir().join(name);
            let small = std::fs::metadata(&path).ok()?.len() <= MAX_FILE;
            small.then(|| std::fs::read(&path).ok()).flatten()
        };
        let kept = pki::pem::decode_certificates(&read("server.crt")?).ok()?;
        let leaf = ParsedCertificate::from_der(kept.first()?).ok()?;
        let issuer = self
            .authority
            .issuers()
            .find(|issuer| Some(&issuer.description().key_identifier[..]) == leaf.authority_key_identifier())?;
        let chain = self.chain(leaf.der(), issuer);
        let pkcs8 = zeroize::Zeroizing::new(read("server.key")?);
        let key = MemoryKey::from_pkcs8(&pkcs8).ok()?;
        let fits = leaf.dns_names() == self.config.service.host_names
            && leaf.ip_addresses() == self.config.service.addresses
            && key.public_key() == leaf.public_key();
        let due = leaf.not_after().minus(self.config.times.service_renewal_window) <= now;
        (fits && !due).then_some((Identity { chain, pkcs8 }, leaf))
    }

    fn issue(&self, now: Timestamp) -> Result<Identity, Failure> {
        let key = MemoryKey::generate_p256().map_err(ca::Error::from)?;
        let service = &self.config.service;
        let record = ca::service_certificate::issue_service_tls(
            self.authority,
            self.store,
            key.public_key(),
            &service.host_names,
            &service.addresses,
            now,
            self.random,
        )?;
        let issuer = self.authority.issuer(&record.id.issuer)?;
        let chain = self.chain(record.der.as_deref().unwrap_or_default(), issuer);
        let pkcs8 = key.to_pkcs8();
        let write = |name: &str, content: &[u8], mode: u32| {
            let path = self.dir().join(name);
            write_atomically(&path, content, mode)
                .map_err(|error| Failure::internal(format!("{}: {error}", path.display())))
        };
        std::fs::create_dir_all(self.dir()).map_err(Failure::internal)?;
        write("server.key", &pkcs8, 0o600)?;
        write("server.crt", pki::pem::encode_certificates(&chain).as_bytes(), 0o644)?;
        tracing::info!(not_after = %record.not_after, "the API door has a new certificate");
        Ok(Identity { chain, pkcs8 })
    }
}

fn client_issuers(authority: &ca::Authority) -> Vec<Vec<u8>> {
    authority.issuers().map(|issuer| issuer.description().certificate_der.clone()).collect()
}

impl TlsIdentity {
    /// What is on disk, or a new one.
    ///
    /// # Errors
    /// When a new one cannot be issued or written.
    pub(crate) fn open(source: &TlsSource<'_>, now: Timestamp) -> Result<Self, Failure> {
        let identity = match source.kept(now)? {
            Some(kept) => kept,
            None => source.issue(now)?,
        };
        let certificate = DoorCertificate::new(&identity.chain, &identity.pkcs8)?;
        let door = Arc::new(Door::new(certificate, &client_issuers(source.authority))?);
        let shown = std::sync::Mutex::new(Shown::of(&identity.chain)?);
        Ok(TlsIdentity { door, shown, exchange: std::sync::Mutex::default() })
    }

    /// Sends the chain as it is now; connections that are open stay open.
    ///
    /// # Errors
    /// When a new certificate is due, and cannot be issued or written.
    pub(crate) fn chain(&self, source: &TlsSource<'_>, now: Timestamp) -> Result<(), Failure> {
        let _one_at_a_time = self.exchange.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let identity = match source.kept(now)? {
            Some(kept) => kept,
            None => source.issue(now)?,
        };
        self.show(&identity)
    }

    /// Replaces the certificate when it is due, or no longer good; connections that are open stay open.
    ///
    /// # Errors
    /// When a new one cannot be issued or written.
    pub(crate) fn renew(&self, source: &TlsSource<'_>, now: Timestamp) -> Result<(), Failure> {
        let Shown { der, not_after, .. } = self.shown();
        let is_due = not_after.minus(source.config.times.service_renewal_window) <= now;
        let leaf = ParsedCertificate::from_der(&der).map_err(Failure::internal)?;
        if is_due || !source.is_good(&leaf)? { self.replace(source, now) } else { Ok(()) }
    }

    /// Replaces key and certificate now; connections that are open stay open.
    ///
    /// # Errors
    /// When a new one cannot be issued or written.
    pub(crate) fn replace(&self, source: &TlsSource<'_>, now: Timestamp) -> Result<(), Failure> {
        let _one_at_a_time = self.exchange.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.show(&source.issue(now)?)
    }

    fn show(&self, identity: &Identity) -> Result<(), Failure> {
        let shown = Shown::of(&identity.chain)?;
        self.door.certificate().replace(&identity.chain, &identity.pkcs8)?;
        *self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = shown;
        Ok(())
    }

    /// Takes clients of these issuing CAs from now on.
    ///
    /// # Errors
    /// When an issuer's certificate cannot be a trust anchor.
    pub(crate) fn trust(&self, authority: &ca::Authority) -> Result<(), Failure> {
        self.door.trust(&client_issuers(authority))
    }

    /// For the door.
    pub fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.shown().not_after
    }

    /// Since when it is good.
    pub fn not_before(&self) -> Timestamp {
        self.shown().not_before
    }

    /// Its serial number, as text.
    pub fn serial(&self) -> String {
        self.shown().serial
    }

    fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
