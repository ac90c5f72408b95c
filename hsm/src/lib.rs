//! PKCS#11: modules, tokens, session pools and keys; and the [`Signer`] contract that the rooms above sign through.
//!
//! A [`Module`] is a vendor's library, loaded once per process. A [`Token`] is one of its tokens, logged in, with a
//! worker thread per session and a bounded queue before them. A [`Key`] is a private key in a token; it never leaves it
//! (conformance: K1). A smartcard is a token like any other, so what a card needs (certificates as objects, changing
//! the PIN, deleting keys) is here too. A [`KeyEncryptionKey`] encrypts the keys that are used outside of the token; a
//! [`PinFile`] is where a token's PIN is kept, and changed.
//!
//! Everything here blocks: callers on an async runtime bring their own thread. What certificates and requests look like
//! is the business of `pki`; which token holds which CA's key is that of the rooms above.

mod connection;
mod ecdsa;
mod error;
mod key;
mod key_making;
mod login;
mod memory;
mod module;
mod object;
mod pin;
mod pin_file;
mod public_key;
mod secret_key;
mod signer;
mod slot;
mod token;
mod worker;

pub use error::{Error, ReturnCode};
pub use key::{Key, KeyDescription};
pub use key_making::MadeKey;
pub use memory::MemoryKey;
pub use module::Module;
pub use object::TokenCertificate;
pub use pin::Pin;
pub use pin_file::{PinFile, PinSettlement, Pins};
pub use secret_key::KeyEncryptionKey;
pub use signer::Signer;
pub use slot::{SlotDescription, TokenSelector};
pub use token::{Token, TokenOptions};
