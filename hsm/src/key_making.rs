//! What an interrupted making of a key left in a token, so that it can be taken up again.
//!
//! A token writes the two halves of a key pair one after the other. When the process is killed in between, one of them is
//! there alone: no key, and in the way of a new one.

use std::sync::Arc;

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use pki::KeyType;

use crate::connection::Connection;
use crate::error::Fault;
use crate::key::{self, KEY_CLASSES};
use crate::{Error, Key, Token};

/// What is in a token under the label and the id of a key that is to be made.
#[derive(Clone, Debug)]
pub enum MadeKey {
    /// Nothing.
    None,
    /// One half of a key pair: [`Token::destroy_half_key`] takes it away.
    Half,
    /// The key, of the kind asked for and protected as [`Token::generate_key_pair`] protects it.
    Whole(Key),
}

/// The objects that have the key's id, or its label.
struct Present {
    private: Vec<ObjectHandle>,
    public: Vec<ObjectHandle>,
}

impl Present {
    fn of(connection: &Connection, token: &str, label: &str, id: &[u8]) -> Result<Self, Fault> {
        let [private, public] = KEY_CLASSES.map(|class| connection.objects(class, Attribute::Id(id.to_vec())));
        let (private, public) = (private?, public?);
        let label = Attribute::Label(label.as_bytes().to_vec());
        for object in private.iter().chain(&public) {
            let told = connection.session.get_attributes(*object, &[AttributeType::Label])?;
            if !told.contains(&label) {
                let reason = "an object of this id has another label".to_owned();
                return Err(key::unusable(token, &Attribute::Id(id.to_vec()), reason).into());
            }
        }
        let labelled = connection.objects(ObjectClass::PRIVATE_KEY, label.clone())?;
        if labelled.iter().any(|object| !private.contains(object)) {
            return Err(key::unusable(token, &label, "a private key of this label has another id".to_owned()).into());
        }
        Ok(Present { private, public })
    }

    /// A private key whose certificate is there can be used without its public half.
    fn is_half(&self, connection: &Connection, id: &[u8]) -> Result<bool, Fault> {
        Ok(match (&self.private[..], &self.public[..]) {
            ([], [_]) => true,
            ([_], []) => connection.objects(ObjectClass::CERTIFICATE, Attribute::Id(id.to_vec()))?.is_empty(),
            _ => false,
        })
    }
}

impl Token {
    /// What is there of a key that is about to be made, or whose making was interrupted.
    ///
    /// # Errors
    /// [`Error::KeyUnusable`] when something else has the label or the id, or the key is of another kind or not protected
    /// as one that was made here (conformance: K1); [`Error::KeyAmbiguous`]; [`Error::Busy`], [`Error::Pkcs11`].
    pub fn made_key(self: &Arc<Self>, label: &str, id: &[u8], key_type: KeyType) -> Result<MadeKey, Error> {
        let (label, id) = (label.to_owned(), id.to_vec());
        let found = self.run(move |connection, token| {
            let present = Present::of(connection, token, &label, &id)?;
            if present.private.is_empty() && present.public.is_empty() {
                return Ok(None);
            }
            if present.is_half(connection, &id)? {
                return Ok(Some(None));
            }
            key::find_whole(connection, token, &id, key_type).map(|description| Some(Some(description)))
        })?;
        Ok(match found {
            None => MadeKey::None,
            Some(None) => MadeKey::Half,
            Some(Some(description)) => MadeKey::Whole(self.key(description)),
        })
    }

    /// Destroys what an interrupted making left: one half of a key pair with this label and this id. Never a whole key.
    /// Tells whether there was one.
    ///
    /// # Errors
    /// As [`Token::made_key`].
    pub fn destroy_half_key(&self, label: &str, id: &[u8]) -> Result<bool, Error> {
        let (label, id) = (label.to_owned(), id.to_vec());
        let mut any = false;
        let destroyed = self.run(move |connection, token| {
            let present = Present::of(connection, token, &label, &id)?;
            if present.is_half(connection, &id)? {
                for object in present.private.iter().chain(&present.public) {
                    connection.session.destroy_object(*object)?;
                    any = true;
                    tracing::warn!(token, key = label, "half a key of an interrupted making was destroyed");
                }
            }
            Ok(any)
        });
        // A token may give the handle to another key.
        self.void_handles();
        destroyed
    }
}
