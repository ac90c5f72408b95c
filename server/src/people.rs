//! People who name themselves, where more than one has to take part (conformance: K6).

use crate::failure::Failure;

/// The longest name of a person that is recorded, in characters.
const MAX_NAME: usize = 100;

/// How many people are recorded with one act at most.
pub(crate) const MAX_PEOPLE: usize = 16;

/// For [`Result::map_err`] and the like: people who do not suffice.
pub(crate) fn invalid(rule: String) -> Failure {
    ra::Error::invalid("people", rule).into()
}

/// The names that were given, tidied. Names that differ only in case or spaces are one person's.
pub(crate) fn tidy(given: &[String]) -> Result<Vec<String>, Failure> {
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
    Ok(names)
}
