//! RFC types and rules: keys, names, profiles, certification requests, the building and reading of certificates, CRLs
//! and OCSP messages, and the status-feed format.
//!
//! Pure: no input or output, no async, no clock. `now` is an argument, randomness is an argument, and signatures are
//! made elsewhere: a builder here yields the bytes to be signed and takes the signature back.

pub mod certificate;
pub mod crl;
pub mod digest;
pub mod feed;
pub mod issuer;
pub mod key;
pub mod lint;
pub mod name;
pub mod ocsp;
mod oid;
pub mod pem;
pub mod profile;
pub mod reason;
pub mod request;
pub mod serial;
pub mod statement;
mod strict;
pub mod timestamp;
pub mod usage;
pub mod weak_key;

pub use issuer::IssuerDescription;
pub use key::{KeyType, PublicKey, SignatureAlgorithm};
pub use reason::CrlReason;
pub use serial::SerialNumber;
pub use timestamp::Timestamp;
pub use usage::KeyUsage;
