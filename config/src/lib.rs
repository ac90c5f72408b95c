//! The schema of the configuration files, and the files that ship.
//!
//! [`Config`] is the service's (`cardinal.toml`), [`StationConfig`] a station's (`station.toml`),
//! [`ResponderConfig`] that of an OCSP responder of its own (`ocsp-responder.toml`). What is written is read into raw types that refuse unknown keys; from these the checked types are made, so that a value that exists is a value
//! that fits. Every refusal names file, line, key and remedy ([`Error`]). [`Deployment`],
//! [`StationDeployment`] and [`ResponderDeployment`] write new files from the shipped ones.
//!
//! The certificate profiles and the policy are files of their own; `pki` and `ra` know what they mean.

mod authorities;
mod check;
mod document;
mod error;
mod limits;
mod log;
mod render;
mod responder;
mod schema;
mod service;
mod signer_keys;
mod station;
mod times;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use authorities::{CrlOnRevocation, IMPLIED_PROFILES, IssuingCa, RootCa};
pub use error::{Error, Place};
pub use limits::Limits;
pub use log::{Log, LogFormat, LogLevel};
pub use render::{Deployment, ResponderDeployment, StationDeployment};
pub use responder::{ResponderConfig, ResponderLimits, ResponderListen, ResponderTimes, SignerKeys, SignerPlace};
pub use service::{Config, Hsm, Listen, Service, Store, StoreBackend, Token};
pub use signer_keys::Ocsp;
pub use station::{CardSelector, Cards, StationConfig};
pub use times::{Reminders, Times};

/// The commented example of `cardinal.toml`: every key with its default.
pub const SHIPPED_CARDINAL_TOML: &str = include_str!("../cardinal.toml");
/// The commented example of `station.toml`.
pub const SHIPPED_STATION_TOML: &str = include_str!("../station.toml");
/// The commented example of `ocsp-responder.toml`.
pub const SHIPPED_RESPONDER_TOML: &str = include_str!("../ocsp-responder.toml");
/// The policy that ships: roles and operations.
pub const SHIPPED_POLICY_TOML: &str = include_str!("../policy.toml");
/// The certificate profiles that ship.
pub const SHIPPED_PROFILES_TOML: &str = include_str!("../profiles/profiles.toml");

/// Reads a file, and gives its absolute path, so that what is relative to it stays where it is when the process moves.
fn read(path: &Path, remedy: &str) -> Result<(PathBuf, String), Error> {
    let refuse = |source| Error::Read { file: path.to_owned(), source, remedy: remedy.to_owned() };
    let absolute = std::path::absolute(path).map_err(refuse)?;
    let text = std::fs::read_to_string(&absolute).map_err(refuse)?;
    Ok((absolute, text))
}
