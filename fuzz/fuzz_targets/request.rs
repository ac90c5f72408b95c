//! A certification request, as a station sends it: DER or PEM.
#![no_main]

use pki::PublicKey;
use pki::request::check_request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match check_request(bytes) {
        Ok(request) => {
            let key = request.public_key();
            assert_eq!(PublicKey::from_spki_der(key.spki_der()).as_ref(), Ok(key));
        }
        Err(refusal) => {
            assert!(!refusal.rule().is_empty());
            let _ = refusal.to_string();
        }
    }
});
