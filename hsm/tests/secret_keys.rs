//! Keys in a token that encrypt other keys, on SoftHSM.

mod common;

use common::{faulty, isolated, new_token, open, open_new, softhsm};
use hsm::Error;

const SECRET: [u8; 32] = [0x5a; 32];

#[test]
fn a_key_is_decrypted_by_the_token_that_encrypted_it_for_the_same_purpose_only() {
    isolated(|_| {
        let module = softhsm();
        let (one, other) = (open(&module, &new_token(&module, "one")), open(&module, &new_token(&module, "other")));
        let key = one.generate_key_encryption_key("data keys", b"data-keys").unwrap();
        let foreign = other.generate_key_encryption_key("data keys", b"data-keys").unwrap();
        let encrypted = key.encrypt(&SECRET, b"data key 1").unwrap();
        assert_eq!(encrypted.len(), 12 + SECRET.len() + 16);
        assert!(!encrypted.windows(8).any(|window| window == &SECRET[..8]));
        assert_eq!(key.decrypt(&encrypted, b"data key 1").unwrap().as_slice(), SECRET);
        assert_ne!(key.encrypt(&SECRET, b"data key 1").unwrap(), encrypted);

        let refused = |result: Result<_, Error>| assert!(matches!(result, Err(Error::SecretRefused { .. })));
        refused(key.decrypt(&encrypted, b"data key 2"));
        refused(foreign.decrypt(&encrypted, b"data key 1"));
        refused(key.decrypt(&encrypted[..27], b"data key 1"));
        for index in 0..encrypted.len() {
            let mut changed = encrypted.clone();
            changed[index] ^= 1;
            refused(key.decrypt(&changed, b"data key 1"));
        }
        // A refusal leaves the session usable.
        assert_eq!(key.decrypt(&encrypted, b"data key 1").unwrap().as_slice(), SECRET);
        for length in [0, 1025] {
            assert!(matches!(key.encrypt(&vec![0; length], b""), Err(Error::SecretLength { .. })));
        }
    });
}

#[test]
fn it_is_found_again_by_its_id_and_made_once() {
    isolated(|_| {
        let module = softhsm();
        let selector = new_token(&module, "test");
        let token = open(&module, &selector);
        assert!(token.find_key_encryption_key(b"data-keys").unwrap().is_none());
        let encrypted =
            token.generate_key_encryption_key("data keys", b"data-keys").unwrap().encrypt(&SECRET, b"").unwrap();
        for id in [&b"data-keys"[..], b""] {
            let error = token.generate_key_encryption_key("again", id).unwrap_err();
            assert!(matches!(error, Error::KeyIdInUse { .. }), "{error}");
        }
        token.close();
        let token = open(&module, &selector);
        let key = token.find_key_encryption_key(b"data-keys").unwrap().unwrap();
        assert_eq!((key.label(), key.id()), ("data keys", &b"data-keys"[..]));
        assert_eq!(key.decrypt(&encrypted, b"").unwrap().as_slice(), SECRET);
    });
}

// conformance: K1
#[test]
fn a_key_that_was_made_although_the_token_failed_is_not_left_behind() {
    isolated(|home| {
        let token = open_new(&faulty());
        home.plan("C_GetAttributeValue CKR_DEVICE_ERROR 1");
        let key = token.generate_key_encryption_key("data keys", b"data-keys").unwrap();
        let encrypted = key.encrypt(&SECRET, b"").unwrap();
        assert_eq!(key.decrypt(&encrypted, b"").unwrap().as_slice(), SECRET);
    });
}
