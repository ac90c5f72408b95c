//! Where signers' keys are: in memory, or in a PKCS#11 token.
//!
//! A key in a token is numbered by generation, and labelled `ocsp-ISSUER-KIND-GENERATION`; its certificate is kept as
//! `signers/ISSUER.KIND.GENERATION.pem`. One whose making or certifying was interrupted is taken up again.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::SignerPlace;
use hsm::{MadeKey, MemoryKey, Module, PinFile, Signer, Token, TokenOptions, TokenSelector};
use pki::KeyType;
use sha2::{Digest, Sha256};
use tls::files::{NewFile, certificates, sync_directory};

use super::NodeError;

const ENDING: &str = ".pem";

/// Where keys are.
#[derive(Debug)]
pub(super) enum Keys {
    /// In memory.
    Memory,
    /// In a token, with their certificates in this directory.
    Token {
        /// The token, logged in.
        token: Arc<Token>,
        /// Where their certificates are.
        dir: PathBuf,
    },
}

/// A new key, not yet certified.
pub(super) struct Made {
    pub(super) key: Arc<dyn Signer>,
    pub(super) generation: u64,
}

/// A key in a token with its certificate.
pub(super) struct Kept {
    pub(super) key: Arc<dyn Signer>,
    pub(super) certificate: Vec<u8>,
    pub(super) generation: u64,
}

impl Keys {
    /// Opens the token, if keys are to be in one.
    ///
    /// # Errors
    /// When the token is not there, refuses its PIN, or the directory cannot be made.
    pub(super) fn open(place: &SignerPlace, data_dir: &Path) -> Result<Self, NodeError> {
        let SignerPlace::Token { module, token, sessions, queue } = place else { return Ok(Keys::Memory) };
        pin_is_there(&token.pin_file)?;
        let module = Module::load(module)?;
        let options = TokenOptions { sessions: *sessions, queue: *queue };
        let selector = TokenSelector::Label(token.label.clone());
        let (token, _) = PinFile::new(&token.pin_file).open_token(&module, &selector, options)?;
        let dir = data_dir.join("signers");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(NodeError::file(&dir))?;
        Ok(Keys::Token { token, dir })
    }

    /// Whether a signature may take a while.
    pub(super) fn is_blocking(&self) -> bool {
        matches!(self, Keys::Token { .. })
    }

    /// How many signatures wait for the token.
    pub(super) fn queued(&self) -> Option<usize> {
        match self {
            Keys::Memory => None,
            Keys::Token { token, .. } => Some(token.queued()),
        }
    }

    /// A key for an issuer, of the generation after `after` and whatever was kept.
    pub(super) fn make(&self, issuer: &str, key_type: KeyType, after: u64) -> Result<Made, NodeError> {
        let Keys::Token { token, dir } = self else {
            return Ok(Made { key: Arc::new(MemoryKey::generate(key_type)?), generation: 0 });
        };
        let newest = generations(dir, issuer, key_type)?.last().copied().unwrap_or(0);
        let generation = newest.max(after) + 1;
        let (label, id) = name(issuer, key_type, generation);
        let key = match token.made_key(&label, &id, key_type)? {
            MadeKey::Whole(key) => key,
            MadeKey::Half => {
                token.destroy_half_key(&label, &id)?;
                token.generate_key_pair(&label, &id, key_type)?
            }
            MadeKey::None => token.generate_key_pair(&label, &id, key_type)?,
        };
        Ok(Made { key: Arc::new(key), generation })
    }

    /// Keeps the certificate of a key in the token.
    pub(super) fn keep(
        &self,
        issuer: &str,
        key_type: KeyType,
        generation: u64,
        certificate: &[u8],
    ) -> Result<(), NodeError> {
        let Keys::Token { dir, .. } = self else { return Ok(()) };
        let pem = pki::pem::encode_certificates([certificate]);
        NewFile::write(&path(dir, issuer, key_type, generation), pem.as_bytes(), 0o644)?.put()?;
        Ok(sync_directory(dir)?)
    }

    /// The keys in the token whose certificates were kept, the oldest first. One without the other is left out.
    pub(super) fn kept(&self, issuer: &str, key_type: KeyType) -> Result<Vec<Kept>, NodeError> {
        let Keys::Token { token, dir } = self else { return Ok(Vec::new()) };
        let mut kept = Vec::new();
        for generation in generations(dir, issuer, key_type)? {
            let path = path(dir, issuer, key_type, generation);
            let certificate = match certificates(&path).map(|found| found.into_iter().next()) {
                Ok(Some(certificate)) => certificate,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a kept OCSP signer's certificate cannot be read");
                    continue;
                }
            };
            let (label, id) = name(issuer, key_type, generation);
            match token.made_key(&label, &id, key_type)? {
                MadeKey::Whole(key) => kept.push(Kept { key: Arc::new(key), certificate, generation }),
                MadeKey::Half | MadeKey::None => {
                    tracing::warn!(label, "the certificate of an OCSP signer is here, and its key is not in the token");
                }
            }
        }
        Ok(kept)
    }

    /// Destroys the keys of the generations before `generation`, and what was kept of them.
    pub(super) fn forget_before(&self, issuer: &str, key_type: KeyType, generation: u64) -> Result<(), NodeError> {
        let Keys::Token { token, dir } = self else { return Ok(()) };
        for old in generations(dir, issuer, key_type)?.into_iter().filter(|old| *old < generation) {
            let (label, id) = name(issuer, key_type, old);
            token.destroy_key(&id)?;
            let path = path(dir, issuer, key_type, old);
            fs::remove_file(&path).map_err(NodeError::file(&path))?;
            tracing::info!(label, "an OCSP signer's key that is no longer used was destroyed");
        }
        Ok(())
    }
}

/// Whether a token's PIN can be looked for.
///
/// # Errors
/// [`NodeError::Usage`] when the file is not there.
pub(super) fn pin_is_there(path: &Path) -> Result<(), NodeError> {
    if path.try_exists().map_err(NodeError::file(path))? {
        return Ok(());
    }
    Err(NodeError::Usage(format!(
        "{}: the file with the token's PIN is missing. Write the PIN into it (mode 0600, owned by the responder's user), or \
         correct `signer.pin_file`",
        path.display()
    )))
}

/// A key's label and id in the token.
fn name(issuer: &str, key_type: KeyType, generation: u64) -> (String, Vec<u8>) {
    let label = format!("ocsp-{issuer}-{key_type}-{generation}");
    let id = Sha256::digest(&label)[..20].to_vec();
    (label, id)
}

fn path(dir: &Path, issuer: &str, key_type: KeyType, generation: u64) -> PathBuf {
    dir.join(format!("{issuer}.{key_type}.{generation}{ENDING}"))
}

/// The generations whose certificates were kept, the oldest first.
fn generations(dir: &Path, issuer: &str, key_type: KeyType) -> Result<Vec<u64>, NodeError> {
    let prefix = format!("{issuer}.{key_type}.");
    let mut generations = Vec::new();
    for entry in fs::read_dir(dir).map_err(NodeError::file(dir))? {
        let name = entry.map_err(NodeError::file(dir))?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(ENDING)?.parse().ok());
        generations.extend(number);
    }
    generations.sort_unstable();
    Ok(generations)
}
