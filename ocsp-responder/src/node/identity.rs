//! Who the responder is, and whom it trusts: the files that an enrolment leaves in the data directory.
//!
//! ```text
//! client.pem     its private key, its certificate and the issuers' (mode 0600): one file, so that they change together
//! ca.pem         the CA's root certificates that are trusted
//! enrolled.json  whose feed it follows, under which name
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hsm::{MemoryKey, Signer};
use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use pki::feed::Origin;
use pki::request::NewRequest;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use tls::files::{self, NewFile, sync_directory};
use zeroize::Zeroizing;

use super::NodeError;

const CLIENT: &str = "client.pem";
const ROOTS: &str = "ca.pem";
const ENROLLED: &str = "enrolled.json";
const PRIVATE_KEY: &str = "PRIVATE KEY";
const CERTIFICATE: &str = "CERTIFICATE";
/// The longest file that is read, in octets.
const MAX_FILE: usize = 1 << 20;

/// What an enrolment settles for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// The name in the responder's certificate.
    pub name: String,
    /// The deployment whose feed it follows.
    pub deployment: String,
    /// The same, as the feed says it.
    #[serde(with = "as_text")]
    pub origin: Origin,
}

mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A request for a certificate of this key, DER.
///
/// # Errors
/// When the key does not sign.
pub(super) fn request(key: &dyn Signer) -> Result<Vec<u8>, NodeError> {
    let failed = |error: &dyn std::fmt::Display| NodeError::System(format!("a request for a certificate: {error}"));
    let request = NewRequest::new(key.public_key()).map_err(|error| failed(&error))?;
    let signature = key.sign(request.info_der())?;
    request.assemble(&signature).map_err(|error| failed(&error))
}

/// A key with its certificate, and those of the issuers above.
#[derive(Debug)]
pub(super) struct Credentials {
    key: MemoryKey,
    /// Its own certificate first, without a root.
    chain: Vec<Vec<u8>>,
    certificate: ParsedCertificate,
}

impl Credentials {
    /// What the CA sent for this key. Roots, which the other side has to have anyway, are left out of the chain.
    ///
    /// # Errors
    /// [`NodeError::Certificate`] when the certificate is of another key, or is none.
    pub(super) fn new(key: MemoryKey, certificate: Vec<u8>, above: Vec<Vec<u8>>) -> Result<Self, NodeError> {
        let parsed =
            ParsedCertificate::from_der(&certificate).map_err(|error| NodeError::Certificate(error.to_string()))?;
        if parsed.public_key() != key.public_key() {
            return Err(NodeError::Certificate("it is for another key".to_owned()));
        }
        let is_root = |der: &[u8]| {
            ParsedCertificate::from_der(der).is_ok_and(|one| one.verify_signed_by(one.public_key()).is_ok())
        };
        let mut chain = vec![certificate];
        chain.extend(above.into_iter().filter(|der| !is_root(der)));
        Ok(Credentials { key, chain, certificate: parsed })
    }

    fn read(path: &Path) -> Result<Self, NodeError> {
        // Refuses a file that others may read.
        files::private_key(path)?;
        let text = Zeroizing::new(std::fs::read(path).map_err(NodeError::file(path))?);
        let damaged = |reason: String| NodeError::Damaged { path: path.to_owned(), reason };
        let blocks = pki::pem::decode_all(&text).map_err(|error| damaged(error.to_string()))?;
        let of = |label: &str| blocks.iter().filter(|block| block.label == label).map(|block| &block.der).collect();
        let (keys, certificates): (Vec<_>, Vec<_>) = (of(PRIVATE_KEY), of(CERTIFICATE));
        let ([key], [certificate, above @ ..]) = (&keys[..], &certificates[..]) else {
            return Err(damaged("it does not hold one private key and its certificates".to_owned()));
        };
        let key = MemoryKey::from_pkcs8(key)?;
        let above = above.iter().map(|der| (*der).clone()).collect();
        Credentials::new(key, (*certificate).clone(), above).map_err(|error| damaged(error.to_string()))
    }

    fn to_pem(&self) -> Zeroizing<String> {
        let mut pem = Zeroizing::new(pki::pem::encode(PRIVATE_KEY, &self.key.to_pkcs8()));
        pem.push_str(&pki::pem::encode_certificates(&self.chain));
        pem
    }
}

/// The responder's identity, which may be renewed while it is used.
#[derive(Debug)]
pub struct Identity {
    dir: PathBuf,
    enrolled: Enrolled,
    credentials: ArcSwap<Credentials>,
    roots: ArcSwap<Vec<Vec<u8>>>,
}

impl Identity {
    /// Whether somebody is enrolled in this directory.
    pub fn is_enrolled(dir: &Path) -> bool {
        dir.join(ENROLLED).exists()
    }

    /// Reads what an enrolment left.
    ///
    /// # Errors
    /// [`NodeError::NotEnrolled`]; when a file cannot be read, others may read the key, or key and certificate do not
    /// fit.
    pub fn open(dir: &Path) -> Result<Self, NodeError> {
        if !Self::is_enrolled(dir) {
            return Err(NodeError::NotEnrolled { dir: dir.to_owned() });
        }
        let path = dir.join(ENROLLED);
        let text = std::fs::read(&path).map_err(NodeError::file(&path))?;
        let damaged = |reason: String| NodeError::Damaged { path: path.clone(), reason };
        if text.len() > MAX_FILE {
            return Err(damaged("it is too long".to_owned()));
        }
        let enrolled = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        for path in [dir.join(CLIENT), dir.join(ROOTS)] {
            if !path.try_exists().map_err(NodeError::file(&path))? {
                return Err(NodeError::Damaged { path, reason: "it is missing".to_owned() });
            }
        }
        let credentials = Credentials::read(&dir.join(CLIENT))?;
        let roots = files::certificates(&dir.join(ROOTS))?;
        Ok(Identity {
            dir: dir.to_owned(),
            enrolled,
            credentials: ArcSwap::from_pointee(credentials),
            roots: ArcSwap::from_pointee(roots),
        })
    }

    /// Writes a new identity. `enrolled.json` comes last: where it is, the identity is whole.
    pub(super) fn create(
        dir: &Path,
        enrolled: &Enrolled,
        credentials: &Credentials,
        roots: &[Vec<u8>],
    ) -> Result<(), NodeError> {
        let last = serde_json::to_vec_pretty(enrolled).map_err(|error| NodeError::System(error.to_string()))?;
        let new = [
            NewFile::write(&dir.join(CLIENT), credentials.to_pem().as_bytes(), 0o600)?,
            NewFile::write(&dir.join(ROOTS), pki::pem::encode_certificates(roots).as_bytes(), 0o644)?,
        ];
        let last = NewFile::write(&dir.join(ENROLLED), &last, 0o644)?;
        match std::fs::remove_file(dir.join(ENROLLED)) {
            // While the others are exchanged, there is no responder.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(NodeError::File { path: dir.join(ENROLLED), source: error });
            }
            _ => sync_directory(dir)?,
        }
        for file in new {
            file.put()?;
        }
        sync_directory(dir)?;
        last.put()?;
        Ok(sync_directory(dir)?)
    }

    /// What the enrolment settled.
    pub fn enrolled(&self) -> &Enrolled {
        &self.enrolled
    }

    /// The CA's roots that are trusted, DER.
    pub fn roots(&self) -> Arc<Vec<Vec<u8>>> {
        self.roots.load_full()
    }

    /// From when to when its certificate is good.
    pub fn validity(&self) -> (Timestamp, Timestamp) {
        let credentials = self.credentials.load();
        (credentials.certificate.not_before(), credentials.certificate.not_after())
    }

    /// The client certificate that it shows now, DER.
    pub(super) fn certificate(&self) -> Vec<u8> {
        self.credentials.load().certificate.der().to_vec()
    }

    /// How it connects to the CA now.
    ///
    /// # Errors
    /// [`NodeError::Tls`].
    pub fn config(&self) -> Result<Arc<ClientConfig>, NodeError> {
        let credentials = self.credentials.load();
        Ok(tls::client::with_identity(&self.roots.load(), &credentials.chain, &credentials.key.to_pkcs8())?)
    }

    /// Takes new credentials into use, after they are durable: the CA counts the old ones as done with as soon as the new
    /// ones are shown.
    pub(super) fn renew(&self, credentials: Credentials) -> Result<(), NodeError> {
        NewFile::write(&self.dir.join(CLIENT), credentials.to_pem().as_bytes(), 0o600)?.put()?;
        sync_directory(&self.dir)?;
        self.credentials.store(Arc::new(credentials));
        Ok(())
    }

    /// Trusts these roots from now on.
    pub(super) fn pin(&self, roots: Vec<Vec<u8>>) -> Result<(), NodeError> {
        NewFile::write(&self.dir.join(ROOTS), pki::pem::encode_certificates(&roots).as_bytes(), 0o644)?.put()?;
        sync_directory(&self.dir)?;
        self.roots.store(Arc::new(roots));
        Ok(())
    }
}
