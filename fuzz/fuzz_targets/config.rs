//! The configuration files, as an operator edits them.
#![no_main]

use std::path::Path;

use config::{Config, Error, StationConfig};

fn check(refused: Option<Error>, text: &str) {
    let Some(error) = refused else { return };
    let message = error.to_string();
    assert!(message.contains("Remedy: "), "{message}");
    if let Some(place) = error.place() {
        assert!((1..=text.matches('\n').count() + 1).contains(&place.line), "{message}");
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    check(Config::parse(text, Path::new("/etc/cardinal.toml")).err(), text);
    check(StationConfig::parse(text, Path::new("/etc/station.toml")).err(), text);
});
