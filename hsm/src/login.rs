//! The login of a token: once for all sessions, and never twice with a PIN that was refused (conformance: K4).

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;

use crate::connection::{Connection, Generation, Owners};
use crate::error::named;
use crate::module::lock;
use crate::{Error, Module, Pin, SlotDescription, TokenSelector, slot};

/// What the workers of one token share to open their sessions.
pub(crate) struct Access {
    module: Arc<Module>,
    token: SlotDescription,
    pin: Mutex<Pin>,
    owners: Owners,
    logins: AtomicU64,
    destroyed: AtomicU64,
}

impl Access {
    pub(crate) fn new(module: Arc<Module>, token: SlotDescription, pin: Pin) -> Self {
        Access {
            module,
            token,
            pin: Mutex::new(pin),
            owners: Owners::default(),
            logins: AtomicU64::new(0),
            destroyed: AtomicU64::new(0),
        }
    }

    pub(crate) fn token(&self) -> &SlotDescription {
        &self.token
    }

    pub(crate) fn label(&self) -> &str {
        &self.token.label
    }

    pub(crate) fn owners(&self) -> &Owners {
        &self.owners
    }

    pub(crate) fn generation(&self) -> Generation {
        Generation { login: self.logins.load(Ordering::Acquire), objects: self.destroyed.load(Ordering::Acquire) }
    }

    /// To be called when objects were destroyed: the token may give their handles to others.
    pub(crate) fn void_handles(&self) {
        self.destroyed.fetch_add(1, Ordering::AcqRel);
    }

    /// A read-write session with the user logged in. The token is looked for again, as it may have changed its slot.
    pub(crate) fn connect(&self) -> Result<Connection, Error> {
        let found = self.module.list()?;
        let Some((slot, _)) = found.iter().find(|(_, slot)| slot.is_same_token(&self.token)) else {
            let selector = TokenSelector::Serial(self.token.serial.clone());
            return Err(Error::TokenMissing { selector, labels: slot::labels(&found) });
        };
        let session = self.module.context().open_rw_session(*slot).map_err(|error| named(error, self.label()))?;
        let number = self.owners.take(session.handle());
        self.log_in(*slot, &session)?;
        Ok(Connection::new(session, number, self.generation()))
    }

    fn log_in(&self, slot: Slot, session: &Session) -> Result<(), Error> {
        // One at a time: were each session to log in by itself, a wrong PIN would be tried by every one of them.
        let pin = lock(&self.pin);
        let info = session.get_session_info().map_err(|error| named(error, self.label()))?;
        if matches!(info.session_state(), SessionState::RwUser) {
            return Ok(());
        }
        let token = self.label().to_owned();
        if self.module.refused_pins().contains(&self.token.serial, &pin) {
            return Err(Error::PinRefusedBefore { token });
        }
        let now = slot::describe(self.module.context(), slot).map_err(|error| named(error, self.label()))?;
        if now.user_pin_locked {
            return Err(Error::PinLocked { token });
        }
        if now.user_pin_final_try {
            return Err(Error::PinFinalTry { token });
        }
        match session.login(UserType::User, Some(&pin.to_auth_pin())) {
            Ok(()) => {
                self.logins.fetch_add(1, Ordering::AcqRel);
                Ok(())
            }
            Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(CryptokiError::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.module.refused_pins().remember(&self.token.serial, &pin);
                Err(Error::PinIncorrect { token })
            }
            Err(CryptokiError::Pkcs11(RvError::PinLocked, _)) => Err(Error::PinLocked { token }),
            Err(error) => Err(named(error, self.label())),
        }
    }

    /// Changes the PIN, and what later logins use.
    pub(crate) fn change_pin(&self, session: &Session, old: &Pin, new: &Pin) -> Result<(), Error> {
        let mut pin = lock(&self.pin);
        let token = self.label().to_owned();
        if *pin != *old {
            return Err(Error::OldPinDiffers { token });
        }
        match session.set_pin(&old.to_auth_pin(), &new.to_auth_pin()) {
            Ok(()) => {
                *pin = new.clone();
                self.module.refused_pins().forget(&self.token.serial);
                Ok(())
            }
            // Someone else changed it meanwhile; the next login must not try the old one.
            Err(CryptokiError::Pkcs11(RvError::PinIncorrect, _)) => {
                self.module.refused_pins().remember(&self.token.serial, old);
                Err(Error::PinIncorrect { token })
            }
            Err(CryptokiError::Pkcs11(RvError::PinLocked, _)) => Err(Error::PinLocked { token }),
            Err(error) => Err(named(error, self.label())),
        }
    }
}
