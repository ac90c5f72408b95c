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
use crate::{Error, Module, Pin, Pins, SlotDescription, TokenSelector, slot};

/// The PINs that the token may have.
struct Credentials {
    pins: Pins,
    /// The token took `pins.current` in this process.
    proven: bool,
}

/// What the workers of one token share to open their sessions.
pub(crate) struct Access {
    module: Arc<Module>,
    token: SlotDescription,
    credentials: Mutex<Credentials>,
    owners: Owners,
    logins: AtomicU64,
    destroyed: AtomicU64,
}

impl Access {
    pub(crate) fn new(module: Arc<Module>, token: SlotDescription, pins: Pins) -> Self {
        Access {
            module,
            token,
            credentials: Mutex::new(Credentials { pins, proven: false }),
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
        let slot = self.slot()?;
        let session = self.module.context().open_rw_session(slot).map_err(|error| named(error, self.label()))?;
        let number = self.owners.take(session.handle());
        self.log_in(slot, &session)?;
        Ok(Connection::new(session, number, self.generation()))
    }

    /// The slot that the token is in now.
    pub(crate) fn slot(&self) -> Result<Slot, Error> {
        let found = self.module.list()?;
        match found.iter().find(|(_, slot)| slot.is_same_token(&self.token)) {
            Some((slot, _)) => Ok(*slot),
            None => {
                let selector = TokenSelector::Serial(self.token.serial.clone());
                Err(Error::TokenMissing { selector, labels: slot::labels(&found) })
            }
        }
    }

    fn log_in(&self, slot: Slot, session: &Session) -> Result<(), Error> {
        // One at a time: were each session to log in by itself, a wrong PIN would be tried by every one of them.
        let mut credentials = lock(&self.credentials);
        let info = session.get_session_info().map_err(|error| named(error, self.label()))?;
        if matches!(info.session_state(), SessionState::RwUser) {
            return Ok(());
        }
        let Some(next) = credentials.pins.next.clone() else {
            credentials.proven |= self.try_pin(slot, session, &credentials.pins.current)?;
            return Ok(());
        };
        // The warning is looked at before the first try only: a token gives it after any failed one, ours too.
        let now = slot::describe(self.module.context(), slot).map_err(|error| named(error, self.label()))?;
        if now.user_pin_count_low {
            return Err(Error::PinCountLow { token: self.label().to_owned() });
        }
        match self.try_pin(slot, session, &credentials.pins.current) {
            Ok(tried) => {
                credentials.proven |= tried;
                Ok(())
            }
            Err(Error::PinIncorrect { .. } | Error::PinRefusedBefore { .. }) => {
                let tried = self.try_pin(slot, session, &next).map_err(|error| match error {
                    Error::PinIncorrect { token } | Error::PinRefusedBefore { token } => {
                        Error::BothPinsIncorrect { token }
                    }
                    other => other,
                })?;
                *credentials = Credentials { pins: next.into(), proven: credentials.proven || tried };
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Tries a PIN once; false when somebody had logged in already, so that the PIN was not looked at.
    fn try_pin(&self, slot: Slot, session: &Session, pin: &Pin) -> Result<bool, Error> {
        let token = self.label().to_owned();
        if self.module.refused_pins().contains(&self.token.serial, pin) {
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
                Ok(true)
            }
            Err(CryptokiError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(false),
            Err(CryptokiError::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.module.refused_pins().remember(&self.token.serial, pin);
                Err(Error::PinIncorrect { token })
            }
            Err(CryptokiError::Pkcs11(RvError::PinLocked, _)) => Err(Error::PinLocked { token }),
            Err(error) => Err(named(error, self.label())),
        }
    }

    /// The PIN that the token took in this process, if it was asked.
    pub(crate) fn pin_that_worked(&self) -> Option<Pin> {
        let credentials = lock(&self.credentials);
        credentials.proven.then(|| credentials.pins.current.clone())
    }

    /// The PIN in use.
    pub(crate) fn pin(&self) -> Pin {
        lock(&self.credentials).pins.current.clone()
    }

    pub(crate) fn is_pin_in_doubt(&self) -> bool {
        lock(&self.credentials).pins.next.is_some()
    }

    pub(crate) fn forget_next_pin(&self) {
        lock(&self.credentials).pins.next = None;
    }

    /// Changes the PIN, and what later logins use. When the token fails in a way that leaves open whether it has the new
    /// one, later logins try the old one and then the new one, each once; a second call asks the token for either.
    pub(crate) fn change_pin(&self, slot: Slot, session: &Session, old: &Pin, new: &Pin) -> Result<(), Error> {
        let mut credentials = lock(&self.credentials);
        let token = self.label().to_owned();
        if credentials.pins.current != *old {
            return Err(Error::OldPinDiffers { token });
        }
        let in_doubt = credentials.pins.next.as_ref() == Some(new);
        let mut changed = session.set_pin(&old.to_auth_pin(), &new.to_auth_pin());
        if in_doubt && matches!(changed, Err(CryptokiError::Pkcs11(RvError::PinIncorrect, _))) {
            self.module.refused_pins().remember(&self.token.serial, old);
            let now = slot::describe(self.module.context(), slot).map_err(|error| named(error, self.label()))?;
            if now.user_pin_final_try || now.user_pin_locked {
                return Err(Error::PinFinalTry { token });
            }
            changed = session.set_pin(&new.to_auth_pin(), &new.to_auth_pin());
        }
        match changed {
            Ok(()) => {
                *credentials = Credentials { pins: new.clone().into(), proven: true };
                self.module.refused_pins().forget(&self.token.serial);
                Ok(())
            }
            // Someone else changed it meanwhile; the next login must not try the old one.
            Err(CryptokiError::Pkcs11(RvError::PinIncorrect, _)) => {
                self.module.refused_pins().remember(&self.token.serial, old);
                Err(Error::PinIncorrect { token })
            }
            Err(CryptokiError::Pkcs11(RvError::PinLocked, _)) => Err(Error::PinLocked { token }),
            // What the token says of the new PIN, or before it looked at either.
            Err(
                error @ CryptokiError::Pkcs11(
                    RvError::PinInvalid
                    | RvError::PinLenRange
                    | RvError::PinTooWeak
                    | RvError::TokenWriteProtected
                    | RvError::SessionReadOnly
                    | RvError::FunctionNotSupported
                    | RvError::ArgumentsBad,
                    _,
                ),
            ) if !in_doubt => Err(named(error, self.label())),
            Err(error) => {
                credentials.pins.next = Some(new.clone());
                Err(Error::PinChangeUnknown { token, reason: named(error, self.label()).to_string() })
            }
        }
    }
}
