//! A backup, as somebody brings it back.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = store::verify_backup(&mut &bytes[..]) {
        drop(error.to_string());
    }
});
