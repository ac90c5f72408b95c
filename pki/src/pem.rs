//! The textual encoding of certificates, requests, CRLs and keys (RFC 7468).
//!
//! Reading is lax where RFC 7468 section 2 asks for it (line lengths, line ends, text between the blocks), and bounded.
//! Not meant for private keys: nothing here is wiped.

use data_encoding::BASE64;

/// Label of a certificate.
pub const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a PKCS#10 certification request.
pub const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";
/// Label of a CRL.
pub const X509_CRL: &str = "X509 CRL";
/// Label of a SubjectPublicKeyInfo.
pub const PUBLIC_KEY: &str = "PUBLIC KEY";

/// No text longer than this is read, in octets.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;

/// No text with more blocks than this is read.
pub const MAX_BLOCKS: usize = 256;

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Longer than is read here.
    #[error("the PEM text is longer than {MAX_TEXT} octets, or has more than {MAX_BLOCKS} blocks")]
    TooLarge,
    /// No block in it.
    #[error("there is no PEM block: a line \"-----BEGIN …-----\" is missing")]
    Missing,
    /// A block that does not end, or ends with another label.
    #[error("the PEM block {label:?} does not end with its line \"-----END {label}-----\"")]
    End {
        /// The label that the block began with.
        label: String,
    },
    /// Between the lines is something other than base64.
    #[error("the PEM block {label:?} is not base64")]
    Base64 {
        /// The block's label.
        label: String,
    },
    /// Another kind of block than was asked for.
    #[error("the PEM block is a {found:?}; a {wanted:?} is wanted")]
    Label {
        /// What it is.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Something stands before or behind the one block.
    #[error("something stands before or behind the PEM block")]
    Surplus,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it says it is, such as `CERTIFICATE`.
    pub label: String,
    /// Its content.
    pub der: Vec<u8>,
}

/// Whether bytes look like PEM rather than DER.
pub fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN ")
}

/// Whether a private key begins somewhere in it, in whatever form, also in those that RFC 7468 does not know: OpenSSL's
/// old encrypted ones have headers (RFC 1421 4.6), which are not read here.
pub fn holds_private_key(text: &[u8]) -> bool {
    let mut labels = text.split(|byte| *byte == b'\n').filter_map(|line| boundary(line.trim_ascii(), b"-----BEGIN "));
    labels.any(|label| label.ends_with("PRIVATE KEY"))
}

/// One block of text, in lines of 64 characters.
pub fn encode(label: &str, der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let mut text = String::with_capacity(base64.len() + base64.len() / 64 + 2 * label.len() + 40);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Certificates one after the other: a chain as TLS servers and `openssl verify -untrusted` read it.
pub fn encode_certificates<D: AsRef<[u8]>>(certificates: impl IntoIterator<Item = D>) -> String {
    certificates.into_iter().map(|der| encode(CERTIFICATE, der.as_ref())).collect()
}

/// All blocks of a text; what stands between them is passed over.
///
/// # Errors
/// When the text is too large, or a block is broken. No block at all is an empty list.
pub fn decode_all(text: &[u8]) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_TEXT {
        return Err(PemError::TooLarge);
    }
    let mut blocks = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, b"-----BEGIN ") else { continue };
        if blocks.len() == MAX_BLOCKS {
            return Err(PemError::TooLarge);
        }
        let mut base64 = Vec::new();
        loop {
            let line = lines.next().ok_or_else(|| PemError::End { label: label.clone() })?;
            if line.starts_with(b"-----") {
                if boundary(line, b"-----END ").as_ref() != Some(&label) {
                    return Err(PemError::End { label });
                }
                break;
            }
            base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
        }
        let der = BASE64.decode(&base64).map_err(|_| PemError::Base64 { label: label.clone() })?;
        blocks.push(Block { label, der });
    }
    Ok(blocks)
}

/// The content of the one block of a text, which must have this label and nothing but white space around it.
///
/// # Errors
/// When that is not what the text is.
pub fn decode_one(text: &[u8], label: &'static str) -> Result<Vec<u8>, PemError> {
    let mut blocks = decode_all(text)?;
    let block = blocks.pop().ok_or(PemError::Missing)?;
    let text = text.trim_ascii();
    let last_line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if !blocks.is_empty() || !is_pem(text) || !last_line.starts_with(b"-----END ") {
        return Err(PemError::Surplus);
    }
    if block.label != label {
        return Err(PemError::Label { found: block.label, wanted: label });
    }
    Ok(block.der)
}

/// The certificates of a text, in their order; at least one, and nothing but certificates.
///
/// # Errors
/// When there is none, another kind of block, or a broken one.
pub fn decode_certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let blocks = decode_all(text)?;
    if blocks.is_empty() {
        return Err(PemError::Missing);
    }
    let content = |block: Block| match block.label.as_str() {
        CERTIFICATE => Ok(block.der),
        _ => Err(PemError::Label { found: block.label, wanted: CERTIFICATE }),
    };
    blocks.into_iter().map(content).collect()
}

fn boundary(line: &[u8], start: &[u8]) -> Option<String> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    let is_label = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    if label.len() > 64 || !label.iter().all(is_label) {
        return None;
    }
    String::from_utf8(label.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 47, 48, 49, 200] {
            let der: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let text = encode(CERTIFICATE, &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(decode_one(text.as_bytes(), CERTIFICATE).unwrap(), der);
            assert_eq!(decode_one(text.replace('\n', "\r\n").as_bytes(), CERTIFICATE).unwrap(), der);
        }
    }

    #[test]
    fn a_chain_keeps_its_order() {
        let text = format!("leaf:\n{}", encode_certificates([[1u8, 2], [3, 4]]));
        assert_eq!(decode_certificates(text.as_bytes()).unwrap(), [[1, 2], [3, 4]]);
        assert_eq!(decode_one(text.as_bytes(), CERTIFICATE), Err(PemError::Surplus));
    }

    #[test]
    fn what_is_broken_is_refused_with_its_label() {
        let text = encode(X509_CRL, b"abc");
        let cut = text.replace("-----END X509 CRL-----", "");
        assert_eq!(decode_all(cut.as_bytes()), Err(PemError::End { label: X509_CRL.into() }));
        let other = text.replace("END X509 CRL", "END CERTIFICATE");
        assert_eq!(decode_all(other.as_bytes()), Err(PemError::End { label: X509_CRL.into() }));
        assert_eq!(
            decode_all(text.replace("YWJj", "YW*j").as_bytes()),
            Err(PemError::Base64 { label: X509_CRL.into() })
        );
        assert!(matches!(decode_one(text.as_bytes(), CERTIFICATE), Err(PemError::Label { .. })));
        assert_eq!(decode_one(b"abc", CERTIFICATE), Err(PemError::Missing));
        assert_eq!(decode_one(format!("{text}x").as_bytes(), X509_CRL), Err(PemError::Surplus));
        assert_eq!(decode_one(format!("x\n{text}").as_bytes(), X509_CRL), Err(PemError::Surplus));
        assert_eq!(decode_all(text.repeat(MAX_BLOCKS + 1).as_bytes()), Err(PemError::TooLarge));
    }
}
