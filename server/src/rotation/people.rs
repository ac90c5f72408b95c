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
