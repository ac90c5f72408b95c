//! Rows R3 to R6 for every key that is about to be certified, whoever made it: how it was made, the lists of keys that
//! others know, and this CA's own set of compromised keys.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pki::PublicKey;
use pki::weak_key::{self, list::KeyLists};
use store::Store;

use crate::authority::Authority;
use crate::certificate::Holder;
use crate::{Error, compromised};

/// The lists of known keys, shared by all who certify; they can be exchanged at any time.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys(Arc<ArcSwap<KeyLists>>);

impl KnownKeys {
    /// Goes by these lists.
    pub fn new(lists: KeyLists) -> Self {
        KnownKeys(Arc::new(ArcSwap::from_pointee(lists)))
    }

    /// Goes by these lists from now on, wherever this is held.
    pub fn replace(&self, lists: KeyLists) {
        self.0.store(Arc::new(lists));
    }

    /// The lists that are in force.
    pub fn lists(&self) -> Arc<KeyLists> {
        self.0.load_full()
    }
}

impl Authority {
    /// Refuses a key that is weak, or that others know.
    ///
    /// # Errors
    /// [`Error::WeakKey`] with the row, or the store's.
    // conformance: R3, R4, R5, R6
    pub(crate) fn check_strength(&self, store: &dyn Store, key: &PublicKey, holder: &Holder) -> Result<(), Error> {
        self.check_key_itself(key, holder)?;
        compromised::refuse(store, key)
    }

    /// The same without the set of compromised keys.
    ///
    /// A person's or a station's key comes in a request, and a checked request has passed rows R3 to R5 already; what the
    /// service makes for itself comes in none.
    pub(crate) fn check_key_itself(&self, key: &PublicKey, holder: &Holder) -> Result<(), Error> {
        if matches!(holder, Holder::Service { .. }) {
            weak_key::check(key)?;
        }
        Ok(self.known_keys().lists().check(key)?)
    }
}
