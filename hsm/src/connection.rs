//! One session of a token, with the handles that were found in it.

use std::collections::HashMap;
use std::sync::Mutex;

use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::error::Fault;
use crate::key::{self, KeyDescription};
use crate::module::lock;

/// A logged-in session and its private keys' handles. Finding a key costs more than a signature by it, so each handle is
/// looked for once.
pub(crate) struct Connection {
    pub(crate) session: Session,
    /// Which of all sessions that were opened it is; see [`Owners`].
    number: u64,
    /// The [`Generation`] in which the handles were found.
    generation: Generation,
    handles: HashMap<[u8; 32], ObjectHandle>,
}

/// What makes handles void.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    /// How often the user was logged in.
    pub(crate) login: u64,
    /// How often objects were destroyed.
    pub(crate) objects: u64,
}

impl Connection {
    pub(crate) fn new(session: Session, number: u64, generation: Generation) -> Self {
        Connection { session, number, generation, handles: HashMap::new() }
    }

    /// Forgets the handles when they are of an older generation, and tells whether the session can still be used.
    pub(crate) fn keep_up(&mut self, generation: Generation, owners: &Owners) -> bool {
        if self.generation != generation {
            self.handles.clear();
            // Whoever logged in again may have done so because the token was away, and every session with it.
            if self.generation.login != generation.login && self.session.get_session_info().is_err() {
                return false;
            }
            self.generation = generation;
        }
        owners.owns(self.session.handle(), self.number)
    }

    /// Closes the session, unless it is `gone` already.
    pub(crate) fn close(self, gone: bool, owners: &Owners) {
        let owned = owners.release(self.session.handle(), self.number);
        if gone || !owned {
            // Dropping it would close whichever session has the handle now.
            std::mem::forget(self.session);
        }
    }

    /// The handle of a private key.
    pub(crate) fn private_key(&mut self, token: &str, key: &KeyDescription) -> Result<ObjectHandle, Fault> {
        if let Some(handle) = self.handles.get(&key.digest()) {
            return Ok(*handle);
        }
        let handle = key::find_private(self, token, key)?;
        self.handles.insert(key.digest(), handle);
        Ok(handle)
    }

    /// Destroys the objects of these classes that have this id, and tells whether there were any.
    pub(crate) fn destroy(&mut self, classes: &[ObjectClass], id: &[u8]) -> Result<bool, Fault> {
        let mut any = false;
        for class in classes {
            for object in self.objects(*class, Attribute::Id(id.to_vec()))? {
                self.session.destroy_object(object)?;
                any = true;
            }
        }
        Ok(any)
    }

    /// The token's objects of a class that have this attribute. None has an empty id: what other programs left without
    /// an id must not be taken for one thing, and be destroyed as such.
    pub(crate) fn objects(&self, class: ObjectClass, attribute: Attribute) -> Result<Vec<ObjectHandle>, Fault> {
        if matches!(&attribute, Attribute::Id(id) if id.is_empty()) {
            return Ok(Vec::new());
        }
        Ok(self.session.find_objects(&[Attribute::Class(class), Attribute::Token(true), attribute])?)
    }
}

/// Which connection has which session. When a token is pulled out its sessions are closed, and some modules give a
/// handle again at once (OpenSC's are memory addresses): a connection that has not noticed yet would use, and at last
/// close, the session of another.
#[derive(Default)]
pub(crate) struct Owners(Mutex<Owned>);

#[derive(Default)]
struct Owned {
    last: u64,
    by_handle: HashMap<u64, u64>,
}

impl Owners {
    /// Notes a new session, and gives it a number; the handle's former owner has it no longer.
    pub(crate) fn take(&self, handle: u64) -> u64 {
        let mut owned = lock(&self.0);
        owned.last += 1;
        let number = owned.last;
        owned.by_handle.insert(handle, number);
        number
    }

    fn owns(&self, handle: u64, number: u64) -> bool {
        lock(&self.0).by_handle.get(&handle) == Some(&number)
    }

    fn release(&self, handle: u64, number: u64) -> bool {
        let mut owned = lock(&self.0);
        let owns = owned.by_handle.get(&handle) == Some(&number);
        if owns {
            owned.by_handle.remove(&handle);
        }
        owns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_that_is_given_again_belongs_to_the_new_session_only() {
        let owners = Owners::default();
        let (old, other) = (owners.take(7), owners.take(8));
        let new = owners.take(7);
        assert!(!owners.owns(7, old) && owners.owns(7, new) && owners.owns(8, other));
        assert!(!owners.release(7, old));
        assert!(owners.release(7, new) && !owners.owns(7, new));
    }
}
