//! Modules, tokens and logins, on SoftHSM.

mod common;

use std::sync::Arc;

use common::{OPTIONS, SO_PIN, USER_PIN, faulty, isolated, new_token, open, open_new, softhsm};
use hsm::{Error, Module, Pin, Signer, Token, TokenSelector};
use pki::KeyType;

#[test]
fn a_wrong_module_path_is_named_with_the_remedy() {
    for path in ["/nonexistent/module.so", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let error = Module::load(path).unwrap_err();
        assert!(matches!(error, Error::ModuleLoad { .. }), "{error}");
        assert!(error.to_string().contains(path), "{error}");
        assert!(error.to_string().contains("softhsm2"), "{error}");
    }
}

#[test]
fn a_module_is_loaded_once_per_path() {
    isolated(|home| {
        let link = home.file("link.so");
        std::os::unix::fs::symlink(softhsm().path(), &link).unwrap();
        assert!(Arc::ptr_eq(&softhsm(), &softhsm()));
        assert!(Arc::ptr_eq(&softhsm(), &Module::load(link).unwrap()));
    });
}

#[test]
fn a_token_is_initialised_without_a_shell_tool_and_found_again_by_its_label() {
    isolated(|_| {
        let module = softhsm();
        let before = module.slots().unwrap();
        assert_eq!(before.iter().filter(|slot| slot.initialised).count(), 0);
        let root = new_token(&module, "root");
        let issuing = new_token(&module, "issuing");
        assert_eq!(root, TokenSelector::Label("root".into()));
        let slots = module.slots().unwrap();
        let found: Vec<_> = slots.iter().filter(|slot| slot.initialised).collect();
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|slot| !slot.serial.is_empty() && !slot.user_pin_locked && !slot.user_pin_final_try));

        let (root, issuing) = (open(&module, &root), open(&module, &issuing));
        assert_eq!((root.label(), issuing.label()), ("root", "issuing"));
        let serial = TokenSelector::Serial(root.description().serial.clone());
        root.close();
        assert_eq!(open(&module, &serial).label(), "root");
    });
}

#[test]
fn a_label_is_given_once() {
    isolated(|_| {
        let module = softhsm();
        new_token(&module, "root");
        let init = |label: &str| module.init_token(label, &Pin::new(SO_PIN), &Pin::new(USER_PIN)).unwrap_err();
        assert!(matches!(init("root"), Error::LabelInUse { label } if label == "root"));
        for label in ["", "ends in a space ", "0123456789abcdef0123456789abcdef0"] {
            assert!(matches!(init(label), Error::LabelInvalid { .. }), "{label:?}");
        }
        assert_eq!(module.slots().unwrap().iter().filter(|slot| slot.initialised).count(), 1);
    });
}

#[test]
fn a_missing_token_is_reported_with_the_labels_that_are_there() {
    isolated(|_| {
        let module = softhsm();
        let nothing = TokenSelector::Label("issuing".into());
        let error = Token::open(&module, &nothing, Pin::new(USER_PIN), OPTIONS).unwrap_err();
        assert!(error.to_string().contains("no initialised token"), "{error}");
        new_token(&module, "first");
        new_token(&module, "second");
        let error = Token::open(&module, &nothing, Pin::new(USER_PIN), OPTIONS).unwrap_err();
        let text = error.to_string();
        assert!(["\"issuing\"", "\"first\"", "\"second\""].iter().all(|label| text.contains(label)), "{text}");
        let Error::TokenMissing { mut labels, .. } = error else { panic!("{text}") };
        labels.sort();
        assert_eq!(labels, ["first", "second"]);
    });
}

#[test]
fn a_closed_token_needs_its_pin_again_and_its_keys_are_closed_with_it() {
    isolated(|_| {
        let module = softhsm();
        let selector = new_token(&module, "root");
        let token = open(&module, &selector);
        let key = token.generate_key_pair("root", b"1", KeyType::P384).unwrap();
        key.sign(b"message").unwrap();
        token.close();
        token.close();
        assert!(matches!(key.sign(b"message"), Err(Error::Closed { .. })));
        assert!(matches!(token.keys(), Err(Error::Closed { .. })));
        // Were the login still there, any PIN would do.
        let wrong = Token::open(&module, &selector, Pin::new("000000"), OPTIONS).unwrap_err();
        assert!(matches!(wrong, Error::PinIncorrect { .. }), "{wrong}");

        let again = open(&module, &selector);
        again.find_key("root").unwrap().unwrap().sign(b"message").unwrap();
    });
}

#[test]
fn dropping_the_last_reference_closes_the_token() {
    isolated(|_| {
        let module = softhsm();
        let selector = new_token(&module, "root");
        let token = open(&module, &selector);
        let key = token.generate_key_pair("root", b"1", KeyType::P256).unwrap();
        drop(token);
        key.sign(b"a key keeps its token open").unwrap();
        drop(key);
        let wrong = Token::open(&module, &selector, Pin::new("000000"), OPTIONS).unwrap_err();
        assert!(matches!(wrong, Error::PinIncorrect { .. }), "{wrong}");
    });
}

#[test]
fn a_token_that_is_open_is_not_opened_beside_it() {
    isolated(|_| {
        let module = softhsm();
        let selector = new_token(&module, "card");
        let _token = open(&module, &selector);
        // The login belongs to the process: this PIN would not even be looked at.
        let error = Token::open(&module, &selector, Pin::new("000000"), OPTIONS).unwrap_err();
        assert!(matches!(error, Error::AlreadyOpen { .. }), "{error}");
    });
}

// conformance: K4
#[test]
fn a_wrong_pin_is_tried_once_and_never_again() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "card");
        let before = home.calls("C_Login");
        let attempt = || Token::open(&module, &selector, Pin::new("000000"), OPTIONS).unwrap_err();
        let first = attempt();
        assert!(matches!(first, Error::PinIncorrect { .. }), "{first}");
        for _ in 0..5 {
            let later = attempt();
            assert!(matches!(later, Error::PinRefusedBefore { .. }), "{later}");
            assert!(!later.to_string().contains("000000") && !format!("{later:?}").contains("000000"));
        }
        assert_eq!(home.calls("C_Login"), before + 1);
        open(&module, &selector).generate_random(1).unwrap();
        assert_eq!(home.calls("C_Login"), before + 2);
    });
}

#[test]
fn all_sessions_share_one_login() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "test");
        let before = home.calls("C_Login");
        let token = open(&module, &selector);
        token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        assert_eq!(home.calls("C_Login"), before + 1);
    });
}

// conformance: K4
#[test]
fn the_pin_is_changed_without_a_restart() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "card");
        let token = open(&module, &selector);
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        let (old, new) = (Pin::new(USER_PIN), Pin::new("111222"));

        assert!(matches!(token.change_pin(&Pin::new("000000"), &new), Err(Error::OldPinDiffers { .. })));
        assert_eq!(home.calls("C_SetPIN"), 0);
        token.change_pin(&old, &new).unwrap();
        key.sign(b"message").unwrap();
        // A login that is lost is renewed with the new PIN.
        home.plan("C_SignInit CKR_USER_NOT_LOGGED_IN 1 logout");
        key.sign(b"message").unwrap();

        token.close();
        let stale = Token::open(&module, &selector, old, OPTIONS).unwrap_err();
        assert!(matches!(stale, Error::PinIncorrect { .. }), "{stale}");
        Token::open(&module, &selector, new, OPTIONS).unwrap();
    });
}

#[test]
fn a_pin_that_was_refused_may_become_the_right_one() {
    isolated(|_| {
        let module = softhsm();
        let selector = new_token(&module, "card");
        let later = Pin::new("111222");
        assert!(Token::open(&module, &selector, later.clone(), OPTIONS).is_err());
        let token = open(&module, &selector);
        token.change_pin(&Pin::new(USER_PIN), &later).unwrap();
        token.close();
        Token::open(&module, &selector, later, OPTIONS).unwrap();
    });
}

#[test]
fn random_octets_come_from_the_token() {
    isolated(|_| {
        let token = open_new(&softhsm());
        let (one, other) = (token.generate_random(32).unwrap(), token.generate_random(32).unwrap());
        assert_eq!((one.len(), other.len()), (32, 32));
        assert_ne!(one, other);
    });
}
