//! Probes: what is published, as relying systems see it.

use std::time::Duration;

use relying::probe::{self, CrlProbe, CrlReport, Outcome};

use super::{Context, wait};
use crate::args::ProbeCommand;
use crate::error::Error;
use crate::report;

pub(crate) fn run(context: &Context, command: ProbeCommand) -> Result<(), Error> {
    let ProbeCommand::Crl { url, issuers: files, base, max_octets, timeout } = command;
    let mut issuers = Vec::new();
    for file in files {
        let unreadable = |source| Error::Usage(format!("--issuer {} cannot be read: {source}", file.display()));
        let content = std::fs::read(&file).map_err(unreadable)?;
        issuers.extend(probe::ca_certificates(&content)?);
    }
    let now = relying::system_clock()();
    let probe = CrlProbe { url, base, issuers, now, max_octets, time: Duration::from_secs(timeout) };
    let report = wait(async { Ok(probe::crl(&probe).await?) })?;
    report::result(context.format, &report, text);
    match report.count(Outcome::Failed) {
        0 => Ok(()),
        failed => Err(Error::Probe { failed, checks: report.checks.len() }),
    }
}

fn text(report: &CrlReport) -> String {
    let or_unknown = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let mut fields = vec![
        ("crl", report.url.clone()),
        ("kind", or_unknown(report.kind.map(str::to_owned))),
        ("issuer", or_unknown(report.issuer.clone())),
        ("number", or_unknown(report.number.clone())),
    ];
    if let Some(base) = &report.base {
        fields.push(("base", base.clone()));
    }
    fields.extend([
        ("from", or_unknown(report.this_update.map(|time| time.to_string()))),
        ("until", or_unknown(report.next_update.map(|time| time.to_string()))),
        ("entries", or_unknown(report.entries.map(|entries| entries.to_string()))),
        ("octets", or_unknown(report.octets.map(|octets| octets.to_string()))),
        ("read in", format!("{} ms", report.milliseconds)),
    ]);
    let rows = report.checks.iter().map(|check| {
        let outcome = match check.outcome {
            Outcome::Passed => "ok",
            Outcome::Warning => "warning",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        [check.name.to_owned(), outcome.to_owned(), check.text.clone()]
    });
    format!("{}\n{}", report::fields(&fields), report::table(["check", "outcome", "found"], rows))
}
