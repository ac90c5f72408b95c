//! Private keys in a token: making, finding, destroying them, and signing by them.

use std::fmt;
use std::sync::Arc;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use cryptoki::types::Ulong;
use data_encoding::HEXLOWER;
use pki::{KeyType, PublicKey};
use ring::digest;

use crate::connection::Connection;
use crate::error::Fault;
use crate::{Error, Signer, Token, ecdsa, public_key};

/// `DigestInfo` of SHA-256 up to the digest itself (RFC 8017 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

pub(crate) const KEY_CLASSES: [ObjectClass; 2] = [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY];

/// What a token tells of a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDescription {
    label: String,
    id: Vec<u8>,
    public_key: PublicKey,
    digest: [u8; 32],
}

impl KeyDescription {
    fn new(label: String, id: Vec<u8>, public_key: PublicKey) -> Self {
        KeyDescription { digest: public_key.digest(), label, id, public_key }
    }

    /// CKA_LABEL.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// CKA_ID: what key, public key and certificate have in common.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Its kind and size.
    pub fn key_type(&self) -> KeyType {
        self.public_key.key_type()
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// What it is found by: its id, or its label where another program gave it no id.
    fn reference(&self) -> Attribute {
        reference(&self.label, &self.id)
    }
}

/// A private key in an open token.
#[derive(Clone)]
pub struct Key {
    token: Arc<Token>,
    description: Arc<KeyDescription>,
}

impl Key {
    /// The token that holds it.
    pub fn token(&self) -> &Arc<Token> {
        &self.token
    }

    /// CKA_LABEL, as it was when the key was found.
    pub fn label(&self) -> &str {
        &self.description.label
    }

    /// CKA_ID.
    pub fn id(&self) -> &[u8] {
        &self.description.id
    }

    /// Its kind and size.
    pub fn key_type(&self) -> KeyType {
        self.description.key_type()
    }

    fn sign_in_token(&self, operation: Operation, input: Vec<u8>) -> Result<Vec<u8>, Error> {
        let key = Arc::clone(&self.description);
        let raw = self.token.run(move |connection, token| {
            let handle = connection.private_key(token, &key)?;
            Ok(connection.session.sign(&operation.mechanism(), handle, &input)?)
        })?;
        let length = raw.len();
        let signature = match self.key_type() {
            KeyType::P256 => ecdsa::der_from_raw(&raw, 32),
            KeyType::P384 => ecdsa::der_from_raw(&raw, 48),
            KeyType::Rsa2048 => Some(raw).filter(|raw| raw.len() == 256),
            KeyType::Rsa3072 => Some(raw).filter(|raw| raw.len() == 384),
            KeyType::Rsa4096 => Some(raw).filter(|raw| raw.len() == 512),
        };
        signature.ok_or_else(|| Error::Module {
            token: self.token.label().to_owned(),
            reason: format!("C_Sign by a {} key gave {length} octets", self.key_type()),
        })
    }
}

impl Signer for Key {
    fn public_key(&self) -> &PublicKey {
        &self.description.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match hash(self.key_type()) {
            // CKM_ECDSA takes a digest; CKM_ECDSA_SHA256 is not everywhere.
            (algorithm, true) => {
                self.sign_in_token(Operation::Ecdsa, digest::digest(algorithm, message).as_ref().to_vec())
            }
            (_, false) => self.sign_in_token(Operation::Sha256RsaPkcs, message.to_vec()),
        }
    }

    fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, Error> {
        let (algorithm, is_ec) = hash(self.key_type());
        let (expected, actual) = (algorithm.output_len(), digest.len());
        if actual != expected {
            return Err(Error::DigestLength { key_type: self.key_type(), expected, actual });
        }
        if is_ec {
            self.sign_in_token(Operation::Ecdsa, digest.to_vec())
        } else {
            self.sign_in_token(Operation::RsaPkcs, [&SHA256_DIGEST_INFO[..], digest].concat())
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("token", &self.token.label())
            .field("label", &self.label())
            .field("id", &HEXLOWER.encode(self.id()))
            .field("public_key", self.public_key())
            .finish()
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Ecdsa,
    RsaPkcs,
    Sha256RsaPkcs,
}

impl Operation {
    fn mechanism(self) -> Mechanism<'static> {
        match self {
            Operation::Ecdsa => Mechanism::Ecdsa,
            Operation::RsaPkcs => Mechanism::RsaPkcs,
            Operation::Sha256RsaPkcs => Mechanism::Sha256RsaPkcs,
        }
    }
}

/// The hash function that a key signs with, and whether it is an elliptic-curve key.
fn hash(key_type: KeyType) -> (&'static digest::Algorithm, bool) {
    match key_type {
        KeyType::P256 => (&digest::SHA256, true),
        KeyType::P384 => (&digest::SHA384, true),
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => (&digest::SHA256, false),
    }
}

impl Token {
    /// Makes a key pair in the token. The private key is sensitive, cannot be extracted and only signs; that the token
    /// made it so is checked afterwards (conformance: K1).
    ///
    /// # Errors
    /// [`Error::KeyIdInUse`] when another key has this id, or it is empty; [`Error::KeyUnprotected`]; [`Error::Busy`],
    /// [`Error::Pkcs11`].
    pub fn generate_key_pair(self: &Arc<Self>, label: &str, id: &[u8], key_type: KeyType) -> Result<Key, Error> {
        let (label, id) = (label.to_owned(), id.to_vec());
        let mut attempted = false;
        let description = self.run(move |connection, token| {
            if attempted {
                // The id was free before the first attempt, so what has it now is that attempt's.
                connection.destroy(&KEY_CLASSES, &id)?;
            } else {
                ensure_id_is_free(connection, token, &id)?;
            }
            attempted = true;
            generate(connection, token, &label, &id, key_type)
        })?;
        Ok(self.key(description))
    }

    /// The private keys in the token that can be used here; others are left out.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Pkcs11`].
    pub fn keys(self: &Arc<Self>) -> Result<Vec<KeyDescription>, Error> {
        self.run(|connection, token| {
            let mut keys = Vec::new();
            for (handle, key_type) in private_keys(connection, &[])? {
                match describe(connection, token, handle, key_type) {
                    Ok(key) => keys.push(key),
                    Err(Fault::Error(reason)) => tracing::debug!(token, %reason, "a key is left out"),
                    Err(fault) => return Err(fault),
                }
            }
            Ok(keys)
        })
    }

    /// The private key with this label.
    ///
    /// # Errors
    /// [`Error::KeyAmbiguous`] when several have it, [`Error::KeyUnusable`] when it is of another kind or its public key
    /// is not in the token; [`Error::Busy`], [`Error::Pkcs11`].
    pub fn find_key(self: &Arc<Self>, label: &str) -> Result<Option<Key>, Error> {
        self.find(Attribute::Label(label.as_bytes().to_vec()))
    }

    /// The private key with this id.
    ///
    /// # Errors
    /// As [`Token::find_key`].
    pub fn find_key_by_id(self: &Arc<Self>, id: &[u8]) -> Result<Option<Key>, Error> {
        if id.is_empty() {
            return Ok(None);
        }
        self.find(Attribute::Id(id.to_vec()))
    }

    fn find(self: &Arc<Self>, reference: Attribute) -> Result<Option<Key>, Error> {
        let description =
            self.run(move |connection, token| match private_keys(connection, std::slice::from_ref(&reference))?[..] {
                [] => Ok(None),
                [(handle, key_type)] => describe(connection, token, handle, key_type).map(Some),
                ref several => Err(ambiguous(token, &reference, several.len()).into()),
            })?;
        Ok(description.map(|description| self.key(description)))
    }

    /// Destroys the private and public keys with this id, and tells whether there were any. It cannot be undone.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Pkcs11`].
    pub fn destroy_key(&self, id: &[u8]) -> Result<bool, Error> {
        let id = id.to_vec();
        let mut any = false;
        let destroyed = self.run(move |connection, _| {
            any |= connection.destroy(&KEY_CLASSES, &id)?;
            Ok(any)
        });
        // A token may give the handle to another key.
        self.void_handles();
        destroyed
    }

    /// Gives the private and public key with this id another label: new keys are made beside old ones, and take their
    /// name when they take their place.
    ///
    /// # Errors
    /// [`Error::KeyMissing`], [`Error::Busy`], [`Error::Pkcs11`].
    pub fn rename_key(&self, id: &[u8], label: &str) -> Result<(), Error> {
        let (id, label) = (id.to_vec(), Attribute::Label(label.as_bytes().to_vec()));
        self.run(move |connection, token| {
            let reference = Attribute::Id(id.clone());
            if connection.objects(ObjectClass::PRIVATE_KEY, reference.clone())?.is_empty() {
                return Err(Error::KeyMissing { token: token.to_owned(), key: shown(&reference) }.into());
            }
            for class in KEY_CLASSES {
                for object in connection.objects(class, reference.clone())? {
                    connection.session.update_attributes(object, std::slice::from_ref(&label))?;
                }
            }
            Ok(())
        })
    }

    pub(crate) fn key(self: &Arc<Self>, description: KeyDescription) -> Key {
        Key { token: Arc::clone(self), description: Arc::new(description) }
    }
}

/// The handle of a private key that was described before.
pub(crate) fn find_private(connection: &Connection, token: &str, key: &KeyDescription) -> Result<ObjectHandle, Fault> {
    let reference = key.reference();
    match private_keys(connection, std::slice::from_ref(&reference))?[..] {
        [(handle, _)] => Ok(handle),
        [] => Err(Error::KeyMissing { token: token.to_owned(), key: shown(&reference) }.into()),
        ref several => Err(ambiguous(token, &reference, several.len()).into()),
    }
}

/// The token's private keys of the kinds known here. They are asked for by kind, since reading the attributes of a kind
/// unknown to cryptoki fails.
fn private_keys(connection: &Connection, matching: &[Attribute]) -> Result<Vec<(ObjectHandle, CkKeyType)>, Fault> {
    let mut found = Vec::new();
    for key_type in [CkKeyType::EC, CkKeyType::RSA] {
        let mut template =
            vec![Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Token(true), Attribute::KeyType(key_type)];
        template.extend_from_slice(matching);
        found.extend(connection.session.find_objects(&template)?.into_iter().map(|handle| (handle, key_type)));
    }
    Ok(found)
}

fn describe(
    connection: &Connection,
    token: &str,
    private: ObjectHandle,
    key_type: CkKeyType,
) -> Result<KeyDescription, Fault> {
    let (mut label, mut id) = (Vec::new(), Vec::new());
    for attribute in connection.session.get_attributes(private, &[AttributeType::Label, AttributeType::Id])? {
        match attribute {
            Attribute::Label(value) => label = value,
            Attribute::Id(value) => id = value,
            _ => {}
        }
    }
    let label = String::from_utf8_lossy(&label).into_owned();
    let reference = reference(&label, &id);
    let unusable = |reason: String| unusable(token, &reference, reason);
    let publics = connection.session.find_objects(&[
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Token(true),
        Attribute::KeyType(key_type),
        reference.clone(),
    ])?;
    let public_key = match publics.first() {
        Some(public) => public_key::read(connection, *public, key_type)?,
        None => public_key::from_certificate(connection, &reference)?
            .ok_or_else(|| unusable("neither its public key nor its certificate is in the token".into()))?,
    };
    let public_key = public_key.map_err(|reason| unusable(reason.to_string()))?;
    Ok(KeyDescription::new(label, id, public_key))
}

fn ensure_id_is_free(connection: &Connection, token: &str, id: &[u8]) -> Result<(), Fault> {
    let mut taken = id.is_empty();
    for class in KEY_CLASSES {
        taken = taken || !connection.objects(class, Attribute::Id(id.to_vec()))?.is_empty();
    }
    if taken {
        return Err(Error::KeyIdInUse { token: token.to_owned(), id: HEXLOWER.encode(id) }.into());
    }
    Ok(())
}

fn generate(
    connection: &mut Connection,
    token: &str,
    label: &str,
    id: &[u8],
    key_type: KeyType,
) -> Result<KeyDescription, Fault> {
    let (mechanism, ck_type, mut public) = match key_type {
        KeyType::P256 => ec(rfc5912::SECP_256_R_1),
        KeyType::P384 => ec(rfc5912::SECP_384_R_1),
        KeyType::Rsa2048 => rsa(2048),
        KeyType::Rsa3072 => rsa(3072),
        KeyType::Rsa4096 => rsa(4096),
    };
    let common = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
    public.extend_from_slice(&common);
    public.extend([Attribute::Private(false), Attribute::Verify(true)]);
    let mut private = common.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
    ]);
    let (public_handle, private_handle) = connection.session.generate_key_pair(&mechanism, &public, &private)?;
    if let Some((attribute, expected)) = unprotected(connection, private_handle)? {
        connection.destroy(&KEY_CLASSES, id)?;
        return Err(Error::KeyUnprotected { token: token.to_owned(), key_type, attribute, expected }.into());
    }
    let public_key = public_key::read(connection, public_handle, ck_type)?.map_err(Error::from)?;
    if public_key.key_type() != key_type {
        connection.destroy(&KEY_CLASSES, id)?;
        let reason = format!("a {key_type} key was asked for, a {} key was made", public_key.key_type());
        return Err(Error::Module { token: token.to_owned(), reason }.into());
    }
    Ok(KeyDescription::new(label.to_owned(), id.to_vec(), public_key))
}

fn ec(curve: ObjectIdentifier) -> (Mechanism<'static>, CkKeyType, Vec<Attribute>) {
    let mut parameters = vec![0x06, curve.as_bytes().len() as u8];
    parameters.extend_from_slice(curve.as_bytes());
    (Mechanism::EccKeyPairGen, CkKeyType::EC, vec![Attribute::EcParams(parameters)])
}

fn rsa(bits: u64) -> (Mechanism<'static>, CkKeyType, Vec<Attribute>) {
    let size = Attribute::ModulusBits(Ulong::from(bits));
    (Mechanism::RsaPkcsKeyPairGen, CkKeyType::RSA, vec![size, Attribute::PublicExponent(vec![1, 0, 1])])
}

/// The first attribute of a new private or secret key that does not protect it as it must (conformance: K1), and what it
/// should be. One that the token does not tell counts as wrong.
pub(crate) fn unprotected(connection: &Connection, key: ObjectHandle) -> Result<Option<(&'static str, bool)>, Fault> {
    let rules = [
        ("CKA_TOKEN", Attribute::Token(true)),
        ("CKA_PRIVATE", Attribute::Private(true)),
        ("CKA_SENSITIVE", Attribute::Sensitive(true)),
        ("CKA_EXTRACTABLE", Attribute::Extractable(false)),
        ("CKA_NEVER_EXTRACTABLE", Attribute::NeverExtractable(true)),
        ("CKA_ALWAYS_SENSITIVE", Attribute::AlwaysSensitive(true)),
        ("CKA_LOCAL", Attribute::Local(true)),
    ];
    let wanted: Vec<AttributeType> = rules.iter().map(|(_, rule)| rule.attribute_type()).collect();
    let told = connection.session.get_attributes(key, &wanted)?;
    Ok(rules
        .iter()
        .find(|(_, rule)| !told.contains(rule))
        .map(|(name, rule)| (*name, !matches!(rule, Attribute::Extractable(false)))))
}

/// The private key with this id, if it is of this kind and protected as one that was made here (conformance: K1).
pub(crate) fn find_whole(
    connection: &Connection,
    token: &str,
    id: &[u8],
    key_type: KeyType,
) -> Result<KeyDescription, Fault> {
    let reference = Attribute::Id(id.to_vec());
    let (handle, kind) = match private_keys(connection, std::slice::from_ref(&reference))?[..] {
        [found] => found,
        [] => return Err(unusable(token, &reference, "it is of a kind that is not known here".to_owned()).into()),
        ref several => return Err(ambiguous(token, &reference, several.len()).into()),
    };
    if let Some((attribute, expected)) = unprotected(connection, handle)? {
        let reason = format!("{attribute} is not {expected}: it was not made here, or its making was interrupted");
        return Err(unusable(token, &reference, reason).into());
    }
    let found = describe(connection, token, handle, kind)?;
    if found.key_type() != key_type {
        let reason = format!("it is a {} key, and a {key_type} key is asked for", found.key_type());
        return Err(unusable(token, &reference, reason).into());
    }
    Ok(found)
}

fn reference(label: &str, id: &[u8]) -> Attribute {
    if id.is_empty() { Attribute::Label(label.as_bytes().to_vec()) } else { Attribute::Id(id.to_vec()) }
}

pub(crate) fn unusable(token: &str, reference: &Attribute, reason: String) -> Error {
    Error::KeyUnusable { token: token.to_owned(), key: shown(reference), reason }
}

fn ambiguous(token: &str, reference: &Attribute, count: usize) -> Error {
    Error::KeyAmbiguous { token: token.to_owned(), key: shown(reference), count }
}

fn shown(reference: &Attribute) -> String {
    match reference {
        Attribute::Id(id) => format!("the id {}", HEXLOWER.encode(id)),
        Attribute::Label(label) => format!("the label {:?}", String::from_utf8_lossy(label)),
        other => other.attribute_type().to_string(),
    }
}
