//! ECDSA signatures: the token's form, r ‖ s of equal length (PKCS#11 v3.0 2.3.1), to that of X.509.

use der::asn1::UintRef;
use der::{Encode, Sequence};

/// `Ecdsa-Sig-Value ::= SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279 2.2.3).
#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// DER of a raw signature, whose halves have `coordinate` octets each. `None` when the length is another.
pub(crate) fn der_from_raw(raw: &[u8], coordinate: usize) -> Option<Vec<u8>> {
    if raw.len() != 2 * coordinate {
        return None;
    }
    let (r, s) = raw.split_at(coordinate);
    EcdsaSigValue { r: UintRef::new(r).ok()?, s: UintRef::new(s).ok()? }.to_der().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_leading_zeros_and_never_negative() {
        assert_eq!(der_from_raw(&[0, 1, 0x80, 2], 2).unwrap(), [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 2]);
    }

    #[test]
    fn another_length_is_refused() {
        assert_eq!(der_from_raw(&[1; 63], 32), None);
        assert_eq!(der_from_raw(&[], 32), None);
    }
}
