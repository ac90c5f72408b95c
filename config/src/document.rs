//! One TOML text with the position of every key, and the reading of it into raw types. Faults found later, when values
//! are compared with each other, are placed by key through the same index.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Place};
use crate::schema::{Key, Schema, keys_of};

/// Nothing longer is parsed, whoever wrote it.
const LONGEST: usize = 256 * 1024;

/// A parsed text, kept for the positions of its keys.
#[derive(Clone)]
pub(crate) struct Document {
    file: PathBuf,
    text: String,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone)]
struct Entry {
    /// The key with `[]` in place of element numbers, as in the schema.
    schema_path: String,
    key: Range<usize>,
    value: Range<usize>,
    list: bool,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Document {
    /// Parses a text and indexes its keys.
    pub(crate) fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        if text.len() > LONGEST {
            return Err(Error::TooLong { file: file.to_owned(), bytes: text.len(), limit: LONGEST });
        }
        let mut document = Self { file: file.to_owned(), text: text.to_owned(), entries: BTreeMap::new() };
        let table = DeTable::parse(text).map_err(|error| document.syntax(&error))?;
        document.index(table.get_ref(), "", "");
        Ok(document)
    }

    /// Reads the text into a raw type; unknown keys and wrong types are refused with their place.
    pub(crate) fn read<T: Schema + DeserializeOwned>(&self) -> Result<T, Error> {
        self.refuse_unknown_keys(&keys_of::<T>())?;
        toml::from_str(&self.text).map_err(|error| self.mistyped(&error))
    }

    /// The file as it was given.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// All keys of the text in the schema's notation, for the proof that a shipped file shows the whole schema.
    #[cfg(test)]
    pub(crate) fn schema_paths(&self) -> std::collections::BTreeSet<String> {
        self.entries.values().map(|entry| entry.schema_path.clone()).collect()
    }

    /// Where a key's value stands; a key that is not in the text is placed at the section that ought to hold it.
    pub(crate) fn place_of(&self, key: &str) -> Place {
        let mut path = key;
        loop {
            if let Some(entry) = self.entries.get(path) {
                let span = if path == key { &entry.value } else { &entry.key };
                return self.place(span.start);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.place(0),
            }
        }
    }

    /// A value of the wrong form.
    pub(crate) fn value_error(&self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Value { at: self.place_of(key), key: key.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    /// A rule between values that does not hold.
    pub(crate) fn rule_error(&self, key: &str, rule: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Rule { at: self.place_of(key), key: key.to_owned(), rule: rule.into(), remedy: remedy.into() }
    }

    fn place(&self, offset: usize) -> Place {
        // A span may point into the middle of a character when the fault is that character.
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn index(&mut self, table: &DeTable<'_>, path: &str, schema_path: &str) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            let schema_path = join(schema_path, key.get_ref());
            self.insert(path.clone(), schema_path.clone(), key.span(), value);
            self.index_value(value.get_ref(), key.span(), &path, &schema_path);
        }
    }

    fn index_value(&mut self, value: &DeValue<'_>, key: Range<usize>, path: &str, schema_path: &str) {
        match value {
            DeValue::Table(table) => self.index(table, path, schema_path),
            DeValue::Array(elements) => {
                for (number, element) in elements.iter().enumerate() {
                    let path = format!("{path}[{number}]");
                    let schema_path = format!("{schema_path}[]");
                    if matches!(element.get_ref(), DeValue::Table(_) | DeValue::Array(_)) {
                        self.index_value(element.get_ref(), element.span(), &path, &schema_path);
                    }
                    self.insert(path, schema_path, key.clone(), element);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    fn insert(&mut self, path: String, schema_path: String, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let list = matches!(value.get_ref(), DeValue::Array(_));
        self.entries.insert(path, Entry { schema_path, key, value: value.span(), list });
    }

    fn syntax(&self, error: &toml::de::Error) -> Error {
        let problem = first_line(error.message());
        let remedy = if problem.contains("duplicate key") {
            "keep one of the two"
        } else {
            "write `key = value` with text in \"quotes\" and lists in [brackets], and each [section] once"
        };
        Error::Syntax { at: self.place(error.span().map_or(0, |span| span.start)), problem, remedy: remedy.to_owned() }
    }

    fn mistyped(&self, error: &toml::de::Error) -> Error {
        let key = error.span().and_then(|span| self.key_at(span.start)).unwrap_or_default();
        let problem = first_line(error.message());
        let remedy = if problem.contains("expected a string") {
            "write the value in \"quotes\""
        } else if problem.contains("expected i64") {
            "write a whole number without quotes"
        } else if problem.contains("expected a sequence") {
            "write a list, such as [\"one\", \"two\"]; for tables write [[double brackets]]"
        } else if problem.contains("expected struct") || problem.contains("expected a map") {
            "make it a [section]"
        } else {
            "compare it with the commented example that ships with the program"
        };
        Error::Value {
            at: self.place(error.span().map_or(0, |span| span.start)),
            key,
            problem,
            remedy: remedy.to_owned(),
        }
    }

    /// The innermost key whose value covers a position.
    fn key_at(&self, offset: usize) -> Option<String> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.value.contains(&offset) || entry.key.contains(&offset))
            .min_by_key(|(path, entry)| (entry.value.len(), usize::MAX - path.len()))
            .map(|(path, _)| path.clone())
    }

    fn refuse_unknown_keys(&self, known: &[Key]) -> Result<(), Error> {
        let section = |path: &str| path.is_empty() || known.iter().any(|key| key.below.as_deref() == Some(path));
        // Serde would take a list for a section, and its elements for the section's values in their order.
        if let Some((path, _)) = self.entries.iter().find(|(_, entry)| entry.list && section(&entry.schema_path)) {
            return Err(self.value_error(path, "it is a list, and ought to be a section", format!("write [{path}]")));
        }
        let unknown = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.schema_path.ends_with(']'))
            // Below a plain value nothing is unknown: that value has the wrong type, which is said in its own words.
            .filter(|(_, entry)| section(parent(&entry.schema_path)))
            .filter(|(_, entry)| !known.iter().any(|key| key.path == entry.schema_path))
            .min_by_key(|(_, entry)| entry.key.start);
        let Some((path, entry)) = unknown else { return Ok(()) };
        let (nearest, remedy) = suggestion(&entry.schema_path, known);
        Err(Error::UnknownKey { at: self.place(entry.key.start), key: path.clone(), nearest, remedy })
    }
}

/// The key that was probably meant, and the words that say so.
fn suggestion(unknown: &str, known: &[Key]) -> (Option<String>, String) {
    let (section, name) = (parent(unknown), last(unknown));
    let siblings: Vec<&Key> = known.iter().filter(|key| parent(&key.path) == section).collect();
    let near = |candidate: &str| {
        let distance = strsim::damerau_levenshtein(name, candidate);
        (distance <= 2.max(name.chars().count() / 3)).then_some(distance)
    };
    let sibling = siblings
        .iter()
        .filter_map(|key| near(last(&key.path)).map(|distance| (distance, *key)))
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, key)) = sibling {
        return (Some(key.path.clone()), format!("did you mean `{}`?", last(&key.path)));
    }
    let elsewhere = known
        .iter()
        .filter(|key| key.below.is_none())
        .filter_map(|key| near(last(&key.path)).map(|distance| (distance, key)))
        .min_by_key(|(distance, _)| *distance);
    if let Some((_, key)) = elsewhere {
        let home = parent(&key.path);
        let home = home.strip_suffix("[]").map_or_else(|| format!("[{home}]"), |list| format!("[[{list}]]"));
        return (Some(key.path.clone()), format!("did you mean `{}`, which belongs under {home}?", last(&key.path)));
    }
    let names: Vec<String> = siblings.iter().map(|key| format!("`{}`", last(&key.path))).collect();
    let here = if section.is_empty() { "the file has the sections" } else { "known here are" };
    (None, format!("remove it; {here} {}", names.join(", ")))
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn parent(path: &str) -> &str {
    path.rfind('.').map_or("", |dot| &path[..dot])
}

fn last(path: &str) -> &str {
    path.rfind('.').map_or(path, |dot| &path[dot + 1..])
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}
