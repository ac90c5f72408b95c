//! Tokens that fail: by a module that injects return codes (the crate `faulty-pkcs11`).

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{Home, OPTIONS, USER_PIN, faulty, isolated, new_token, open, open_new};
use hsm::{Error, Key, Pin, Signer, Token, TokenOptions};
use pki::KeyType;

fn sign_and_verify(key: &Key) {
    let signature = key.sign(b"message").unwrap();
    key.public_key().verify(key.algorithm(), b"message", &signature).unwrap();
}

/// Waits for what other threads do. If that does not come, whoever is held by the plan is let go, so that the test ends.
fn until(home: &Home, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > Duration::from_secs(20) {
            home.plan("");
            panic!("waited in vain");
        }
        thread::yield_now();
    }
}

#[test]
fn a_locked_pin_is_told_as_such_whether_by_flag_or_by_return_code() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "card");
        let attempt = || Token::open(&module, &selector, Pin::new(USER_PIN), OPTIONS).unwrap_err();
        home.plan("C_Login CKR_PIN_LOCKED");
        let error = attempt();
        assert!(matches!(error, Error::PinLocked { .. }), "{error}");

        let before = home.calls("C_Login");
        home.plan("C_GetTokenInfo USER_PIN_LOCKED");
        let error = attempt();
        assert!(matches!(error, Error::PinLocked { .. }), "{error}");
        assert_eq!(home.calls("C_Login"), before);
        assert!(module.slots().unwrap().iter().all(|slot| slot.user_pin_locked));
    });
}

// conformance: K4
#[test]
fn no_pin_is_tried_when_the_token_warns_of_the_last_try() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "card");
        let before = home.calls("C_Login");
        home.plan("C_GetTokenInfo USER_PIN_FINAL_TRY");
        let error = Token::open(&module, &selector, Pin::new(USER_PIN), OPTIONS).unwrap_err();
        assert!(matches!(error, Error::PinFinalTry { .. }), "{error}");
        assert_eq!(home.calls("C_Login"), before);
        home.plan("");
        open(&module, &selector);
    });
}

// conformance: K4
#[test]
fn a_pin_that_becomes_wrong_while_the_token_is_open_is_tried_once() {
    isolated(|home| {
        let token = open_new(&faulty());
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        let before = home.calls("C_Login");
        home.plan("C_SignInit CKR_DEVICE_REMOVED 1 close-sessions\nC_Login CKR_PIN_INCORRECT");
        let error = key.sign(b"message").unwrap_err();
        assert!(matches!(error, Error::PinIncorrect { .. }), "{error}");
        for _ in 0..5 {
            let error = key.sign(b"message").unwrap_err();
            assert!(matches!(error, Error::PinRefusedBefore { .. }), "{error}");
        }
        assert_eq!(home.calls("C_Login"), before + 1);
    });
}

#[test]
fn a_login_that_is_there_already_is_a_login() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "test");
        home.plan("C_Login CKR_USER_ALREADY_LOGGED_IN 1 after");
        let token = open(&module, &selector);
        sign_and_verify(&token.generate_key_pair("key", b"1", KeyType::P256).unwrap());
    });
}

#[test]
fn a_lost_session_or_device_is_opened_again_and_the_signature_made() {
    isolated(|home| {
        let token = open_new(&faulty());
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        for fault in [
            "C_SignInit CKR_SESSION_HANDLE_INVALID 1",
            "C_SignInit CKR_SESSION_CLOSED 1 close-sessions",
            "C_SignInit CKR_USER_NOT_LOGGED_IN 1 logout",
            "C_Sign CKR_DEVICE_ERROR 1",
            "C_Sign CKR_DEVICE_REMOVED 1 close-sessions",
            "C_Sign CKR_TOKEN_NOT_PRESENT 1 close-sessions",
            "C_SignInit CKR_KEY_HANDLE_INVALID 1",
            "C_SignInit CKR_OBJECT_HANDLE_INVALID 1",
            "C_Sign PASS 1\nC_Sign CKR_DEVICE_ERROR 1 after",
        ] {
            home.plan(fault);
            sign_and_verify(&key);
            // The other session finds out for itself.
            for _ in 0..4 {
                sign_and_verify(&key);
            }
        }
    });
}

#[test]
fn a_new_login_is_made_once_however_many_sessions_were_lost() {
    isolated(|home| {
        let token = open_new(&faulty());
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        let before = home.calls("C_Login");
        home.plan("C_SignInit CKR_DEVICE_REMOVED 1 close-sessions");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| sign_and_verify(&key));
            }
        });
        assert_eq!(home.calls("C_Login"), before + 1);
    });
}

#[test]
fn after_a_new_login_every_session_is_renewed_before_it_is_used() {
    isolated(|home| {
        let token = open_new(&faulty());
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        home.plan("C_SignInit CKR_DEVICE_REMOVED 1 close-sessions");
        sign_and_verify(&key);
        let before = home.calls("C_SignInit");
        // Each session fails once more. Were the closed one used, that would be its second failure in one operation.
        // While the first to come is held, the other has to take the next signature.
        home.plan("C_SignInit CKR_DEVICE_ERROR 1\nC_SignInit BLOCK 1\nC_SignInit CKR_DEVICE_ERROR 1");
        thread::scope(|scope| {
            scope.spawn(|| sign_and_verify(&key));
            until(home, || home.calls("C_SignInit") == before + 2);
            sign_and_verify(&key);
            home.plan("");
        });
    });
}

#[test]
fn a_token_that_stays_lost_is_an_error_that_names_the_call_until_it_is_back() {
    isolated(|home| {
        let token = open_new(&faulty());
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        home.plan("C_Sign CKR_DEVICE_REMOVED");
        let error = key.sign(b"message").unwrap_err();
        assert!(matches!(&error, Error::TokenLost { function, .. } if function == "C_Sign"), "{error}");
        assert!(error.to_string().contains("CKR_DEVICE_REMOVED") && error.to_string().contains("test"), "{error}");

        home.plan("C_Sign CKR_DEVICE_REMOVED 1 close-sessions\nC_GetSlotList EMPTY");
        for _ in 0..3 {
            let error = key.sign(b"message").unwrap_err();
            assert!(matches!(error, Error::TokenMissing { .. }), "{error}");
        }
        home.plan("");
        sign_and_verify(&key);
    });
}

#[test]
fn another_failure_is_not_tried_again_and_leaves_the_session_usable() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "test");
        let token =
            Token::open(&module, &selector, Pin::new(USER_PIN), TokenOptions { sessions: 1, queue: 1 }).unwrap();
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        let before = home.calls("C_Sign");
        home.plan("C_Sign CKR_FUNCTION_FAILED 1");
        let error = key.sign(b"message").unwrap_err();
        assert_eq!(error.to_string(), "token test: C_Sign failed with CKR_FUNCTION_FAILED");
        assert_eq!(error.return_code().unwrap().to_string(), "CKR_FUNCTION_FAILED");
        assert_eq!(home.calls("C_Sign"), before + 1);
        sign_and_verify(&key);
    });
}

#[test]
fn a_key_that_was_made_although_the_token_failed_is_not_left_behind() {
    isolated(|home| {
        let token = open_new(&faulty());
        home.plan("C_GenerateKeyPair CKR_DEVICE_ERROR 1 after");
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        assert_eq!(token.keys().unwrap().len(), 1);
        assert_eq!(token.find_key("key").unwrap().unwrap().public_key(), key.public_key());
        sign_and_verify(&key);
    });
}

#[test]
fn a_full_card_is_named() {
    isolated(|home| {
        let token = open_new(&faulty());
        home.plan("C_GenerateKeyPair CKR_DEVICE_MEMORY");
        let error = token.generate_key_pair("key", b"1", KeyType::P256).unwrap_err();
        assert!(error.to_string().contains("C_GenerateKeyPair failed with CKR_DEVICE_MEMORY"), "{error}");
    });
}

#[test]
fn a_full_queue_answers_busy_at_once_and_what_waits_is_still_done() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "test");
        let token =
            Token::open(&module, &selector, Pin::new(USER_PIN), TokenOptions { sessions: 1, queue: 2 }).unwrap();
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        home.plan("C_SignInit BLOCK");
        let before = home.calls("C_SignInit");
        thread::scope(|scope| {
            scope.spawn(|| sign_and_verify(&key));
            until(home, || home.calls("C_SignInit") == before + 1);
            scope.spawn(|| sign_and_verify(&key));
            scope.spawn(|| sign_and_verify(&key));
            until(home, || token.queued() == 2);
            let error = key.sign(b"message").unwrap_err();
            assert!(matches!(error, Error::Busy { queue: 2, .. }), "{error}");
            home.plan("");
        });
        assert_eq!(token.queued(), 0);
        sign_and_verify(&key);
    });
}

#[test]
fn closing_waits_for_what_was_asked_before() {
    isolated(|home| {
        let module = faulty();
        let selector = new_token(&module, "test");
        let token = open(&module, &selector);
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        home.plan("C_SignInit BLOCK");
        let before = home.calls("C_SignInit");
        thread::scope(|scope| {
            scope.spawn(|| sign_and_verify(&key));
            until(home, || home.calls("C_SignInit") == before + 1);
            scope.spawn(|| token.close());
            until(home, || matches!(token.generate_random(1), Err(Error::Closed { .. })));
            home.plan("");
        });
        open(&module, &selector);
    });
}

#[test]
fn a_token_that_cannot_be_initialised_to_the_end_says_which_call_failed() {
    isolated(|home| {
        let module = faulty();
        home.plan("C_InitPIN CKR_PIN_LEN_RANGE");
        let error = module.init_token("card", &Pin::new("12345678"), &Pin::new("1")).unwrap_err();
        assert_eq!(error.to_string(), "token card: C_InitPIN failed with CKR_PIN_LEN_RANGE");
    });
}
