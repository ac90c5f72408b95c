//! A CRL, as a relying system fetches it.
#![no_main]

use pki::crl::ParsedCrl;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(crl) = ParsedCrl::from_der(bytes, 1024 * 1024) else { return };
    assert_eq!(crl.entries().count(), crl.len());
    for entry in crl.entries() {
        assert_eq!(crl.entry(&entry.serial), Some(entry));
    }
});
