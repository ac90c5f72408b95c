//! Who does a rotation: people who name themselves (conformance: K6).

use ca::rotation::RotationKind;

use crate::failure::Failure;
pub(super) use crate::people::MAX_PEOPLE;
use crate::people::{invalid, tidy};

/// The names that were given, tidied; as many as are needed.
pub(super) fn people(given: &[String], needed: usize) -> Result<Vec<String>, Failure> {
    let names = tidy(given)?;
    if names.len() < needed {
        let rule = match needed {
            1 => "whoever does it is named: give --by NAME".to_owned(),
            _ => format!(
                "rule K6: one person alone cannot bring a CA's key into use; {needed} different people name themselves, \
                 with --by NAME each"
            ),
        };
        return Err(invalid(rule));
    }
    Ok(names)
}

pub(super) const fn people_needed(kind: RotationKind) -> usize {
    if kind.makes_a_ca_key() { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(one: &str, other: &str) -> Result<Vec<String>, Failure> {
        people(&[one.to_owned(), other.to_owned()], 2)
    }

    // conformance: K6
    #[test]
    fn two_spellings_of_one_name_are_one_person() {
        for (one, other) in [
            ("Ann Lee", "ann  lee "),
            ("Ann Lee", "Ann\u{a0}Lee"),
            ("Ann Lee", "Ann\u{3000}Lee"),
            ("Zo\u{eb}", "Zoe\u{308}"),
            ("Ann", "\u{ff21}nn"),
            ("Stra\u{df}e", "STRASSE"),
            ("Fi", "\u{fb01}"),
            ("\u{130}da", "i\u{307}da"),
        ] {
            let failure = two(one, other).unwrap_err();
            assert!(format!("{:?}", failure.problem()).contains("K6"), "{one:?} {other:?}: {failure:?}");
        }
        assert_eq!(two(" Ann  Lee", "Bo\u{308}b").unwrap(), ["Ann Lee", "B\u{f6}b"]);
    }

    // conformance: K6
    #[test]
    fn a_name_with_a_character_that_nobody_sees_is_refused() {
        for unseen in ["\u{200b}", "\u{200d}", "\u{feff}", "\u{ad}", "\u{202e}", "\u{fe0f}", "\u{e0041}", "\u{7}"] {
            let failure = two("Ann", &format!("An{unseen}n")).unwrap_err();
            assert!(format!("{:?}", failure.problem()).contains("not seen"), "{unseen:?}: {failure:?}");
        }
        assert!(people(&["\u{200b}".to_owned()], 1).is_err());
    }
}
