//! Enrolment codes as text: a secret, and the fingerprint of the CA that made them.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

/// How many octets the secret and the fingerprint have each.
pub const PART_OCTETS: usize = 16;

/// A single-use code as it is read out or pasted: 11 groups of letters and digits.
///
/// The fingerprint lets whoever uses it know the server before there is any other trust: it is the first 16 octets of the
/// SHA-256 of the root certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentCode {
    /// What the server looks it up by.
    pub secret: [u8; PART_OCTETS],
    /// The first 16 octets of the SHA-256 of the root certificate.
    pub ca_fingerprint: [u8; PART_OCTETS],
}

/// The text is no enrolment code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no enrolment code: it has 11 groups of letters and digits; copy the whole of it")]
pub struct InvalidCode;

impl fmt::Display for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = [self.secret, self.ca_fingerprint].concat();
        // One octet more catches a slip of the pen: the sum of the others.
        octets.push(check(&octets));
        let text = BASE32_NOPAD.encode(&octets);
        for (place, group) in text.as_bytes().chunks(5).enumerate() {
            if place > 0 {
                f.write_str("-")?;
            }
            f.write_str(std::str::from_utf8(group).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentCode(hidden)")
    }
}

fn check(octets: &[u8]) -> u8 {
    octets.iter().fold(0u8, |sum, octet| sum.rotate_left(3).wrapping_add(*octet))
}

impl FromStr for EnrolmentCode {
    type Err = InvalidCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 200 {
            return Err(InvalidCode);
        }
        let letters: String =
            text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
        let octets = BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| InvalidCode)?;
        let (body, last) = octets.split_at_checked(2 * PART_OCTETS).ok_or(InvalidCode)?;
        if last != [check(body)] {
            return Err(InvalidCode);
        }
        let part = |range: std::ops::Range<usize>| body[range].try_into().map_err(|_| InvalidCode);
        Ok(EnrolmentCode { secret: part(0..PART_OCTETS)?, ca_fingerprint: part(PART_OCTETS..2 * PART_OCTETS)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_back_however_it_was_typed() {
        let code = EnrolmentCode { secret: [7; 16], ca_fingerprint: [200; 16] };
        let text = code.to_string();
        assert_eq!(text.split('-').count(), 11);
        assert_eq!(text.parse(), Ok(code.clone()));
        assert_eq!(text.to_lowercase().replace('-', " ").parse(), Ok(code));
    }

    #[test]
    fn a_code_with_one_wrong_letter_or_cut_short_is_refused() {
        let text = EnrolmentCode { secret: [7; 16], ca_fingerprint: [200; 16] }.to_string();
        let wrong = if text.starts_with('A') { text.replacen('A', "B", 1) } else { format!("A{}", &text[1..]) };
        assert_eq!(wrong.parse::<EnrolmentCode>(), Err(InvalidCode));
        assert_eq!(text[..text.len() - 1].parse::<EnrolmentCode>(), Err(InvalidCode));
        assert_eq!("".parse::<EnrolmentCode>(), Err(InvalidCode));
    }

    #[test]
    fn a_code_is_not_shown_by_accident() {
        assert_eq!(
            format!("{:?}", EnrolmentCode { secret: [1; 16], ca_fingerprint: [2; 16] }),
            "EnrolmentCode(hidden)"
        );
    }
}
