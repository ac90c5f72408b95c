//! A profile file, as an operator edits it.
#![no_main]

use pki::profile::ProfileSet;

libfuzzer_sys::fuzz_target!(|text: &str| {
    match ProfileSet::load(text, "profiles.toml") {
        Ok(profiles) => {
            for profile in profiles.iter() {
                assert!(profiles.get(profile.name()).is_some());
            }
        }
        Err(error) => assert!(error.to_string().contains("profiles.toml")),
    }
});
