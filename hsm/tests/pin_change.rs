//! A PIN that is changed, and what is found when that was interrupted: on SoftHSM, by the module that injects faults.
// conformance: K4

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use common::{Home, OPTIONS, USER_PIN, faulty, isolated, new_token};
use hsm::{Error, Module, Pin, PinFile, PinSettlement, Pins, Token, TokenSelector};
use pki::KeyType;

const NEW_PIN: &str = "5550123";

struct Site {
    module: Arc<Module>,
    selector: TokenSelector,
    file: PinFile,
}

/// A new token, and its PIN file.
fn site(home: &Home) -> Site {
    let module = faulty();
    let selector = new_token(&module, "card");
    let path = home.file("ca.pin");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    file.write_all(USER_PIN.as_bytes()).unwrap();
    Site { module, selector, file: PinFile::new(path) }
}

impl Site {
    fn open(&self) -> Result<(Arc<Token>, PinSettlement), Error> {
        self.file.open_token(&self.module, &self.selector, OPTIONS)
    }
}

fn is_usable(token: &Arc<Token>) {
    assert_eq!(token.generate_random(8).unwrap().len(), 8);
}

#[test]
fn a_change_that_was_interrupted_before_the_token_is_forgotten() {
    isolated(|home| {
        let site = site(home);
        site.file.write_next(&Pin::new(NEW_PIN)).unwrap();
        let before = home.calls("C_Login");
        let (token, settlement) = site.open().unwrap();
        assert_eq!(settlement, PinSettlement::NextDropped);
        is_usable(&token);
        assert_eq!(site.file.read().unwrap(), Pins::from(Pin::new(USER_PIN)));
        assert_eq!(home.calls("C_Login"), before + 1);
    });
}

#[test]
fn a_change_that_reached_the_token_is_completed_and_each_pin_tried_once() {
    isolated(|home| {
        let site = site(home);
        let (token, settlement) = site.open().unwrap();
        assert_eq!(settlement, PinSettlement::Unchanged);
        let new = site.file.write_next(&Pin::new(NEW_PIN)).unwrap();
        token.change_pin(&Pin::new(USER_PIN), &new).unwrap();
        // The process dies here: the files still say that the change is under way.
        token.close();

        let before = home.calls("C_Login");
        let (token, settlement) = site.open().unwrap();
        assert_eq!(settlement, PinSettlement::NextTaken);
        is_usable(&token);
        assert_eq!(home.calls("C_Login"), before + 2);
        assert_eq!(site.file.read().unwrap(), Pins::from(Pin::new(NEW_PIN)));
        token.close();
        assert_eq!(site.open().unwrap().1, PinSettlement::Unchanged);
    });
}

#[test]
fn neither_pin_is_tried_while_the_token_warns_of_failed_tries() {
    isolated(|home| {
        let site = site(home);
        site.file.write_next(&Pin::new(NEW_PIN)).unwrap();
        let before = home.calls("C_Login");
        home.plan("C_GetTokenInfo USER_PIN_COUNT_LOW");
        let error = site.open().unwrap_err();
        assert!(matches!(error, Error::PinCountLow { .. }), "{error}");
        assert_eq!(home.calls("C_Login"), before);
        assert_eq!(site.file.read().unwrap().next, Some(Pin::new(NEW_PIN)));
        home.plan("");
        site.open().unwrap();
    });
}

#[test]
fn the_second_pin_is_not_tried_when_one_more_would_lock_the_token() {
    isolated(|home| {
        let site = site(home);
        site.file.write_next(&Pin::new(NEW_PIN)).unwrap();
        let before = home.calls("C_Login");
        // The token's flags are read when it is listed, when it is looked for, before both PINs, before the first, and
        // before the second.
        let passes = 2 * site.module.slots().unwrap().len() + 2;
        home.plan(&format!(
            "C_Login CKR_PIN_INCORRECT\nC_GetTokenInfo PASS {passes}\nC_GetTokenInfo USER_PIN_FINAL_TRY"
        ));
        let error = site.open().unwrap_err();
        assert!(matches!(error, Error::PinFinalTry { .. }), "{error}");
        assert_eq!(home.calls("C_Login"), before + 1);
    });
}

#[test]
fn two_pins_that_are_both_refused_are_tried_once_each_and_kept() {
    isolated(|home| {
        let site = site(home);
        let (token, _) = site.open().unwrap();
        token.change_pin(&Pin::new(USER_PIN), &Pin::new("777888999")).unwrap();
        token.close();
        site.file.write_next(&Pin::new(NEW_PIN)).unwrap();
        let before = home.calls("C_Login");
        let error = site.open().unwrap_err();
        assert!(matches!(error, Error::BothPinsIncorrect { .. }), "{error}");
        assert_eq!(home.calls("C_Login"), before + 2);
        // The token warns now; without the warning they would count as refused before.
        let error = site.open().unwrap_err();
        assert!(matches!(error, Error::PinCountLow { .. } | Error::BothPinsIncorrect { .. }), "{error}");
        assert_eq!(home.calls("C_Login"), before + 2);
        assert_eq!(site.file.read().unwrap().next, Some(Pin::new(NEW_PIN)));
    });
}

#[test]
fn a_change_that_failed_but_was_done_is_found_out_by_the_next_login() {
    isolated(|home| {
        let site = site(home);
        let (token, _) = site.open().unwrap();
        let key = token.generate_key_pair("key", b"1", KeyType::P256).unwrap();
        home.plan("C_SetPIN CKR_DEVICE_ERROR 1 after");
        let (old, new) = (Pin::new(USER_PIN), Pin::new(NEW_PIN));
        let error = token.change_pin(&old, &new).unwrap_err();
        assert!(matches!(error, Error::PinChangeUnknown { .. }), "{error}");
        let before = home.calls("C_Login");
        home.plan("C_SignInit CKR_DEVICE_REMOVED 1 close-sessions");
        hsm::Signer::sign(&key, b"message").unwrap();
        assert_eq!(home.calls("C_Login"), before + 2);
        assert_eq!(token.pin(), new);
    });
}

#[test]
fn a_change_whose_outcome_is_not_known_is_settled_by_doing_it_again() {
    isolated(|home| {
        let site = site(home);
        let (token, _) = site.open().unwrap();
        let (old, new) = (Pin::new(USER_PIN), Pin::new(NEW_PIN));
        for (fault, changed) in [("C_SetPIN CKR_DEVICE_ERROR 1", false), ("C_SetPIN CKR_DEVICE_ERROR 1 after", true)] {
            home.plan(fault);
            assert!(matches!(token.change_pin(&old, &new), Err(Error::PinChangeUnknown { .. })), "{changed}");
            assert_eq!(token.pin(), old);
            token.change_pin(&old, &new).unwrap();
            assert_eq!(token.pin(), new);
            token.change_pin(&new, &old).unwrap();
        }
        token.close();
        assert_eq!(site.open().unwrap().1, PinSettlement::Unchanged);
    });
}

#[test]
fn a_pin_that_the_token_does_not_like_changes_nothing() {
    isolated(|home| {
        let site = site(home);
        let (token, _) = site.open().unwrap();
        let error = token.change_pin(&Pin::new(USER_PIN), &Pin::new("1")).unwrap_err();
        assert!(matches!(&error, Error::Pkcs11 { function, .. } if function == "C_SetPIN"), "{error}");
        assert_eq!(token.pin(), Pin::new(USER_PIN));
        token.close();
        site.open().unwrap();
    });
}
