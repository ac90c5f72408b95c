//! Identifiers as types.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};

use crate::error::Error;

macro_rules! text_identifier {
    ($name:ident, $field:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                match Self::rule(&text) {
                    None => Ok($name(text)),
                    Some(rule) => Err(Error::invalid($field, rule)),
                }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }
    };
}

text_identifier!(
    UserId,
    "user_id",
    "A person's user id: 12 digits, printed on the card. Ours end with a check digit (Luhn); imported ones need not."
);
text_identifier!(
    CardSerial,
    "card",
    "A card's chip serial number, as its token reports it: 1 to 32 letters and digits."
);
text_identifier!(OdsCode, "organisation", "An organisation's ODS code: 3 to 10 capital letters and digits.");
text_identifier!(IssuanceId, "issuance", "An issuance: 32 hex digits.");

impl UserId {
    fn rule(text: &str) -> Option<&'static str> {
        let fits = text.len() == 12 && text.bytes().all(|octet| octet.is_ascii_digit());
        (!fits).then_some("a user id has 12 digits")
    }

    /// A new user id: 11 random digits, the first of them 5, and a check digit.
    ///
    /// # Errors
    /// When the random number generator fails.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut octets = [0; 8];
        random.fill(&mut octets).map_err(|_| ca::Error::Random)?;
        let payload = format!("5{:010}", u64::from_be_bytes(octets) % 10_000_000_000);
        let check = luhn_check_digit(&payload);
        Ok(UserId(format!("{payload}{check}")))
    }

    /// Whether the last digit is the check digit of the others.
    pub fn has_check_digit(&self) -> bool {
        let (payload, check) = self.0.split_at(11);
        check == luhn_check_digit(payload).to_string()
    }
}

/// The check digit of ISO/IEC 7812-1 annex B.
fn luhn_check_digit(payload: &str) -> u32 {
    let sum: u32 = payload
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, octet)| {
            let digit = u32::from(octet - b'0');
            match place % 2 {
                0 => digit * 2 / 10 + digit * 2 % 10,
                _ => digit,
            }
        })
        .sum();
    (10 - sum % 10) % 10
}

impl CardSerial {
    fn rule(text: &str) -> Option<&'static str> {
        let fits = (1..=32).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_alphanumeric());
        (!fits).then_some("a card serial number has 1 to 32 letters and digits")
    }
}

impl OdsCode {
    fn rule(text: &str) -> Option<&'static str> {
        let fits = (3..=10).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_uppercase() || octet.is_ascii_digit());
        (!fits).then_some("an ODS code has 3 to 10 capital letters and digits")
    }
}

impl IssuanceId {
    fn rule(text: &str) -> Option<&'static str> {
        let fits = text.len() == 32 && text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        (!fits).then_some("an issuance is named by 32 hex digits")
    }

    /// A new one.
    ///
    /// # Errors
    /// When the random number generator fails.
    pub fn random(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut octets = [0; 16];
        random.fill(&mut octets).map_err(|_| ca::Error::Random)?;
        Ok(IssuanceId(HEXLOWER.encode(&octets)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_user_ids_have_twelve_digits_and_a_check_digit() {
        let random = ring::rand::SystemRandom::new();
        for _ in 0..100 {
            let id = UserId::random(&random).unwrap();
            assert_eq!(id.as_str().len(), 12);
            assert!(id.has_check_digit());
        }
        assert!("555000000018".parse::<UserId>().is_ok());
        for wrong in ["", "55500000001", "5550000000188", "55500000001x", "５５５０００００００１８"] {
            assert!(wrong.parse::<UserId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_wrong_digit_is_noticed() {
        let id = UserId::random(&ring::rand::SystemRandom::new()).unwrap();
        for place in 0..12 {
            let mut digits = id.as_str().as_bytes().to_vec();
            digits[place] = b'0' + (digits[place] - b'0' + 1) % 10;
            let wrong: UserId = String::from_utf8(digits).unwrap().parse().unwrap();
            assert!(!wrong.has_check_digit(), "{id} and {wrong}");
        }
    }

    #[test]
    fn codes_and_serials_are_checked() {
        assert!("RX1".parse::<OdsCode>().is_ok());
        assert!("rx1".parse::<OdsCode>().is_err());
        assert!("60df73b1d4d26e32".parse::<CardSerial>().is_ok());
        assert!("a/b".parse::<CardSerial>().is_err());
        assert!("".parse::<CardSerial>().is_err());
    }
}
