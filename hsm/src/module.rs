//! A PKCS#11 library: loaded and initialised once per path and process, and never let go, since its tokens' logins
//! belong to the process.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::error::named;
use crate::{Error, Pin, SlotDescription, TokenSelector, slot};

static MODULES: LazyLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = LazyLock::new(Mutex::default);

/// A loaded PKCS#11 module.
pub struct Module {
    path: PathBuf,
    context: Pkcs11,
    /// Held while a token is initialised: two at once would take the same free slot.
    initialising: Mutex<()>,
    open: Mutex<HashSet<(String, String)>>,
    refused: RefusedPins,
}

impl Module {
    /// The module at `path`; the second load of a path gives the same module again.
    ///
    /// # Errors
    /// [`Error::ModuleLoad`] when there is no PKCS#11 module, [`Error::Pkcs11`] when it does not start.
    pub fn load(path: impl AsRef<Path>) -> Result<Arc<Module>, Error> {
        let path = path.as_ref();
        let refused = |reason: String| Error::ModuleLoad { path: path.to_owned(), reason };
        let canonical = path.canonicalize().map_err(|error| refused(error.to_string()))?;
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.get(&canonical) {
            return Ok(Arc::clone(module));
        }
        let context = Pkcs11::new(&canonical).map_err(|error| refused(error.to_string()))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another module in this process may stand before the same library, and have initialised it.
            Ok(()) | Err(CryptokiError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(named(error, &canonical.display().to_string())),
        }
        let module = Arc::new(Module {
            path: canonical.clone(),
            context,
            initialising: Mutex::default(),
            open: Mutex::default(),
            refused: RefusedPins::new()?,
        });
        modules.insert(canonical, Arc::clone(&module));
        Ok(module)
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens that are there now.
    ///
    /// # Errors
    /// [`Error::Pkcs11`] when the module does not answer.
    pub fn slots(&self) -> Result<Vec<SlotDescription>, Error> {
        Ok(self.list()?.into_iter().map(|(_, description)| description).collect())
    }

    /// Initialises the first token that is not, with both PINs. No other session of the token may be open. A token of this
    /// label that has no user PIN, since an earlier call was interrupted, is completed.
    ///
    /// # Errors
    /// [`Error::LabelInUse`], [`Error::LabelInvalid`], [`Error::NoFreeSlot`], or [`Error::Pkcs11`] when the token refuses
    /// a PIN (their lengths are its own rule).
    pub fn init_token(&self, label: &str, so_pin: &Pin, user_pin: &Pin) -> Result<TokenSelector, Error> {
        if label.is_empty() || label.len() > 32 || label.ends_with(' ') {
            return Err(Error::LabelInvalid { label: label.to_owned() });
        }
        let _alone = lock(&self.initialising);
        let found = self.list()?;
        let so_pin = so_pin.to_auth_pin();
        match found.iter().find(|(_, slot)| slot.initialised && slot.label == label) {
            Some((_, there)) if there.user_pin_initialised => {
                return Err(Error::LabelInUse { label: label.to_owned() });
            }
            // An earlier call was interrupted before it set the user PIN.
            Some(_) => {}
            None => {
                let Some((free, _)) = found.iter().find(|(_, slot)| !slot.initialised) else {
                    let module = self.path.display().to_string();
                    return Err(Error::NoFreeSlot { module, labels: slot::labels(&found) });
                };
                self.context.init_token(*free, &so_pin, label).map_err(|error| named(error, label))?;
            }
        }

        // The token may have moved to another slot by being initialised, as SoftHSM's do.
        let selector = TokenSelector::Label(label.to_owned());
        let (slot, description) = slot::choose(self.list()?, &selector)?;
        let session = self.context.open_rw_session(slot).map_err(|error| named(error, label))?;
        session.login(UserType::So, Some(&so_pin)).map_err(|error| named(error, label))?;
        session.init_pin(&user_pin.to_auth_pin()).map_err(|error| named(error, label))?;
        session.logout().map_err(|error| named(error, label))?;
        self.refused.forget(&description.serial);
        tracing::info!(label, serial = description.serial, "token initialised");
        Ok(selector)
    }

    pub(crate) fn context(&self) -> &Pkcs11 {
        &self.context
    }

    pub(crate) fn list(&self) -> Result<Vec<(Slot, SlotDescription)>, Error> {
        slot::list(&self.context).map_err(|error| named(error, &self.path.display().to_string()))
    }

    pub(crate) fn refused_pins(&self) -> &RefusedPins {
        &self.refused
    }

    /// Marks a token as open in this process, until the claim is dropped.
    pub(crate) fn claim(self: &Arc<Self>, token: &SlotDescription) -> Result<Claim, Error> {
        let name = (token.serial.clone(), token.label.clone());
        if !lock(&self.open).insert(name.clone()) {
            return Err(Error::AlreadyOpen { token: token.label.clone() });
        }
        Ok(Claim { module: Arc::clone(self), name })
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The right to use a token in this process.
pub(crate) struct Claim {
    module: Arc<Module>,
    name: (String, String),
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.module.open).remove(&self.name);
    }
}

/// The PINs that tokens refused, so that none is tried twice, not even by a token that is opened anew. They are kept as
/// keyed hashes, by a key that dies with the process.
pub(crate) struct RefusedPins {
    key: hmac::Key,
    seen: Mutex<HashMap<String, HashSet<Vec<u8>>>>,
}

impl RefusedPins {
    fn new() -> Result<Self, Error> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| Error::Random)?;
        Ok(RefusedPins { key, seen: Mutex::default() })
    }

    fn tag(&self, pin: &Pin) -> Vec<u8> {
        hmac::sign(&self.key, pin.as_bytes()).as_ref().to_vec()
    }

    pub(crate) fn contains(&self, serial: &str, pin: &Pin) -> bool {
        lock(&self.seen).get(serial).is_some_and(|pins| pins.contains(&self.tag(pin)))
    }

    pub(crate) fn remember(&self, serial: &str, pin: &Pin) {
        lock(&self.seen).entry(serial.to_owned()).or_default().insert(self.tag(pin));
    }

    /// After the token got another PIN, which may be one that it refused before.
    pub(crate) fn forget(&self, serial: &str) {
        lock(&self.seen).remove(serial);
    }
}

/// What these locks guard is whole at every step, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
