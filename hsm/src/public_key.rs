//! Public keys as a token holds them: as objects of their own, or inside a certificate.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use cryptoki::object::{Attribute, AttributeType, KeyType as CkKeyType, ObjectClass, ObjectHandle};
use der::{Decode, Encode};
use pki::key::KeyError;
use pki::{KeyType, PublicKey};
use x509_cert::Certificate;

use crate::connection::Connection;
use crate::error::Fault;

/// The public key that an object of class CKO_PUBLIC_KEY holds.
pub(crate) fn read(
    connection: &Connection,
    public: ObjectHandle,
    key_type: CkKeyType,
) -> Result<Result<PublicKey, KeyError>, Fault> {
    let wanted = if key_type == CkKeyType::EC {
        [AttributeType::EcParams, AttributeType::EcPoint]
    } else {
        [AttributeType::Modulus, AttributeType::PublicExponent]
    };
    let attributes = connection.session.get_attributes(public, &wanted)?;
    Ok(match &attributes[..] {
        [Attribute::EcParams(parameters), Attribute::EcPoint(point)] => ec(parameters, point),
        [Attribute::Modulus(modulus), Attribute::PublicExponent(exponent)] => PublicKey::from_rsa(modulus, exponent),
        _ => Err(KeyError::Malformed),
    })
}

/// `CKA_EC_POINT` is the point inside an OCTET STRING (PKCS#11 v3.0, 2.3.3); some modules leave that away. Both begin
/// with 04, so the length decides.
fn ec(parameters: &[u8], point: &[u8]) -> Result<PublicKey, KeyError> {
    let (key_type, length) = match ObjectIdentifier::from_der(parameters) {
        Ok(rfc5912::SECP_256_R_1) => (KeyType::P256, 65),
        Ok(rfc5912::SECP_384_R_1) => (KeyType::P384, 97),
        _ => return Err(KeyError::Curve),
    };
    let bare = if point.len() == length { point } else { point.get(2..).unwrap_or_default() };
    if point.len() != length && point[..point.len().min(2)] != [0x04, length as u8] {
        return Err(KeyError::Point);
    }
    PublicKey::from_ec_point(key_type, bare)
}

/// Cards often carry a certificate in place of the public key.
pub(crate) fn from_certificate(
    connection: &Connection,
    reference: &Attribute,
) -> Result<Option<Result<PublicKey, KeyError>>, Fault> {
    let Some(object) = connection.objects(ObjectClass::CERTIFICATE, reference.clone())?.pop() else { return Ok(None) };
    let value = connection.session.get_attributes(object, &[AttributeType::Value])?.pop();
    let Some(Attribute::Value(der)) = value else { return Ok(None) };
    let spki = Certificate::from_der(&der).and_then(|c| c.tbs_certificate.subject_public_key_info.to_der());
    Ok(spki.ok().map(|spki| PublicKey::from_spki_der(&spki)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryKey, Signer};

    #[test]
    fn a_point_is_read_with_and_without_its_octet_string() {
        let curve = rfc5912::SECP_256_R_1.to_der().unwrap();
        let key = MemoryKey::generate_p256().unwrap();
        let bare = key.public_key().key_bits().to_vec();
        let wrapped = [&[0x04, 65], &bare[..]].concat();
        assert_eq!(&ec(&curve, &bare).unwrap(), key.public_key());
        assert_eq!(&ec(&curve, &wrapped).unwrap(), key.public_key());
        for point in [&wrapped[..66], &wrapped[1..], &bare[..64], &[0x04], &[], &[0x05, 65].repeat(33)[..]] {
            assert_eq!(ec(&curve, point), Err(KeyError::Point), "{point:?}");
        }
    }

    #[test]
    fn other_curves_are_refused() {
        let key = MemoryKey::generate_p256().unwrap();
        for curve in [rfc5912::SECP_521_R_1, rfc5912::SECP_224_R_1] {
            assert_eq!(ec(&curve.to_der().unwrap(), key.public_key().key_bits()), Err(KeyError::Curve));
        }
        assert_eq!(ec(b"rubbish", key.public_key().key_bits()), Err(KeyError::Curve));
    }
}
