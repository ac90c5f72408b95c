//! Certificates as objects of a token (CKO_CERTIFICATE, PKCS#11 v3.0, 4.6.3), as cards carry them.

use cryptoki::error::Error as CryptokiError;
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};
use der::{Decode, Encode};
use x509_cert::Certificate;

use crate::connection::Connection;
use crate::error::Fault;
use crate::{Error, Token};

/// A certificate in a token. It belongs to the key that has the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCertificate {
    /// CKA_LABEL.
    pub label: String,
    /// CKA_ID.
    pub id: Vec<u8>,
    /// CKA_VALUE, the DER certificate.
    pub der: Vec<u8>,
}

impl Token {
    /// Writes a certificate. One with the same id is replaced; if it is the same certificate, nothing happens.
    ///
    /// # Errors
    /// [`Error::Certificate`] when it is not one; [`Error::Busy`], [`Error::Pkcs11`] (CKR_DEVICE_MEMORY: the card is
    /// full).
    pub fn write_certificate(&self, label: &str, id: &[u8], certificate: &[u8]) -> Result<(), Error> {
        let template =
            template(label, id, certificate).map_err(|_| Error::Certificate { token: self.label().to_owned() })?;
        let (id, value) = (id.to_vec(), certificate.to_vec());
        self.run(move |connection, _| {
            let same_id = connection.objects(ObjectClass::CERTIFICATE, Attribute::Id(id.clone()))?;
            let mut there = false;
            let mut others = Vec::new();
            for object in same_id {
                if !there && value_of(connection, object)? == value { there = true } else { others.push(object) }
            }
            // The new one comes first, so that a card taken out between the two is not left without any.
            if !there {
                connection.session.create_object(&template)?;
            }
            for object in others {
                connection.session.destroy_object(object)?;
            }
            Ok(())
        })
    }

    /// The certificates in the token.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Pkcs11`].
    pub fn read_certificates(&self) -> Result<Vec<TokenCertificate>, Error> {
        self.run(|connection, _| {
            let x509 = Attribute::CertificateType(CertificateType::X_509);
            let mut certificates = Vec::new();
            for object in connection.objects(ObjectClass::CERTIFICATE, x509)? {
                let mut certificate = TokenCertificate { label: String::new(), id: Vec::new(), der: Vec::new() };
                let wanted = [AttributeType::Label, AttributeType::Id, AttributeType::Value];
                for attribute in connection.session.get_attributes(object, &wanted)? {
                    match attribute {
                        Attribute::Label(label) => certificate.label = String::from_utf8_lossy(&label).into_owned(),
                        Attribute::Id(id) => certificate.id = id,
                        Attribute::Value(der) => certificate.der = der,
                        _ => {}
                    }
                }
                certificates.push(certificate);
            }
            Ok(certificates)
        })
    }

    /// Deletes the certificates with this id, and tells whether there were any.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Pkcs11`].
    pub fn delete_certificate(&self, id: &[u8]) -> Result<bool, Error> {
        let id = id.to_vec();
        let mut any = false;
        let deleted = self.run(move |connection, _| {
            any |= connection.destroy(&[ObjectClass::CERTIFICATE], &id)?;
            Ok(any)
        })?;
        self.void_handles();
        Ok(deleted)
    }
}

fn value_of(connection: &Connection, object: cryptoki::object::ObjectHandle) -> Result<Vec<u8>, Fault> {
    match connection.session.get_attributes(object, &[AttributeType::Value])?.pop() {
        Some(Attribute::Value(value)) => Ok(value),
        _ => Err(CryptokiError::InvalidValue.into()),
    }
}

/// Subject, issuer and serial number are what other programs look a certificate up by.
fn template(label: &str, id: &[u8], der: &[u8]) -> der::Result<Vec<Attribute>> {
    let tbs = Certificate::from_der(der)?.tbs_certificate;
    Ok(vec![
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
        Attribute::Subject(tbs.subject.to_der()?),
        Attribute::Issuer(tbs.issuer.to_der()?),
        Attribute::SerialNumber(tbs.serial_number.to_der()?),
        Attribute::Value(der.to_vec()),
    ])
}
