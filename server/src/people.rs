//! People who name themselves, where more than one has to take part (conformance: K6).

use unicode_normalization::UnicodeNormalization;

use crate::failure::Failure;

/// The longest name of a person that is recorded, in characters.
const MAX_NAME: usize = 100;

/// How many people are recorded with one act at most.
pub(crate) const MAX_PEOPLE: usize = 16;

/// For [`Result::map_err`] and the like: people who do not suffice.
pub(crate) fn invalid(rule: String) -> Failure {
    ra::Error::invalid("people", rule).into()
}

/// What two spellings of one name have in common: compatibility forms, case and spaces count for nothing. Folding may
/// bring forth what is to be normalized once more.
fn folded(name: &str) -> String {
    let folded: String = name.nfkd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names that were given, tidied and in NFC. Names that differ only in case, spaces or the way in which Unicode writes
/// them are one person's.
pub(crate) fn tidy(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut names: Vec<String> = Vec::new();
    for name in given {
        let name: String = name.split_whitespace().collect::<Vec<_>>().join(" ").nfc().collect();
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err(invalid(format!("a person's name has 1 to {MAX_NAME} characters")));
        }
        if let Some(unseen) = name.chars().find(|c| ra::person::is_unseen(*c)) {
            let rule = format!("a person's name has no control character, and none that is not seen, as {unseen:?}");
            return Err(invalid(rule));
        }
        if !names.iter().any(|known| folded(known) == folded(&name)) {
            names.push(name);
        }
    }
    if names.len() > MAX_PEOPLE {
        return Err(invalid(format!("{MAX_PEOPLE} people at most")));
    }
    Ok(names)
}
