//! The kinds of key that sign OCSP answers, as service and responder list them.

use pki::KeyType;

use crate::document::Document;
use crate::error::Error;
use crate::schema::section;

section! {
    RawOcsp {
        signer_key_types: Vec<String> = vec!["P-256".to_owned()],
    }
}

/// How the service signs its own OCSP answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ocsp {
    /// Which kinds of key each issuer's signers have; the first is taken when a client prefers none.
    pub signer_key_types: Vec<KeyType>,
}

impl Ocsp {
    pub(crate) fn check(raw: &RawOcsp, document: &Document) -> Result<Self, Error> {
        Ok(Ocsp { signer_key_types: key_types("ocsp.signer_key_types", &raw.signer_key_types, document)? })
    }
}

/// The kinds of key in a list, each once, at least one.
pub(crate) fn key_types(key: &str, list: &[String], document: &Document) -> Result<Vec<KeyType>, Error> {
    // No P-384: whoever asks for a preference asks for RSA or P-256, and each kind costs a certificate per issuer.
    let known = [KeyType::P256, KeyType::Rsa2048, KeyType::Rsa3072, KeyType::Rsa4096];
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
