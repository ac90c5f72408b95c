//! Who does a rotation: people who name themselves (conformance: K6).

use ca::rotation::RotationKind;

use crate::failure::Failure;

/// The longest name of a person that is recorded, in characters.
const MAX_NAME: usize = 100;
/// How many people one rotation records at most.
pub(super) const MAX_PEOPLE: usize = 16;

/// The names that were given, tidied. Names that differ only in case or spaces are one person's.
pub(super) fn people(given: &[String], needed: usize) -> Result<Vec<String>, Failure> {
    let invalid = |rule: String| Failure::from(ra::Error::invalid("people", rule));
    let mut names: Vec<String> = Vec::new();
    for name in given {
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(invalid(format!("a person's name has 1 to {MAX_NAME} characters")));
        }
        if !names.iter().any(|known| known.to_lowercase() == name.to_lowercase()) {
            names.push(name);
        }
    }
    if names.len() > MAX_PEOPLE {
        return Err(invalid(format!("{MAX_PEOPLE} people at most")));
    }
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
