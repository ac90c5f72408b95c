//! The figures, and how they are shown.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cost::{Sample, processors};
use crate::pin;

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    /// Its name for scripts.
    id: &'static str,
    /// What it is, in one line.
    what: String,
    value: f64,
    unit: &'static str,
    /// The value as a part of others of the same run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ratios: Vec<Ratio>,
    /// What was asked for, and whether it was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<Wanted>,
    /// How long one operation took, in microseconds: half of them were faster; 99 of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<f64>,
    /// Processor time of the service, and of this program, for one operation, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_cpu_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bench_cpu_us: Option<f64>,
    /// What part of all processors was busy with something else meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Ratio {
    value: f64,
    of: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Wanted {
    what: String,
    is_reached: bool,
}

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether service and client had a processor each.
    apart: bool,
    processors: usize,
    seconds: f64,
    figures: Vec<Figure>,
    #[serde(skip)]
    began: Instant,
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Report {
    /// One without figures.
    pub(crate) fn begin() -> Self {
        Report {
            apart: pin::is_pinned(),
            processors: processors() as usize,
            seconds: 0.0,
            figures: Vec::new(),
            began: Instant::now(),
        }
    }

    /// After the last figure.
    pub(crate) fn end(mut self) -> Self {
        self.seconds = self.began.elapsed().as_secs_f64();
        self
    }

    /// So many a second.
    pub(crate) fn rate(&mut self, id: &'static str, unit: &'static str, sample: &Sample, what: impl Into<String>) {
        self.add(id, sample.rate(), unit, sample, what.into());
    }

    /// What an operation costs the service: the value is its processor time, in microseconds.
    pub(crate) fn cost(&mut self, id: &'static str, sample: &Sample, what: impl Into<String>) {
        self.add(id, microseconds(sample.service().unwrap_or_default()), "µs of CPU", sample, what.into());
    }

    /// How long something took: the value is the median, in milliseconds.
    pub(crate) fn delay(&mut self, id: &'static str, sample: &Sample, what: impl Into<String>) {
        self.add(id, microseconds(sample.percentile(0.5)) / 1e3, "ms", sample, what.into());
    }

    /// How long nearly all operations took at most: the value is the 99th percentile, in milliseconds.
    pub(crate) fn nearly_all(&mut self, id: &'static str, sample: &Sample, what: impl Into<String>) {
        self.add(id, microseconds(sample.percentile(0.99)) / 1e3, "ms (p99)", sample, what.into());
    }

    /// A figure that follows from others.
    pub(crate) fn value(&mut self, id: &'static str, value: f64, unit: &'static str, what: impl Into<String>) {
        self.figures.push(Figure {
            id,
            what: what.into(),
            value,
            unit,
            ratios: Vec::new(),
            wanted: None,
            p50_us: None,
            p99_us: None,
            service_cpu_us: None,
            bench_cpu_us: None,
            others: None,
        });
    }

    fn add(&mut self, id: &'static str, value: f64, unit: &'static str, sample: &Sample, what: String) {
        self.figures.push(Figure {
            id,
            what,
            value,
            unit,
            ratios: Vec::new(),
            wanted: None,
            p50_us: Some(microseconds(sample.percentile(0.5))),
            p99_us: Some(microseconds(sample.percentile(0.99))),
            service_cpu_us: sample.service().map(microseconds),
            bench_cpu_us: Some(microseconds(sample.bench())),
            others: Some(sample.others()),
        });
    }

    /// The figure that was added last is this part of another one.
    pub(crate) fn is_part_of(&mut self, value: f64, of: &'static str) {
        if let Some(last) = self.figures.last_mut() {
            last.ratios.push(Ratio { value, of });
        }
    }

    /// A figure that follows from a sample, which is shown beside it.
    pub(crate) fn value_of(&mut self, id: &'static str, value: f64, unit: &'static str, of: &Sample, what: &str) {
        self.add(id, value, unit, of, what.to_owned());
    }

    /// This was asked for of the figure that was added last.
    pub(crate) fn wanted(&mut self, what: impl Into<String>, is_reached: bool) {
        if let Some(last) = self.figures.last_mut() {
            last.wanted = Some(Wanted { what: what.into(), is_reached });
        }
    }

    /// As one JSON object.
    pub(crate) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("JSON");
        text.push('\n');
        text
    }

    /// As a table.
    pub(crate) fn text(&self) -> String {
        let shared = match self.apart {
            true => "one for the service, one for this client, both shared with whatever else runs",
            false => "shared by the service, this client and whatever else runs",
        };
        let mut out = format!(
            "{} processors, {shared}; {:.0} s in all, over loopback.\n\
             Compare the ratios and the processor time of one operation (CPU), not the rates, with another machine or day.\n\
             `others`: the part of the processors that was busy with something else, the network's interrupts included.\n\n",
            self.processors, self.seconds
        );
        let _ = writeln!(
            out,
            "{:<24}{:>10} {:<16}{:>10}{:>10}{:>13}{:>11}{:>8}",
            "", "", "", "p50", "p99", "service CPU", "bench CPU", "others"
        );
        for figure in &self.figures {
            let time = |time: Option<f64>| time.map(shown).unwrap_or_default();
            let digits = if figure.value < 100.0 { 1 } else { 0 };
            let _ = writeln!(
                out,
                "{:<24}{:>10.digits$} {:<16}{:>10}{:>10}{:>13}{:>11}{:>8}",
                figure.id,
                figure.value,
                figure.unit,
                time(figure.p50_us),
                time(figure.p99_us),
                time(figure.service_cpu_us),
                time(figure.bench_cpu_us),
                figure.others.map(|others| format!("{:.0}%", others * 100.0)).unwrap_or_default(),
            );
            for ratio in &figure.ratios {
                let _ = writeln!(out, "    {:.3} of {}", ratio.value, ratio.of);
            }
            if let Some(Wanted { what, is_reached }) = &figure.wanted {
                let _ = writeln!(out, "    wanted: {what}{}", if *is_reached { "" } else { " (not reached)" });
            }
            let _ = writeln!(out, "    {}", figure.what);
        }
        out
    }
}

fn shown(microseconds: f64) -> String {
    match microseconds {
        0.0..100.0 => format!("{microseconds:.1} µs"),
        100.0..10_000.0 => format!("{:.2} ms", microseconds / 1e3),
        _ => format!("{:.0} ms", microseconds / 1e3),
    }
}
