//! cRLNumber and BaseCRLNumber (RFC 5280 5.2.3, 5.2.4).

use std::fmt;

use super::CrlError;

/// cRLNumber: an INTEGER from 0, of up to 20 octets (RFC 5280 5.2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CrlNumber {
    length: u8,
    octets: [u8; 20],
}

impl CrlNumber {
    /// From the content octets of a DER INTEGER.
    ///
    /// # Errors
    /// [`CrlError::Number`] when it is empty, negative, not in its shortest form or longer than 20 octets.
    pub fn from_der_content(content: &[u8]) -> Result<Self, CrlError> {
        match content {
            [] | [0x80..=0xff, ..] | [0, 0..=0x7f, ..] => Err(CrlError::Number),
            content if content.len() > 20 => Err(CrlError::Number),
            content => {
                let mut octets = [0; 20];
                octets[..content.len()].copy_from_slice(content);
                Ok(CrlNumber { length: content.len() as u8, octets })
            }
        }
    }

    /// The content octets of its DER INTEGER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl From<u64> for CrlNumber {
    fn from(number: u64) -> Self {
        let mut content = [0; 9];
        content[1..].copy_from_slice(&number.to_be_bytes());
        let leading = content.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
        let content = &content[leading..];
        let mut octets = [0; 20];
        octets[..content.len()].copy_from_slice(content);
        CrlNumber { length: content.len() as u8, octets }
    }
}

impl Ord for CrlNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Both are in their shortest form and not negative: the longer one is the larger one.
        (self.length, self.as_bytes()).cmp(&(other.length, other.as_bytes()))
    }
}

impl PartialOrd for CrlNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for CrlNumber {
    /// `0x` and upper-case hex, as OpenSSL prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let significant = match self.as_bytes() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        write!(f, "0x{}", data_encoding::HEXUPPER.encode(significant))
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrlNumber({self})")
    }
}
