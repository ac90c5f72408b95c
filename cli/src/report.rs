//! What a command prints: one value, as text or as JSON.

use std::io::Write;

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde::Serialize;

use crate::error::Error;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

fn line(text: &str) {
    // Whoever closed the pipe does not want to read on.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a result.
pub(crate) fn result<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) {
    match format {
        Format::Text => line(text(value).trim_end()),
        Format::Json => line(&serde_json::to_string_pretty(value).unwrap_or_default()),
    }
}

/// Prints a line of a story that is being told.
pub(crate) fn tell(text: &str) {
    line(text);
    let _ = std::io::stdout().flush();
}

/// Prints what happens meanwhile; on standard error, where the result is for scripts.
pub(crate) fn note(format: Format, text: &str) {
    match format {
        Format::Text => line(text),
        Format::Json => {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// Prints why a command failed, on standard error.
pub(crate) fn failure(error: &Error) {
    let _ = writeln!(std::io::stderr(), "cardinal: {error}");
}

/// A table with these headings.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(headings);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// Names and values, one to a line.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}
