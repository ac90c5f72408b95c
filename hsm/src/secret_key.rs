//! AES-256 keys in a token, which encrypt other keys: they never leave the token (conformance: K1).
//!
//! What a store keeps encrypted must be read at a rate that no token can serve, so the service holds the data key in
//! memory, and the token holds the key that the data key is encrypted with.

use std::fmt;
use std::sync::Arc;

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use cryptoki::types::Ulong;
use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::connection::Connection;
use crate::error::Fault;
use crate::key::unprotected;
use crate::{Error, Token};

const CLASS: [ObjectClass; 1] = [ObjectClass::SECRET_KEY];
/// Octets of the initialization vector (NIST SP 800-38D 5.2.1.1).
const IV: usize = 12;
/// Octets of the authentication tag.
const TAG: usize = 16;
/// The longest secret that is encrypted: keys, not data.
const MAX_SECRET: usize = 1024;

/// An AES-256 key in an open token, for encrypting keys with AES-GCM (CKM_AES_GCM, PKCS#11 v3.0 2.13).
#[derive(Clone)]
pub struct KeyEncryptionKey {
    token: Arc<Token>,
    label: String,
    id: Vec<u8>,
}

impl KeyEncryptionKey {
    /// CKA_LABEL.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// CKA_ID.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// Encrypts a key of at most 1024 octets: initialization vector, ciphertext, tag. It can be decrypted with the same
    /// `context` only.
    ///
    /// # Errors
    /// [`Error::SecretLength`]; [`Error::KeyMissing`]; [`Error::Busy`], [`Error::Pkcs11`].
    pub fn encrypt(&self, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, Error> {
        self.check_length(secret.len())?;
        let mut iv = [0; IV];
        SystemRandom::new().fill(&mut iv).map_err(|_| Error::Random)?;
        let (id, secret, context) = (self.id.clone(), Zeroizing::new(secret.to_vec()), context.to_vec());
        let sealed = self.token.run(move |connection, token| {
            let key = find(connection, token, &id)?;
            let mut iv = iv;
            let parameters = GcmParams::new(&mut iv, &context, tag_bits())?;
            Ok(connection.session.encrypt(&Mechanism::AesGcm(parameters), key, &secret)?)
        })?;
        Ok([&iv[..], &sealed].concat())
    }

    /// What [`KeyEncryptionKey::encrypt`] was given.
    ///
    /// # Errors
    /// [`Error::SecretRefused`] when it was encrypted with another key or context, or changed; otherwise as
    /// [`KeyEncryptionKey::encrypt`].
    pub fn decrypt(&self, encrypted: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let refused = || Error::SecretRefused { token: self.token.label().to_owned(), label: self.label.clone() };
        let (iv, sealed) = encrypted.split_first_chunk::<IV>().ok_or_else(refused)?;
        let length = sealed.len().checked_sub(TAG).ok_or_else(refused)?;
        self.check_length(length)?;
        let (id, iv, sealed, context) = (self.id.clone(), *iv, sealed.to_vec(), context.to_vec());
        let opened = self.token.run(move |connection, token| {
            let key = find(connection, token, &id)?;
            let mut iv = iv;
            let parameters = GcmParams::new(&mut iv, &context, tag_bits())?;
            Ok(Zeroizing::new(connection.session.decrypt(&Mechanism::AesGcm(parameters), key, &sealed)?))
        });
        match opened {
            // Tokens differ in the code for a tag that does not fit.
            Err(Error::Pkcs11 { function, code, .. }) if function == "C_Decrypt" && code.is_about_data() => {
                Err(refused())
            }
            other => other,
        }
    }

    fn check_length(&self, length: usize) -> Result<(), Error> {
        if length == 0 || length > MAX_SECRET {
            return Err(Error::SecretLength { actual: length, limit: MAX_SECRET });
        }
        Ok(())
    }
}

impl fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEncryptionKey")
            .field("token", &self.token.label())
            .field("label", &self.label)
            .field("id", &HEXLOWER.encode(&self.id))
            .finish()
    }
}

impl Token {
    /// Makes an AES-256 key in the token, which encrypts and decrypts and can neither be read nor extracted; that the
    /// token made it so is checked afterwards (conformance: K1).
    ///
    /// # Errors
    /// [`Error::KeyIdInUse`] when another secret key has this id, or it is empty; [`Error::SecretKeyUnprotected`];
    /// [`Error::Busy`], [`Error::Pkcs11`].
    pub fn generate_key_encryption_key(self: &Arc<Self>, label: &str, id: &[u8]) -> Result<KeyEncryptionKey, Error> {
        let key = KeyEncryptionKey { token: Arc::clone(self), label: label.to_owned(), id: id.to_vec() };
        let (label, id) = (label.to_owned(), id.to_vec());
        let mut attempted = false;
        self.run(move |connection, token| {
            if attempted {
                // The id was free before the first attempt, so what has it now is that attempt's.
                connection.destroy(&CLASS, &id)?;
            } else if id.is_empty() || !connection.objects(CLASS[0], Attribute::Id(id.clone()))?.is_empty() {
                return Err(Error::KeyIdInUse { token: token.to_owned(), id: HEXLOWER.encode(&id) }.into());
            }
            attempted = true;
            generate(connection, token, &label, &id)
        })?;
        Ok(key)
    }

    /// The AES key with this id.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Pkcs11`].
    pub fn find_key_encryption_key(self: &Arc<Self>, id: &[u8]) -> Result<Option<KeyEncryptionKey>, Error> {
        let wanted = id.to_vec();
        let label = self.run(move |connection, _| {
            let Some(object) = secret_keys(connection, &wanted)?.first().copied() else { return Ok(None) };
            let label = connection.session.get_attributes(object, &[AttributeType::Label])?.pop();
            Ok(match label {
                Some(Attribute::Label(label)) => Some(String::from_utf8_lossy(&label).into_owned()),
                _ => Some(String::new()),
            })
        })?;
        Ok(label.map(|label| KeyEncryptionKey { token: Arc::clone(self), label, id: id.to_vec() }))
    }
}

fn tag_bits() -> Ulong {
    Ulong::from(8 * TAG as u64)
}

fn secret_keys(connection: &Connection, id: &[u8]) -> Result<Vec<ObjectHandle>, Fault> {
    if id.is_empty() {
        return Ok(Vec::new());
    }
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::Token(true),
        Attribute::KeyType(CkKeyType::AES),
        Attribute::Id(id.to_vec()),
    ];
    Ok(connection.session.find_objects(&template)?)
}

fn find(connection: &Connection, token: &str, id: &[u8]) -> Result<ObjectHandle, Fault> {
    let shown = || format!("the id {}", HEXLOWER.encode(id));
    match secret_keys(connection, id)?[..] {
        [object] => Ok(object),
        [] => Err(Error::KeyMissing { token: token.to_owned(), key: shown() }.into()),
        ref several => Err(Error::KeyAmbiguous { token: token.to_owned(), key: shown(), count: several.len() }.into()),
    }
}

fn generate(connection: &Connection, token: &str, label: &str, id: &[u8]) -> Result<(), Fault> {
    let template = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
        Attribute::ValueLen(Ulong::from(32)),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
    ];
    let key = connection.session.generate_key(&Mechanism::AesKeyGen, &template)?;
    let Some((attribute, expected)) = unprotected(connection, key)? else { return Ok(()) };
    connection.session.destroy_object(key)?;
    Err(Error::SecretKeyUnprotected { token: token.to_owned(), attribute, expected }.into())
}
