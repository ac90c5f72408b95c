//! PEM, as people paste it.
#![no_main]

use pki::pem;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pem::decode_certificates(bytes);
    let Ok(blocks) = pem::decode_all(bytes) else { return };
    for block in blocks {
        let text = pem::encode(&block.label, &block.der);
        let again = pem::decode_all(text.as_bytes()).expect("what was written can be read");
        assert_eq!(again.len(), 1);
        assert_eq!((&again[0].label, &again[0].der), (&block.label, &block.der));
    }
});
