//! What can go wrong, with the values in it, and what the reader can do about it.

use std::fmt;
use std::path::PathBuf;

use cryptoki::error::RvError;
use pki::KeyType;
use pki::key::KeyError;

use crate::TokenSelector;

/// A PKCS#11 return code. Shown by the standard's name, `CKR_…` (PKCS#11 v3.0, 3.6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReturnCode(pub(crate) RvError);

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            RvError::VendorDefined(code) => write!(f, "CKR_VENDOR_DEFINED ({code:#010x})"),
            RvError::UnknownErrorCode(code) => write!(f, "CKR {code:#010x}"),
            // cryptoki names its variants after the standard's constants: PinLocked is CKR_PIN_LOCKED.
            named => {
                f.write_str("CKR")?;
                for character in format!("{named:?}").chars() {
                    if character.is_ascii_uppercase() {
                        f.write_str("_")?;
                    }
                    write!(f, "{}", character.to_ascii_uppercase())?;
                }
                Ok(())
            }
        }
    }
}

impl ReturnCode {
    /// Whether it says that the data, here a ciphertext with its tag, is not what the key expects.
    pub(crate) fn is_about_data(self) -> bool {
        matches!(
            self.0,
            RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::DataInvalid
                | RvError::DataLenRange
                | RvError::GeneralError
                | RvError::FunctionFailed
        )
    }
}

impl fmt::Debug for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a token did not do what was asked. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library is not there, or is no PKCS#11 module.
    #[error(
        "the PKCS#11 module {} cannot be loaded: {reason}. Install it (SoftHSM on Debian: apt-get install softhsm2), \
         or set the path of the module that is there", path.display()
    )]
    ModuleLoad {
        /// The path as it was given.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// A PKCS#11 function failed.
    #[error("token {token}: {function} failed with {code}")]
    Pkcs11 {
        /// The token's label, or the module's path.
        token: String,
        /// The function, as `C_Sign`.
        function: String,
        /// What it returned.
        code: ReturnCode,
    },
    /// The token was lost, opened again, and failed once more.
    #[error(
        "token {token} is lost: {function} failed with {code}, and again after a new session and login. Check that it \
         is in its place and powered"
    )]
    TokenLost {
        /// The token's label.
        token: String,
        /// The function that failed last.
        function: String,
        /// What it returned.
        code: ReturnCode,
    },
    /// The module answered with something that the standard does not allow.
    #[error("token {token}: the module's answer cannot be used: {reason}")]
    Module {
        /// The token's label, or the module's path.
        token: String,
        /// What was wrong with it.
        reason: String,
    },
    /// No token matches.
    #[error("there is no token with {selector}; {}. Insert or initialise it, or correct the name", present(labels))]
    TokenMissing {
        /// What was looked for.
        selector: TokenSelector,
        /// The labels of the tokens that are there.
        labels: Vec<String>,
    },
    /// More than one token matches.
    #[error("{count} tokens have {selector}: choose one by its serial number")]
    TokenAmbiguous {
        /// What was looked for.
        selector: TokenSelector,
        /// How many there are.
        count: usize,
    },
    /// A login belongs to the process: whoever opens a token twice would get in without the PIN, and closing one would
    /// log the other out.
    #[error("token {token} is open in this process already: share that one, or close it first")]
    AlreadyOpen {
        /// The token's label.
        token: String,
    },
    /// A new token's label is taken.
    #[error("a token with the label {label:?} is there already: choose another label")]
    LabelInUse {
        /// The label.
        label: String,
    },
    /// A label has 1 to 32 octets and does not end in a space (PKCS#11 v3.0, 5.5.7).
    #[error("{label:?} cannot be a token's label: it takes 1 to 32 octets and does not end in a space")]
    LabelInvalid {
        /// The label.
        label: String,
    },
    /// Every token is initialised.
    #[error(
        "module {module} has no token that is not initialised; {}. Insert a blank one, or free a slot",
        present(labels)
    )]
    NoFreeSlot {
        /// The module's path.
        module: String,
        /// The labels of the tokens that are there.
        labels: Vec<String>,
    },
    /// The file cannot serve as a PIN file.
    #[error("the PIN file {} is refused: {reason}", path.display())]
    PinFile {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The token refused the PIN. It was tried once.
    #[error("token {token} refused the PIN. It was tried once and will not be tried again; correct it and start again")]
    PinIncorrect {
        /// The token's label.
        token: String,
    },
    /// This PIN was refused before, so the token was not asked again (conformance: K4).
    #[error(
        "token {token} refused this PIN before, so it is not tried again: that might lock the token. Correct the PIN; \
         if it is right by now, restart the process"
    )]
    PinRefusedBefore {
        /// The token's label.
        token: String,
    },
    /// Too many wrong PINs: the token takes no more.
    #[error("the PIN of token {token} is locked: its security officer has to set a new one")]
    PinLocked {
        /// The token's label.
        token: String,
    },
    /// One more wrong PIN would lock the token, so none is tried (conformance: K4).
    #[error(
        "token {token} warns that one more wrong PIN locks it, so none is tried: log in once with another tool, and \
         start again"
    )]
    PinFinalTry {
        /// The token's label.
        token: String,
    },
    /// A change of the PIN was interrupted, so that it may be either of two; and the token warns of failed tries already
    /// (CKF_USER_PIN_COUNT_LOW), so neither is tried (conformance: K4).
    #[error(
        "a change of the PIN of token {token} was interrupted, so it may be the one in its PIN file or the one in the \
         file .next beside it; and the token warns of a failed login, so neither is tried. Log in once with another \
         tool by the right one, which ends the warning, leave that one in the PIN file, delete the other, and start again"
    )]
    PinCountLow {
        /// The token's label.
        token: String,
    },
    /// A change of the PIN was interrupted, and the token refused both PINs. Each was tried once.
    #[error(
        "token {token} refused the PIN in its PIN file and the one in the file .next beside it. Each was tried once and \
         will not be tried again; put the right one in the PIN file, delete the other, and start again"
    )]
    BothPinsIncorrect {
        /// The token's label.
        token: String,
    },
    /// The token failed while it changed its PIN, so that it may be the old or the new one.
    #[error(
        "whether token {token} changed its PIN is not known: {reason}. Both PIN files are kept; do the change again, or \
         restart: then each of the two is tried at most once"
    )]
    PinChangeUnknown {
        /// The token's label.
        token: String,
        /// What failed.
        reason: String,
    },
    /// The old PIN is not that which the token was opened with, so the token was not asked.
    #[error("token {token}: the old PIN is not the one in use, so the PIN was not changed")]
    OldPinDiffers {
        /// The token's label.
        token: String,
    },
    /// Every session is at work and the queue is full.
    #[error("token {token} is busy: {queue} operations wait already. Try again later")]
    Busy {
        /// The token's label.
        token: String,
        /// How many may wait.
        queue: usize,
    },
    /// The token was closed.
    #[error("token {token} is closed")]
    Closed {
        /// The token's label.
        token: String,
    },
    /// A worker thread could not be started.
    #[error("token {token}: no thread for a session: {reason}")]
    Thread {
        /// The token's label.
        token: String,
        /// What the system said.
        reason: String,
    },
    /// There is no such key.
    #[error("token {token} has no private key with {key}")]
    KeyMissing {
        /// The token's label.
        token: String,
        /// Its id or label.
        key: String,
    },
    /// More than one key matches.
    #[error("token {token} has {count} private keys with {key}: choose one by its id")]
    KeyAmbiguous {
        /// The token's label.
        token: String,
        /// The label, or the id, that they share.
        key: String,
        /// How many there are.
        count: usize,
    },
    /// A key or certificate needs an id that no other key has.
    #[error("token {token} has a key with the id {id} already, or the id is empty: choose another")]
    KeyIdInUse {
        /// The token's label.
        token: String,
        /// The id in hexadecimal.
        id: String,
    },
    /// The key is there but cannot be used here.
    #[error("token {token}: the key with {key} cannot be used: {reason}")]
    KeyUnusable {
        /// The token's label.
        token: String,
        /// Its id or label.
        key: String,
        /// Why.
        reason: String,
    },
    /// The token made a key which is not protected as it must be; it was destroyed again (conformance: K1).
    #[error("token {token} made a {key_type} key whose {attribute} is not {expected}; the key was destroyed")]
    KeyUnprotected {
        /// The token's label.
        token: String,
        /// What was asked for.
        key_type: KeyType,
        /// The attribute, as `CKA_EXTRACTABLE`.
        attribute: &'static str,
        /// What it must be.
        expected: bool,
    },
    /// The token made a secret key which is not protected as it must be; it was destroyed again (conformance: K1).
    #[error("token {token} made an AES key whose {attribute} is not {expected}; the key was destroyed")]
    SecretKeyUnprotected {
        /// The token's label.
        token: String,
        /// The attribute, as `CKA_EXTRACTABLE`.
        attribute: &'static str,
        /// What it must be.
        expected: bool,
    },
    /// What was to be decrypted was encrypted with another key or for another purpose, or was changed.
    #[error(
        "token {token}: what was encrypted with the key {label:?} cannot be decrypted with it: this is another token \
         than that which encrypted it, or it was changed"
    )]
    SecretRefused {
        /// The token's label.
        token: String,
        /// The key's label.
        label: String,
    },
    /// What is to be encrypted by a key in the token is empty or too long.
    #[error("a key in a token encrypts 1 to {limit} octets, not {actual}")]
    SecretLength {
        /// How many there are.
        actual: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A certificate is not DER.
    #[error("token {token}: this is not a DER certificate (RFC 5280 4.1), so it is not written")]
    Certificate {
        /// The token's label.
        token: String,
    },
    /// The digest has not the length of the key's hash function.
    #[error("a {key_type} key signs a digest of {expected} octets, not {actual}")]
    DigestLength {
        /// The key's type.
        key_type: KeyType,
        /// The length that fits.
        expected: usize,
        /// The length that was given.
        actual: usize,
    },
    /// The public key breaks a rule of certification.
    #[error(transparent)]
    PublicKey(#[from] KeyError),
    /// A key in memory could not be made or read.
    #[error("the private key is not a P-256, P-384 or RSA key in PKCS#8 form (RFC 5958)")]
    MemoryKey,
    /// The operating system gave no random octets.
    #[error("the system's random number generator failed")]
    Random,
}

impl Error {
    /// The PKCS#11 return code, if this is one.
    pub fn return_code(&self) -> Option<ReturnCode> {
        match self {
            Error::Pkcs11 { code, .. } | Error::TokenLost { code, .. } => Some(*code),
            _ => None,
        }
    }
}

fn present(labels: &[String]) -> String {
    match labels {
        [] => "no initialised token is there".into(),
        labels => format!("there are {}", labels.iter().map(|l| format!("{l:?}")).collect::<Vec<_>>().join(", ")),
    }
}

/// A failure inside a job, before the token's name is put to it.
#[derive(Debug)]
pub(crate) enum Fault {
    Cryptoki(cryptoki::error::Error),
    Error(Error),
}

impl From<cryptoki::error::Error> for Fault {
    fn from(error: cryptoki::error::Error) -> Self {
        Fault::Cryptoki(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Error(error)
    }
}

impl Fault {
    pub(crate) fn code(&self) -> Option<RvError> {
        match self {
            Fault::Cryptoki(cryptoki::error::Error::Pkcs11(code, _)) => Some(*code),
            _ => None,
        }
    }

    pub(crate) fn named(self, token: &str) -> Error {
        match self {
            Fault::Error(error) => error,
            Fault::Cryptoki(error) => named(error, token),
        }
    }

    /// As [`Fault::named`], for a call that failed again after the token was opened anew.
    pub(crate) fn lost(self, token: &str) -> Error {
        match self.named(token) {
            Error::Pkcs11 { token, function, code } => Error::TokenLost { token, function, code },
            other => other,
        }
    }
}

pub(crate) fn named(error: cryptoki::error::Error, token: &str) -> Error {
    match error {
        cryptoki::error::Error::Pkcs11(code, function) => {
            Error::Pkcs11 { token: token.to_owned(), function: format!("C_{function:?}"), code: ReturnCode(code) }
        }
        other => Error::Module { token: token.to_owned(), reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn return_codes_have_the_names_of_the_standard() {
        for (code, name) in [
            (RvError::PinLocked, "CKR_PIN_LOCKED"),
            (RvError::SessionReadWriteSoExists, "CKR_SESSION_READ_WRITE_SO_EXISTS"),
            (RvError::RandomNoRng, "CKR_RANDOM_NO_RNG"),
            (RvError::UserNotLoggedIn, "CKR_USER_NOT_LOGGED_IN"),
            (RvError::VendorDefined(0x8000_0012), "CKR_VENDOR_DEFINED (0x80000012)"),
        ] {
            assert_eq!(ReturnCode(code).to_string(), name);
        }
    }
}
