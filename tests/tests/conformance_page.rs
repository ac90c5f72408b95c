//! docs/conformance.md says of each row which tests cover it. The tests say it too, and theirs is the truth: this test
//! compares the two. `CARDINAL_UPDATE_DOCS=1 cargo test -p tests --test conformance_page` writes the lists of files anew;
//! the words in front of them stay, and are for a human to keep true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const PAGE: &str = "docs/conformance.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests crate is in the workspace").to_owned()
}

/// Every Rust file of the workspace, by its path from the root, in order.
fn rust_files(dir: &Path, below: &str, found: &mut Vec<(String, PathBuf)>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !["target", "fuzz", "demo"].contains(&name.as_str()) {
                rust_files(&entry.path(), &path, found);
            }
        } else if name.ends_with(".rs") {
            found.push((path, entry.path()));
        }
    }
}

/// The part of a file that is tests: all of it, or what follows `#[cfg(test)]`.
fn tests_of<'a>(path: &str, text: &'a str) -> &'a str {
    let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    if is_test { text } else { text.find("#[cfg(test)]").map_or("", |start| &text[start..]) }
}

fn is_row(word: &str) -> bool {
    let digits = word.get(1..).unwrap_or("");
    word.starts_with(|first: char| "OHCERAK".contains(first))
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The rows that a file's tests name in their comments, after the word that marks them.
fn rows_in(text: &str) -> BTreeSet<&str> {
    let comments = text.lines().map(str::trim_start).filter(|line| line.starts_with("//"));
    let named = comments.filter_map(|line| line.split_once("conformance:")).flat_map(|(_, rest)| {
        rest.split([',', ' ']).map(|word| word.trim_matches(['(', ')', '.', ';', ':'])).filter(|word| is_row(word))
    });
    named.collect()
}

/// The tests of each row, as links.
fn covered() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    rust_files(&root(), "", &mut files);
    let mut covered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, file) in files {
        let text = std::fs::read_to_string(file).unwrap();
        for row in rows_in(tests_of(&path, &text)) {
            covered.entry(row.to_owned()).or_default().insert(link(&path));
        }
    }
    covered
}

fn link(path: &str) -> String {
    let (room, rest) = path.split_once('/').unwrap_or(("", path));
    let file = match rest.split_once("src/") {
        Some(("", inside)) => inside,
        _ => match rest.rsplit_once('/') {
            Some((dir, "mod.rs")) => &rest[dir.rfind('/').map_or(0, |slash| slash + 1)..],
            Some((_, file)) => file,
            None => rest,
        },
    };
    format!("[{room} {file}](../{path})")
}

/// Words, and the list of links that ends a cell, if one does.
fn split_cell(cell: &str) -> (&str, BTreeSet<String>) {
    let starts = cell.match_indices('[').map(|(start, _)| start);
    for start in starts {
        let links: Vec<&str> = cell[start..].split(", ").collect();
        let is_link = |text: &&str| text.starts_with('[') && text.ends_with(')') && text.matches("](").count() == 1;
        if links.iter().all(is_link) {
            return (cell[..start].trim_end(), links.into_iter().map(str::to_owned).collect());
        }
    }
    (cell, BTreeSet::new())
}

fn cell(words: &str, links: &BTreeSet<String>) -> String {
    let links: Vec<&str> = links.iter().map(String::as_str).collect();
    let words = words.trim_end_matches(':');
    match (words.is_empty(), links.is_empty()) {
        (_, true) => words.to_owned(),
        (true, false) => links.join(", "),
        (false, false) => format!("{words}: {}", links.join(", ")),
    }
}

/// The page with the lists as they should be, and the rows whose list was another.
fn corrected(page: &str, covered: &BTreeMap<String, BTreeSet<String>>) -> (String, Vec<String>) {
    let mut wrong = Vec::new();
    let lines = page.lines().map(|line| {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", row, rule, today, ""] = columns[..] else { return line.to_owned() };
        if !is_row(row) {
            return line.to_owned();
        }
        let (words, links) = split_cell(today);
        let expected = covered.get(row).cloned().unwrap_or_default();
        let untold = words.is_empty() && expected.is_empty();
        let contradicts = !expected.is_empty() && words.starts_with("not yet") && !words.contains(';');
        if links != expected || untold || contradicts {
            wrong.push(row.to_owned());
        }
        format!("| {row} | {rule} | {} |", cell(words, &expected))
    });
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    (text, wrong)
}

#[test]
fn the_page_lists_the_tests_of_each_row() {
    let path = root().join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let covered = covered();
    let (text, wrong) = corrected(&page, &covered);
    if std::env::var_os("CARDINAL_UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    assert!(
        wrong.is_empty(),
        "{PAGE} and the tests disagree on {wrong:?}: write the lists anew with CARDINAL_UPDATE_DOCS=1, and read the words"
    );
    let unknown: Vec<&String> = covered.keys().filter(|row| !page.contains(&format!("| {row} |"))).collect();
    assert!(unknown.is_empty(), "tests name rows that {PAGE} does not have: {unknown:?}");
}

#[test]
fn a_missing_a_stale_and_an_untold_row_are_noticed() {
    let covered = BTreeMap::from([("E1".to_owned(), BTreeSet::from([link("pki/tests/lint.rs")]))]);
    let page = "| E1 | v3 | |\n| E2 | dates | [pki lint.rs](../pki/tests/lint.rs) |\n| E3 | keys | not yet |\n";
    let (text, wrong) = corrected(page, &covered);
    assert_eq!(wrong, ["E1", "E2"]);
    assert_eq!(text, "| E1 | v3 | [pki lint.rs](../pki/tests/lint.rs) |\n| E2 | dates |  |\n| E3 | keys | not yet |\n");
    assert_eq!(corrected(&text, &covered).1, ["E2"]);
    assert_eq!(corrected("| E1 | v3 | not yet |\n", &covered).1, ["E1"]);
}
