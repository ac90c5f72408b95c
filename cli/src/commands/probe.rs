//! Probes: what is published, as relying systems see it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use relying::probe::{self, Check, CrlProbe, CrlReport, OcspProbe, OcspReport, Outcome};

use super::{Context, wait};
use crate::args::ProbeCommand;
use crate::error::Error;
use crate::report;

pub(crate) fn run(context: &Context, command: ProbeCommand) -> Result<(), Error> {
    let now = relying::system_clock()();
    let checks = match command {
        ProbeCommand::Crl { url, issuers, base, max_octets, timeout } => {
            let issuers = certificates("--issuer", &issuers)?;
            let probe = CrlProbe { url, base, issuers, now, max_octets, time: Duration::from_secs(timeout) };
            let report = wait(async { Ok(probe::crl(&probe).await?) })?;
            report::result(context.format, &report, crl);
            report.checks
        }
        ProbeCommand::Ocsp { url, certificate, issuers, nonce, expect, warn, timeout } => {
            let certificate = match certificates("--cert", std::slice::from_ref(&certificate))?.as_slice() {
                // A file with its chain begins with the certificate itself (RFC 8446 4.4.2).
                [first, ..] => first.clone(),
                [] => return Err(Error::Usage(format!("--cert {} holds no certificate", certificate.display()))),
            };
            let issuers = certificates("--issuer", &issuers)?;
            let time = Duration::from_secs(timeout);
            let probe = OcspProbe { url, certificate, issuers, nonce, expected: expect, warn, now, time };
            let report = wait(async { Ok(probe::ocsp(&probe).await?) })?;
            report::result(context.format, &report, ocsp);
            report.checks
        }
    };
    match checks.iter().filter(|check| check.outcome == Outcome::Failed).count() {
        0 => Ok(()),
        failed => Err(Error::Probe { failed, checks: checks.len() }),
    }
}

fn certificates(option: &str, files: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    let read = |file: &PathBuf| {
        let of_file = |source: Error| Error::OfFile { path: file.clone(), source: Box::new(source) };
        let content = std::fs::read(file).map_err(|source| unreadable(option, file, &source))?;
        probe::ca_certificates(&content).map_err(|error| of_file(error.into()))
    };
    Ok(files.iter().map(read).collect::<Result<Vec<_>, Error>>()?.concat())
}

fn unreadable(option: &str, file: &Path, source: &std::io::Error) -> Error {
    Error::Usage(format!("{option} {} cannot be read: {source}", file.display()))
}

fn or_unknown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn crl(report: &CrlReport) -> String {
    let mut fields = vec![
        ("crl", report.url.clone()),
        ("kind", or_unknown(report.kind)),
        ("issuer", or_unknown(report.issuer.as_ref())),
        ("number", or_unknown(report.number.as_ref())),
    ];
    if let Some(base) = &report.base {
        fields.push(("base", base.clone()));
    }
    fields.extend([
        ("from", or_unknown(report.this_update)),
        ("until", or_unknown(report.next_update)),
        ("entries", or_unknown(report.entries)),
        ("octets", or_unknown(report.octets)),
        ("read in", format!("{} ms", report.milliseconds)),
    ]);
    format!("{}\n{}", report::fields(&fields), table(&report.checks))
}

fn ocsp(report: &OcspReport) -> String {
    let status = match (&report.revoked_at, &report.reason) {
        (Some(at), Some(reason)) => format!("{}, {reason}, since {at}", or_unknown(report.status)),
        _ => or_unknown(report.status),
    };
    let seen = report.revocation_seen_within_seconds.map(|seen| {
        let by_http = seen.max_age.map_or_else(String::new, |seconds| format!(", or {seconds} s by max-age"));
        format!("within {} s by who keeps answers to their nextUpdate{by_http}", seen.next_update)
    });
    let fields = [
        ("responder", report.url.clone()),
        ("certificate", format!("{} of {}", report.certificate, report.issuer)),
        ("status", status),
        ("from", or_unknown(report.this_update)),
        ("until", or_unknown(report.next_update)),
        ("signed at", or_unknown(report.produced_at)),
        ("signer", or_unknown(report.signer.as_ref())),
        ("signer until", or_unknown(report.signer_until)),
        ("revocation seen", or_unknown(seen)),
        ("answered in", format!("{} ms", report.milliseconds)),
    ];
    format!("{}\n{}", report::fields(&fields), table(&report.checks))
}

fn table(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let outcome = match check.outcome {
            Outcome::Passed => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        [check.name.to_owned(), outcome.to_owned(), check.text.clone()]
    });
    report::table(["check", "outcome", "found"], rows)
}
