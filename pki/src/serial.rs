//! Certificate serial numbers (RFC 5280 4.1.2.2).

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A positive serial number of 1 to 20 octets: the content octets of its DER INTEGER, big endian, shortest form.
/// Written as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SerialNumber {
    length: u8,
    octets: [u8; 20],
}

/// The bytes or the text are not a serial number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a serial number: {rule} (RFC 5280 4.1.2.2)")]
pub struct InvalidSerialNumber {
    rule: &'static str,
}

impl SerialNumber {
    /// How many random octets [`SerialNumber::from_random`] takes.
    pub const RANDOM_OCTETS: usize = 16;

    /// A serial number from 16 octets of a CSPRNG: 126 bits of them are kept, the two highest become `01`, so that the
    /// number is positive and has always the same length.
    // conformance: E1
    pub fn from_random(mut random: [u8; Self::RANDOM_OCTETS]) -> Self {
        random[0] = (random[0] & 0x3f) | 0x40;
        let mut octets = [0; 20];
        octets[..random.len()].copy_from_slice(&random);
        SerialNumber { length: random.len() as u8, octets }
    }

    /// From the content octets of a DER INTEGER.
    ///
    /// # Errors
    /// When it is empty, negative, zero, not in its shortest form, or longer than 20 octets.
    pub fn from_der_content(content: &[u8]) -> Result<Self, InvalidSerialNumber> {
        let rule = match content {
            [] => "it is empty",
            [first, ..] if first & 0x80 != 0 => "it is negative",
            [0] => "it is zero",
            [0, second, ..] if second & 0x80 == 0 => "it is not in its shortest form",
            _ if content.len() > 20 => "it has more than 20 octets",
            _ => {
                let mut octets = [0; 20];
                octets[..content.len()].copy_from_slice(content);
                return Ok(SerialNumber { length: content.len() as u8, octets });
            }
        };
        Err(InvalidSerialNumber { rule })
    }

    /// The content octets of its DER INTEGER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(self.as_bytes()))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}

impl FromStr for SerialNumber {
    type Err = InvalidSerialNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 40 {
            return Err(InvalidSerialNumber { rule: "it has more than 20 octets" });
        }
        let bytes =
            HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| InvalidSerialNumber { rule: "it is not hex" })?;
        Self::from_der_content(&bytes)
    }
}

impl Serialize for SerialNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for SerialNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
            Self::from_der_content(&bytes).map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ones_are_positive_and_of_one_length() {
        // conformance: E1
        for fill in [0x00, 0x7f, 0x80, 0xff] {
            let serial = SerialNumber::from_random([fill; 16]);
            assert_eq!(serial.as_bytes().len(), 16);
            assert_eq!(serial.as_bytes()[0] & 0xc0, 0x40);
            assert_eq!(SerialNumber::from_der_content(serial.as_bytes()), Ok(serial));
            assert_eq!(serial.to_string().parse(), Ok(serial));
        }
    }

    #[test]
    fn what_is_not_a_serial_number_is_refused() {
        for content in [&[][..], &[0], &[0x80], &[0, 1], &[1; 21]] {
            assert!(SerialNumber::from_der_content(content).is_err(), "{content:?}");
        }
        assert!(SerialNumber::from_der_content(&[0, 0x80]).is_ok());
        assert!("xyz".parse::<SerialNumber>().is_err());
    }
}
