//! A CRL, as a relying system fetches it: held, and as a stream that comes in small pieces. Both say the same.
#![no_main]

use std::io::Read;

use pki::crl::{CrlError, CrlLimits, CrlReader, ParsedCrl};

const LIMIT: usize = 1024 * 1024;

/// A few octets at a time, as many as the last ones say.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = 1 + usize::from(self.0.last().copied().unwrap_or(0) & 63);
        let count = buffer.len().min(wanted);
        self.0.read(&mut buffer[..count])
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let streamed = CrlReader::new(Pieces(bytes), CrlLimits::octets(LIMIT as u64)).and_then(CrlReader::finish);
    let crl = match ParsedCrl::from_der(bytes, LIMIT) {
        Ok(crl) => crl,
        // A stream notices two entries for one certificate only where they stand side by side.
        Err(CrlError::Duplicate(_)) => return,
        Err(error) => return assert_eq!(streamed.err(), Some(error)),
    };
    let streamed = streamed.expect("what can be held can be streamed");
    assert_eq!(crl.entries().count(), crl.len());
    assert_eq!((streamed.entries, streamed.octets), (crl.len() as u64, bytes.len() as u64));
    assert_eq!(streamed.fingerprint(), crl.description().fingerprint());
    for entry in crl.entries() {
        assert_eq!(crl.entry(&entry.serial), Some(entry));
    }
});
