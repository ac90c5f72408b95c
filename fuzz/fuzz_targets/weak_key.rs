//! Keys as people hand them in, lists of known keys, and the judgement of any RSA modulus of a permitted size.
#![no_main]

use pki::PublicKey;
use pki::weak_key::{check, given::keys_in, list::KeyList};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match keys_in(bytes) {
        Ok(keys) => assert!(!keys.is_empty()),
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
    let list = KeyList::parse("list", bytes.to_vec());
    // What is here is the low end of a modulus: small ones are cheap, and odd ends reach every check.
    let mut modulus = [0; 256];
    modulus[0] = 0x80;
    let low = &bytes[..bytes.len().min(255)];
    modulus[256 - low.len()..].copy_from_slice(low);
    let Ok(key) = PublicKey::from_rsa(&modulus, &[1, 0, 1]) else { return };
    if let Err(weak) = check(&key) {
        assert!(weak.to_string().contains(weak.rule()));
    }
    if let Ok(list) = list {
        assert!(!list.is_empty());
        let _ = list.contains(&key);
    }
});
