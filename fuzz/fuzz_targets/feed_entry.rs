//! An entry of the status feed, as a responder follows it.
#![no_main]

use pki::feed::StatusEntry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(entry) = StatusEntry::decode(bytes) else { return };
    assert_eq!(StatusEntry::decode(&entry.encode()), Ok(entry));
});
