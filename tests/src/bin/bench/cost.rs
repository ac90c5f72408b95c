//! What something took: time, and the processor time of each process that had a part in it.

use std::fs;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::process::Helper;

/// Linux counts processor time for user space in hundredths of a second (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor times that were had meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bench: Duration,
    service: Duration,
    machine: Duration,
}

/// Processor times since something began.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    bench: Time,
    service: Time,
    machine: u64,
}

/// The processor time of a process since it began, read in two ways (proc(5)).
#[derive(Clone, Copy, Debug, Default)]
struct Time {
    /// Its own and that of threads that have ended, in ticks.
    ticks: u64,
    /// Of the threads that it has now, in nanoseconds.
    threads: u64,
}

fn of_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}

impl Time {
    /// The time since `before`: to the nanosecond, unless threads have ended meanwhile that had some of it.
    fn since(self, before: Time) -> Duration {
        let roughly = of_ticks(self.ticks.saturating_sub(before.ticks));
        let exactly = Duration::from_nanos(self.threads.saturating_sub(before.threads));
        if exactly.abs_diff(roughly) <= of_ticks(2) { exactly } else { roughly }
    }

    fn and(self, other: Time) -> Time {
        Time { ticks: self.ticks + other.ticks, threads: self.threads + other.threads }
    }
}

/// How many processors there are.
pub(crate) fn processors() -> f64 {
    let online = fs::read_to_string("/proc/stat").unwrap_or_default();
    // Not those that this process may run on, which can be fewer (`crate::pin`).
    let online = online.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count();
    if online > 0 { online as f64 } else { std::thread::available_parallelism().map_or(1, usize::from) as f64 }
}

/// The processor time that a process has had since it began.
pub(crate) fn since_its_start(helper: &Helper) -> Duration {
    of_process(&helper.id().to_string()).since(Time::default())
}

/// The memory of a process that is in use (proc(5), `VmRSS`), in octets; 0 where there is no /proc.
pub(crate) fn memory(helper: &Helper) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", helper.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_ascii_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// User and system time of a process (proc(5): fields 14 and 15 of `stat`, and the first of each thread's `schedstat`); 0
/// where there is no /proc.
fn of_process(id: &str) -> Time {
    let of_thread = |thread: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let threads = fs::read_dir(format!("/proc/{id}/task")).map(|threads| threads.filter_map(of_thread).sum());
    let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The second field, the name, may hold blanks and parentheses; the last parenthesis ends it.
    let fields = text.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Time { ticks, threads: threads.unwrap_or_default() }
}

/// The time that all processors were not idle, or were taken by the hypervisor.
fn of_machine() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = text.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    // user nice system idle iowait irq softirq steal; what follows is counted in these.
    let busy = fields.take(8).enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    busy.filter_map(|(_, field)| field.parse::<u64>().ok()).sum()
}

/// Whose processor time is looked at beside the bench's own.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    services: Vec<String>,
}

impl Watch {
    /// Only the bench's own.
    pub(crate) fn own() -> Self {
        Watch { services: Vec::new() }
    }

    /// This process's, too.
    pub(crate) fn of(helper: &Helper) -> Self {
        Watch::of_all([helper])
    }

    /// All of these processes' together.
    pub(crate) fn of_all<'a>(helpers: impl IntoIterator<Item = &'a Helper>) -> Self {
        Watch { services: helpers.into_iter().map(|helper| helper.id().to_string()).collect() }
    }

    fn look(&self) -> Look {
        let service = self.services.iter().map(|id| of_process(id)).fold(Time::default(), Time::and);
        Look { bench: of_process("self"), service, machine: of_machine() }
    }

    /// Runs these at the same time; each gives its result and how long every operation took.
    pub(crate) async fn all<T, F>(&self, work: impl IntoIterator<Item = F>) -> (Vec<T>, Sample)
    where
        T: Send + 'static,
        F: Future<Output = (T, Vec<Duration>)> + Send + 'static,
    {
        let work: Vec<F> = work.into_iter().collect();
        let measuring = self.begin();
        let mut running: JoinSet<_> = work.into_iter().collect();
        let mut done = Vec::new();
        while let Some(one) = running.join_next().await {
            done.push(one.expect("no part of a measurement panics"));
        }
        let (results, latencies): (Vec<T>, Vec<Vec<Duration>>) = done.into_iter().unzip();
        (results, measuring.end(latencies.concat()))
    }

    /// Begins a measurement.
    pub(crate) fn begin(&self) -> Measuring<'_> {
        Measuring { watch: self, before: self.look(), began: Instant::now() }
    }

    /// The same on threads, for what blocks.
    pub(crate) async fn threads<F>(&self, work: impl IntoIterator<Item = F>) -> Sample
    where
        F: FnOnce() -> Vec<Duration> + Send + 'static,
    {
        let tasks = work.into_iter().map(|work| async {
            let latencies = tokio::task::spawn_blocking(work).await;
            ((), latencies.expect("no part of a measurement panics"))
        });
        self.all(tasks).await.1
    }
}

/// A measurement that has begun.
pub(crate) struct Measuring<'a> {
    watch: &'a Watch,
    before: Look,
    began: Instant,
}

impl Measuring<'_> {
    /// Ends it; the operations took so long.
    pub(crate) fn end(self, latencies: Vec<Duration>) -> Sample {
        let (wall, after, before) = (self.began.elapsed(), self.watch.look(), self.before);
        let cost = Cost {
            bench: after.bench.since(before.bench),
            service: after.service.since(before.service),
            machine: of_ticks(after.machine.saturating_sub(before.machine)),
        };
        Sample { wall, latencies, cost, has_service: !self.watch.services.is_empty() }
    }
}

/// Does something again and again for so long, and gives how long each took.
pub(crate) fn repeat(length: Duration, mut work: impl FnMut()) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let end = Instant::now() + length;
    loop {
        let began = Instant::now();
        work();
        latencies.push(began.elapsed());
        if Instant::now() >= end {
            return latencies;
        }
    }
}

/// A measurement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    wall: Duration,
    latencies: Vec<Duration>,
    cost: Cost,
    has_service: bool,
}

impl Sample {
    /// This one and another of the same kind.
    pub(crate) fn and(mut self, other: Sample) -> Sample {
        self.wall += other.wall;
        self.latencies.extend(other.latencies);
        self.cost.bench += other.cost.bench;
        self.cost.service += other.cost.service;
        self.cost.machine += other.cost.machine;
        self.has_service |= other.has_service;
        self
    }

    /// Operations.
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    /// Operations per second.
    pub(crate) fn rate(&self) -> f64 {
        self.count() as f64 / self.wall.as_secs_f64()
    }

    /// The time that this part of the operations stayed under.
    pub(crate) fn percentile(&self, part: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let place = (sorted.len() as f64 * part).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn per_operation(&self, time: Duration) -> Duration {
        time.div_f64(self.count().max(1) as f64)
    }

    /// The service's processor time for one operation, if it was watched.
    pub(crate) fn service(&self) -> Option<Duration> {
        self.has_service.then(|| self.per_operation(self.cost.service))
    }

    /// The bench's own processor time for one operation.
    pub(crate) fn bench(&self) -> Duration {
        self.per_operation(self.cost.bench)
    }

    /// What part of all processors others had meanwhile.
    pub(crate) fn others(&self) -> f64 {
        let others = self.cost.machine.saturating_sub(self.cost.bench + self.cost.service);
        others.as_secs_f64() / processors() / self.wall.as_secs_f64()
    }
}

impl Sample {
    /// The same measurement, with these operations alone.
    pub(crate) fn of(&self, latencies: Vec<Duration>) -> Sample {
        Sample { latencies, ..self.clone() }
    }

    /// How many processors the service could have had: all but what this program and others took meanwhile.
    pub(crate) fn left_for_the_service(&self) -> f64 {
        let taken = self.cost.machine.saturating_sub(self.cost.service);
        processors() - taken.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// The same, with another time for its one operation.
    pub(crate) fn taking(mut self, time: Duration) -> Sample {
        self.latencies = vec![time];
        self
    }
}
