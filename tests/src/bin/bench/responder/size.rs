//! The register in memory, and how soon a responder that has it on its disk answers.

use super::subject::{Registered, Subject};
use crate::cost::{memory, since_its_start};
use crate::report::Report;

/// What was asked for: octets for the status of each certificate, and seconds.
const OCTETS: f64 = 100.0;
const SECONDS: f64 = 2.0;

/// Looks at a responder that was just started.
pub(crate) fn run(registered: &Registered, subject: &Subject, report: &mut Report) {
    let (full, certificates) = (memory(&subject.process), registered.certificates());
    let octets = full.saturating_sub(registered.empty) as f64 / f64::from(certificates);
    let mebi = |octets: u64| octets as f64 / f64::from(1 << 20);
    let what = format!(
        "memory of the process for each of {certificates} certificates (VmRSS {:.0} MiB, {:.0} MiB without them)",
        mebi(full),
        mebi(registered.empty)
    );
    report.value("size.octets", octets, "octets", what);
    report.wanted(format!("at most {OCTETS} for the status"), octets <= OCTETS);
    let (clock, processor) = (subject.started.as_secs_f64(), since_its_start(&subject.process).as_secs_f64());
    if let Some(fetched) = subject.fetched {
        let what = "from nothing to the first \"good\" when all of them have to be fetched from the service";
        report.value("size.fetch", fetched.as_secs_f64(), "s", what);
    }
    let what =
        format!("from nothing to the first \"good\" with all of them on its disk, {processor:.2} s of processor time");
    report.value("size.start", clock, "s", what);
    report.wanted(format!("less than {SECONDS}"), clock < SECONDS);
}
