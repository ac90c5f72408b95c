//! Statements that a card's key signs: a context string, then fields with their lengths, so that no statement can be
//! taken for another one, nor for a TLS handshake (those begin with octet 01 or with 64 spaces, these with `cardinal`).

/// The confirmation that both certificates are on the card.
///
/// Signed by both new keys after the station has read the certificates back from the card: `authentication` and
/// `signing` are the SHA-256 of what was read.
pub fn confirmation(issuance: &str, nonce: &[u8], authentication: &[u8; 32], signing: &[u8; 32]) -> Vec<u8> {
    statement("cardinal confirmation v1", &[issuance.as_bytes(), nonce, authentication, signing])
}

/// That a card is present at its renewal: signed by the authentication key that is in use on it, over the two requests for
/// its new keys. Without it, whoever may renew a card could put keys of their own in the place of the holder's.
///
/// `authentication` and `signing` are the SHA-256 of the PKCS#10 requests, DER.
pub fn renewal(card: &str, authentication: &[u8; 32], signing: &[u8; 32]) -> Vec<u8> {
    statement("cardinal renewal v1", &[card.as_bytes(), authentication, signing])
}

/// An operator's login at a station: signed by the card's authentication key over the server's single-use nonce.
pub fn login(deployment: &str, station: &str, nonce: &[u8]) -> Vec<u8> {
    statement("cardinal login v1", &[deployment.as_bytes(), station.as_bytes(), nonce])
}

fn statement(context: &str, fields: &[&[u8]]) -> Vec<u8> {
    let mut bytes = context.as_bytes().to_vec();
    bytes.push(0);
    for field in fields {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_run_into_each_other() {
        assert_ne!(login("ab", "c", b"n"), login("a", "bc", b"n"));
        assert_ne!(login("a", "b", b"n"), confirmation("a", b"b", &[0; 32], &[0; 32]));
    }
}
