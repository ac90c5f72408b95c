//! A card in the reader: its keys and certificates.
//!
//! A card has an authentication key and a signing key, found by their labels, and a certificate with each, found by the
//! key's id. New keys are made beside them as `authentication-next` and `signing-next`; they take the places of the old
//! ones when the service has confirmed their certificates ([`Card::settle`]). So at no time is a card without keys that
//! work, and whatever has `-next` in its label tells of an issuance that was interrupted.
//!
//! Everything here blocks, except [`Card::run`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::HEXLOWER;
use hsm::{Key, Module, Pin, Signer, Token, TokenOptions, TokenSelector};
use pki::certificate::ParsedCertificate;
use pki::{KeyType, PublicKey};
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use crate::Error;

/// One card does one thing at a time.
const OPTIONS: TokenOptions = TokenOptions { sessions: 1, queue: 16 };

/// Ids of keys are random and of this many octets.
const ID_OCTETS: usize = 16;

/// What a key of a card is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Logging in.
    Authentication,
    /// Signing.
    Signing,
}

impl Purpose {
    /// Both.
    pub const ALL: [Purpose; 2] = [Purpose::Authentication, Purpose::Signing];

    /// The label of the key in use, and of its certificate.
    pub fn label(self) -> &'static str {
        match self {
            Purpose::Authentication => "authentication",
            Purpose::Signing => "signing",
        }
    }

    /// The label of a key whose certificate is not confirmed yet.
    pub fn next_label(self) -> &'static str {
        match self {
            Purpose::Authentication => "authentication-next",
            Purpose::Signing => "signing-next",
        }
    }

    fn of_label(label: &str) -> Option<(Self, bool)> {
        Purpose::ALL.into_iter().find_map(|purpose| match label {
            label if label == purpose.label() => Some((purpose, false)),
            label if label == purpose.next_label() => Some((purpose, true)),
            _ => None,
        })
    }
}

/// One thing for each purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<T> {
    /// For logging in.
    pub authentication: T,
    /// For signing.
    pub signing: T,
}

impl<T> Pair<T> {
    /// Makes both.
    ///
    /// # Errors
    /// The first that `make` gives.
    pub fn try_new<E>(mut make: impl FnMut(Purpose) -> Result<T, E>) -> Result<Self, E> {
        Ok(Pair { authentication: make(Purpose::Authentication)?, signing: make(Purpose::Signing)? })
    }

    /// The one for this purpose.
    pub fn get(&self, purpose: Purpose) -> &T {
        match purpose {
            Purpose::Authentication => &self.authentication,
            Purpose::Signing => &self.signing,
        }
    }
}

/// A key on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyView {
    /// What it is for, as its label says.
    pub purpose: Option<Purpose>,
    /// Whether it waits for its certificate to be confirmed.
    pub next: bool,
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID, in hex.
    pub id: String,
    /// Its kind and size.
    pub key_type: String,
}

/// A certificate on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateOnCard {
    /// What its key is for; none when there is no key with its id.
    pub purpose: Option<Purpose>,
    /// Whether its key waits for it to be confirmed.
    pub next: bool,
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID, in hex.
    pub id: String,
    /// The subject; or why the certificate cannot be read.
    pub subject: String,
    /// The holder's user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Its serial number, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// notBefore (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// notAfter (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// The certificate, DER.
    pub certificate: api::Base64,
}

/// What is on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CardDescription {
    /// The token's label.
    pub label: String,
    /// The chip's serial number.
    pub serial: String,
    /// The product series: the chip's model, or who made it.
    pub series: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its keys.
    pub keys: Vec<KeyView>,
    /// Its certificates.
    pub certificates: Vec<CertificateOnCard>,
    /// Whether an issuance on it was interrupted.
    pub unfinished: bool,
}

/// A card that is open: its passcode was given.
#[derive(Clone)]
pub struct Card {
    token: Arc<Token>,
}

impl Card {
    /// Opens a card. A wrong passcode is tried once.
    ///
    /// # Errors
    /// When the card is not there, is open already, or refuses the passcode.
    pub fn open(module: &Arc<Module>, selector: &TokenSelector, passcode: Pin) -> Result<Self, Error> {
        Ok(Card { token: Token::open(module, selector, passcode, OPTIONS)? })
    }

    /// Runs something that blocks on a thread of its own.
    ///
    /// # Errors
    /// What `job` gives; [`Error::Thread`] when it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Card) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let card = self.clone();
        tokio::task::spawn_blocking(move || job(&card)).await.map_err(|error| Error::Thread(error.to_string()))?
    }

    /// The chip's serial number.
    pub fn serial(&self) -> &str {
        &self.token.description().serial
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        self.token.label()
    }

    /// The product series: the chip's model, or who made it.
    pub fn series(&self) -> &str {
        let token = self.token.description();
        if token.model.is_empty() { &token.manufacturer } else { &token.model }
    }

    /// Logs out and closes the card, for all its clones and keys.
    pub fn close(&self) {
        self.token.close();
    }

    /// What is on it.
    ///
    /// # Errors
    /// When the card does not answer.
    pub fn describe(&self) -> Result<CardDescription, Error> {
        let keys = self.token.keys()?;
        let certificates = self.token.read_certificates()?;
        let purpose_of = |id: &[u8]| {
            let key = keys.iter().find(|key| key.id() == id)?;
            Purpose::of_label(key.label())
        };
        let views = keys.iter().map(|key| {
            let purpose = Purpose::of_label(key.label());
            KeyView {
                purpose: purpose.map(|(purpose, _)| purpose),
                next: purpose.is_some_and(|(_, next)| next),
                label: key.label().to_owned(),
                id: HEXLOWER.encode(key.id()),
                key_type: key.key_type().to_string(),
            }
        });
        let keys_on_card: Vec<KeyView> = views.collect();
        let certificates = certificates.into_iter().map(|found| {
            let purpose = purpose_of(&found.id);
            let parsed = ParsedCertificate::from_der(&found.der);
            let subject = match &parsed {
                Ok(certificate) => certificate.subject().map_or_else(|error| error.to_string(), ToString::to_string),
                Err(error) => error.to_string(),
            };
            let parsed = parsed.as_ref().ok();
            CertificateOnCard {
                purpose: purpose.map(|(purpose, _)| purpose),
                next: purpose.is_some_and(|(_, next)| next),
                label: found.label,
                id: HEXLOWER.encode(&found.id),
                subject,
                user_id: parsed.and_then(ParsedCertificate::user_id).map(str::to_owned),
                serial: parsed.map(|certificate| certificate.serial().to_string()),
                not_before: parsed.map(|certificate| certificate.not_before().to_string()),
                not_after: parsed.map(|certificate| certificate.not_after().to_string()),
                certificate: found.der.into(),
            }
        });
        let token = self.token.description();
        Ok(CardDescription {
            label: token.label.clone(),
            serial: token.serial.clone(),
            series: self.series().to_owned(),
            manufacturer: token.manufacturer.clone(),
            certificates: certificates.collect(),
            unfinished: keys_on_card.iter().any(|key| key.next),
            keys: keys_on_card,
        })
    }

    /// Whether an issuance on it was interrupted: there are keys that wait for their certificates.
    ///
    /// # Errors
    /// When the card does not answer.
    pub fn is_unfinished(&self) -> Result<bool, Error> {
        Ok(self.token.keys()?.iter().any(|key| matches!(Purpose::of_label(key.label()), Some((_, true)))))
    }

    /// The key in use for this purpose, and its certificate. On a card that never had one in use, that is the new key, as
    /// soon as it has a certificate: whether it is confirmed, the service knows.
    ///
    /// # Errors
    /// [`Error::CardEmpty`] when there is none.
    pub fn current(&self, purpose: Purpose) -> Result<(Key, Vec<u8>), Error> {
        let empty = |what: &str| Error::CardEmpty {
            card: self.serial().to_owned(),
            what: format!("{} {what}", purpose.label()),
        };
        let key = match self.token.find_key(purpose.label())? {
            Some(key) => key,
            None => self.token.find_key(purpose.next_label())?.ok_or_else(|| empty("key"))?,
        };
        let certificates = self.token.read_certificates()?;
        let certificate = certificates.into_iter().find(|certificate| certificate.id == key.id());
        Ok((key, certificate.ok_or_else(|| empty("certificate"))?.der))
    }

    /// The key that waits for this purpose, and its certificate, where there are both: after an interruption it may be
    /// the one that is good.
    ///
    /// # Errors
    /// When the card does not answer.
    pub fn waiting(&self, purpose: Purpose) -> Result<Option<(Key, Vec<u8>)>, Error> {
        let Some(key) = self.token.find_key(purpose.next_label())? else { return Ok(None) };
        let certificate = self.token.read_certificates()?.into_iter().find(|certificate| certificate.id == key.id());
        Ok(certificate.map(|certificate| (key, certificate.der)))
    }

    /// Whether every key that waits has a certificate already. If one has none, the pair was never confirmed: that takes
    /// both certificates, read back from the card.
    ///
    /// # Errors
    /// When the card does not answer.
    pub fn may_be_confirmed(&self) -> Result<bool, Error> {
        let certificates = self.token.read_certificates()?;
        let keys = self.token.keys()?;
        let mut waiting = keys.iter().filter(|key| matches!(Purpose::of_label(key.label()), Some((_, true))));
        Ok(waiting.all(|key| certificates.iter().any(|certificate| certificate.id == key.id())))
    }

    /// Makes the next pair of keys.
    ///
    /// # Errors
    /// When the card does not.
    pub fn generate_next(&self, key_type: KeyType) -> Result<Pair<Key>, Error> {
        Pair::try_new(|purpose| {
            let mut id = [0; ID_OCTETS];
            SystemRandom::new().fill(&mut id).map_err(|_| Error::Random)?;
            Ok(self.token.generate_key_pair(purpose.next_label(), &id, key_type)?)
        })
    }

    /// The keys on the card that these certificates are for; `None` when one of them is not there.
    ///
    /// # Errors
    /// When a certificate cannot be read, or the card does not answer.
    pub fn keys_of(&self, certificates: &Pair<Vec<u8>>) -> Result<Option<Pair<Key>>, Error> {
        let keys = self.token.keys()?;
        let find = |purpose: Purpose| -> Result<Option<Key>, Error> {
            let wanted = self.public_key(purpose, certificates.get(purpose))?;
            match keys.iter().find(|key| *key.public_key() == wanted) {
                Some(key) => Ok(self.token.find_key_by_id(key.id())?),
                None => Ok(None),
            }
        };
        let pair = Pair::try_new(find)?;
        Ok(match pair {
            Pair { authentication: Some(authentication), signing: Some(signing) } => {
                Some(Pair { authentication, signing })
            }
            _ => None,
        })
    }

    fn public_key(&self, purpose: Purpose, certificate: &[u8]) -> Result<PublicKey, Error> {
        let parsed = ParsedCertificate::from_der(certificate).map_err(|error| Error::Certificate {
            card: self.serial().to_owned(),
            purpose: purpose.label(),
            reason: error.to_string(),
        })?;
        Ok(parsed.public_key().clone())
    }

    /// Writes the certificate of a key.
    ///
    /// # Errors
    /// When it is for another key, or the card does not take it.
    pub fn write_certificate(&self, purpose: Purpose, key: &Key, certificate: &[u8]) -> Result<(), Error> {
        if self.public_key(purpose, certificate)? != *key.public_key() {
            return Err(Error::Certificate {
                card: self.serial().to_owned(),
                purpose: purpose.label(),
                reason: "it is for another key".into(),
            });
        }
        Ok(self.token.write_certificate(purpose.label(), key.id(), certificate)?)
    }

    /// Reads the certificates of both keys back, and compares them with what was written.
    ///
    /// # Errors
    /// [`Error::ReadBack`] when they differ.
    pub fn read_back(&self, keys: &Pair<Key>, written: &Pair<Vec<u8>>) -> Result<Pair<Vec<u8>>, Error> {
        let mut on_card = self.token.read_certificates()?;
        Pair::try_new(|purpose| {
            let place = on_card.iter().position(|certificate| certificate.id == keys.get(purpose).id());
            match place.map(|place| on_card.swap_remove(place).der) {
                Some(read) if read == *written.get(purpose) => Ok(read),
                _ => Err(Error::ReadBack { card: self.serial().to_owned(), purpose: purpose.label() }),
            }
        })
    }

    /// Puts these certificates and their keys into their places, and deletes all earlier and unfinished ones. It can be
    /// interrupted and made again.
    ///
    /// # Errors
    /// [`Error::CardEmpty`] when the keys are not on the card, before anything is deleted.
    pub fn settle(&self, current: &Pair<Vec<u8>>) -> Result<(), Error> {
        let Some(keys) = self.keys_of(current)? else {
            let what = "keys for the certificates that are good at the service".to_owned();
            return Err(Error::CardEmpty { card: self.serial().to_owned(), what });
        };
        for purpose in Purpose::ALL {
            self.write_certificate(purpose, keys.get(purpose), current.get(purpose))?;
        }
        let keep = Purpose::ALL.map(|purpose| keys.get(purpose).id());
        self.delete(|_, id| !keep.contains(&id))?;
        for purpose in Purpose::ALL {
            let key = keys.get(purpose);
            if key.label() != purpose.label() {
                self.token.rename_key(key.id(), purpose.label())?;
            }
        }
        Ok(())
    }

    /// Deletes the keys that wait for their certificates, with those certificates.
    ///
    /// # Errors
    /// When the card does not answer.
    pub fn discard_next(&self) -> Result<(), Error> {
        self.delete(|next, _| next)
    }

    /// Deletes keys that have one of the labels above, with their certificates; others are not ours. It is chosen by
    /// whether they wait for a certificate, and by their id.
    fn delete(&self, chosen: impl Fn(bool, &[u8]) -> bool) -> Result<(), Error> {
        for key in &self.token.keys()? {
            if let Some((_, next)) = Purpose::of_label(key.label())
                && chosen(next, key.id())
            {
                // The certificate first: one without a key would be found by nobody later.
                self.token.delete_certificate(key.id())?;
                self.token.destroy_key(key.id())?;
            }
        }
        Ok(())
    }

    /// A certification request (PKCS#10) for a key of this card, signed by it, DER. It has no subject: names come from the
    /// registry.
    ///
    /// # Errors
    /// When the card does not sign.
    pub fn request(&self, key: &Key) -> Result<Vec<u8>, Error> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        let signer = RequestKey { key, failure: Mutex::default() };
        match parameters.serialize_request(&signer) {
            Ok(request) => Ok(request.der().to_vec()),
            Err(error) => match signer.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(failure) => Err(failure.into()),
                None => Err(Error::Request(format!("no certification request: {error}"))),
            },
        }
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Card").field(&self.serial()).finish()
    }
}

/// A key as rcgen sees it.
struct RequestKey<'a> {
    key: &'a Key,
    /// What the card said, which rcgen's error has no room for.
    failure: Mutex<Option<hsm::Error>>,
}

impl PublicKeyData for RequestKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key().key_bits()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.key.key_type() {
            KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl rcgen::SigningKey for RequestKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|error| {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            rcgen::Error::RemoteKeyError
        })
    }
}
