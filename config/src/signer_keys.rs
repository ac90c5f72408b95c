//! How OCSP answers are signed: the kinds of key, as service and responder list them, and what the service says for both.

use pki::KeyType;
use pki::ocsp::{ResponderIdForm, UnknownAnswer};

use crate::document::Document;
use crate::error::Error;
use crate::schema::section;

section! {
    RawOcsp {
        signer_key_types: Vec<String> = vec!["P-256".to_owned()],
        responder_id: String = "key".to_owned(),
        unknown_serial: String = "unknown".to_owned(),
    }
}

/// How OCSP answers are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ocsp {
    /// Which kinds of key each issuer's signers have in the service; the first is taken when a client prefers none.
    pub signer_key_types: Vec<KeyType>,
    /// How every responder names its signer.
    pub responder_id: ResponderIdForm,
    /// What every responder says of a serial number that was never issued.
    pub unknown_serial: UnknownAnswer,
}

impl Ocsp {
    pub(crate) fn check(raw: &RawOcsp, document: &Document) -> Result<Self, Error> {
        let forms = [("key", ResponderIdForm::ByKey), ("name", ResponderIdForm::ByName)];
        let answers = [("unknown", UnknownAnswer::Unknown), ("revoked", UnknownAnswer::Revoked)];
        Ok(Ocsp {
            signer_key_types: key_types("ocsp.signer_key_types", &raw.signer_key_types, document)?,
            responder_id: document.choice("ocsp.responder_id", &raw.responder_id, &forms)?,
            unknown_serial: document.choice("ocsp.unknown_serial", &raw.unknown_serial, &answers)?,
        })
    }
}

/// The kinds of key in a list, each once, at least one.
pub(crate) fn key_types(key: &str, list: &[String], document: &Document) -> Result<Vec<KeyType>, Error> {
    // Those of the shipped profile `ocsp-signer`.
    let known = [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa3072];
    let names = known.map(|key_type| key_type.to_string());
    let choices: Vec<(&str, KeyType)> = names.iter().map(String::as_str).zip(known).collect();
    let mut key_types = Vec::new();
    for (number, text) in list.iter().enumerate() {
        let key = format!("{key}[{number}]");
        let key_type = document.choice(&key, text, &choices)?;
        if key_types.contains(&key_type) {
            return Err(document.rule_error(&key, "a kind of key stands here once", "remove one of the two"));
        }
        key_types.push(key_type);
    }
    if key_types.is_empty() {
        return Err(document.rule_error(key, "without a key nothing is answered", "write [\"P-256\"]"));
    }
    Ok(key_types)
}
