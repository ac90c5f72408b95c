//! The other stranger who judges what comes out: pkilint, which knows RFC 5280, 6960 and 9919 well enough to find what
//! a parser takes.
//!
//! Each function yields what it found at WARNING or above and what is not in `pkilint-allowed.toml`, where each exception
//! has its reason. An empty list is a pass.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Deserialize;

const ALLOWED: &str = include_str!("../pkilint-allowed.toml");

/// One thing that pkilint has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// FATAL, ERROR, WARNING, NOTICE or INFO.
    pub severity: String,
    /// pkilint's name of it, such as `pkix.crl_number_extension_absent`.
    pub code: String,
    /// Where: the path of the node in the decoded document.
    pub path: String,
    /// What is wrong, where there is more to say than the code does.
    pub message: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {:?}: {}", self.severity, self.code, self.path, self.message.as_deref().unwrap_or("-"))
    }
}

/// A finding that stays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// certificate, chain, crl or ocsp.
    pub linter: String,
    /// pkilint's name of it.
    pub code: String,
    /// The beginning of the path of the node that it is about.
    #[serde(default)]
    pub path: String,
    /// A part of what it says.
    #[serde(default)]
    pub message: String,
    /// Why it stays.
    pub reason: String,
}

/// Everything that is allowed, with its reasons.
///
/// # Panics
/// When the list cannot be read.
pub fn allowed() -> Vec<Allowed> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        allowed: Vec<Allowed>,
    }
    toml::from_str::<List>(ALLOWED).unwrap_or_else(|error| panic!("pkilint-allowed.toml: {error}")).allowed
}

/// A certificate by itself (RFC 5280), DER.
///
/// # Panics
/// When pkilint does not answer.
pub fn lint_certificate(certificate: &[u8]) -> Vec<Finding> {
    not_allowed("certificate", &[certificate])
}

/// A certificate beside that of its issuer: names, key identifiers, policies, signature. Both DER.
///
/// # Panics
/// When pkilint does not answer.
pub fn lint_chain(issuer: &[u8], certificate: &[u8]) -> Vec<Finding> {
    not_allowed("chain", &[issuer, certificate])
}

/// A CRL of any kind (RFC 5280), DER. It takes a second for some thousand entries.
///
/// # Panics
/// When pkilint does not answer.
pub fn lint_crl(crl: &[u8]) -> Vec<Finding> {
    not_allowed("crl", &[crl])
}

/// An OCSP answer (RFC 6960), the DER of the whole `OCSPResponse`.
///
/// # Panics
/// When pkilint does not answer.
pub fn lint_ocsp(response: &[u8]) -> Vec<Finding> {
    not_allowed("ocsp", &[response])
}

/// Fails the test when there is a finding.
///
/// # Panics
/// When there is one.
pub fn assert_clean(what: &str, findings: &[Finding]) {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "pkilint on {what}:\n{}", lines.join("\n"));
}

fn not_allowed(linter: &str, documents: &[&[u8]]) -> Vec<Finding> {
    static LIST: OnceLock<Vec<Allowed>> = OnceLock::new();
    let list = LIST.get_or_init(allowed);
    let mut findings = ask(linter, documents);
    findings.retain(|finding| {
        let serious = matches!(finding.severity.as_str(), "FATAL" | "ERROR" | "WARNING");
        let said = finding.message.as_deref().unwrap_or_default();
        let allowed = list.iter().any(|one| {
            let same = one.linter == linter && one.code == finding.code;
            same && finding.path.starts_with(&one.path) && said.contains(&one.message)
        });
        serious && !allowed
    });
    findings
}

/// pkilint's process; it ends with its standard input.
struct Linter {
    _child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Linter {
    fn start() -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = tests.join("../target/python/bin/python");
        assert!(python.exists(), "there is no pkilint: run `make setup`, which puts it under target/python");
        let mut child = Command::new(python)
            .arg(tests.join("python/lint.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("pkilint starts");
        let questions = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Linter { _child: child, questions, answers }
    }
}

fn ask(linter: &str, documents: &[&[u8]]) -> Vec<Finding> {
    static LINTER: Mutex<Option<Linter>> = Mutex::new(None);

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        Results { results: Vec<OfNode> },
        Error { error: String },
    }
    #[derive(Deserialize)]
    struct OfNode {
        node_path: String,
        finding_descriptions: Vec<Description>,
    }
    #[derive(Deserialize)]
    struct Description {
        severity: String,
        code: String,
        message: Option<String>,
    }

    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |(index, document): (usize, &&[u8])| {
        let path = dir.path().join(format!("{index}.der"));
        std::fs::write(&path, document).expect("a file");
        path
    };
    let files: Vec<_> = documents.iter().enumerate().map(write).collect();
    let question = serde_json::json!({ "linter": linter, "files": files });

    // A test that failed while it held the lock has said why; the linter is none the worse.
    let mut held = LINTER.lock().unwrap_or_else(PoisonError::into_inner);
    let process = held.get_or_insert_with(Linter::start);
    writeln!(process.questions, "{question}").expect("pkilint reads its question");
    let mut line = String::new();
    process.answers.read_line(&mut line).expect("pkilint answers");
    assert!(!line.is_empty(), "pkilint ended; what it said stands on standard error");
    match serde_json::from_str(&line).unwrap_or_else(|error| panic!("pkilint answered {line}: {error}")) {
        Answer::Error { error } => panic!("pkilint ({linter}): {error}"),
        Answer::Results { results } => results
            .into_iter()
            .flat_map(|node| {
                let path = node.node_path;
                let finding = move |one: Description| {
                    let Description { severity, code, message } = one;
                    Finding { severity, code, path: path.clone(), message }
                };
                node.finding_descriptions.into_iter().map(finding)
            })
            .collect(),
    }
}
