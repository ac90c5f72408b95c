//! What the shipped files promise, and what is refused.

mod refusals;
mod render;
mod shipped;

use std::path::Path;

use crate::{Config, Error, ResponderConfig, StationConfig};

fn cardinal(text: &str) -> Result<Config, Error> {
    Config::parse(text, Path::new("/etc/cardinal/cardinal.toml"))
}

fn station(text: &str) -> Result<StationConfig, Error> {
    StationConfig::parse(text, Path::new("/etc/cardinal/station.toml"))
}

fn responder(text: &str) -> Result<ResponderConfig, Error> {
    ResponderConfig::parse(text, Path::new("/etc/cardinal/ocsp-responder.toml"))
}

/// Fails unless the two configurations say the same.
fn assert_same(one: &Config, other: &Config) {
    assert_eq!(one.service, other.service);
    assert_eq!(one.listen, other.listen);
    assert_eq!(one.hsm, other.hsm);
    assert_eq!(one.store, other.store);
    assert_eq!(one.root_ca, other.root_ca);
    assert_eq!(one.issuing_cas, other.issuing_cas);
    assert_eq!(one.ocsp, other.ocsp);
    assert_eq!(one.times, other.times);
    assert_eq!(one.reminders, other.reminders);
    assert_eq!(one.limits, other.limits);
    assert_eq!(one.policy_file, other.policy_file);
    assert_eq!(one.profiles_file, other.profiles_file);
    assert_eq!(one.log, other.log);
}
