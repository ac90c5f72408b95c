//! Which processor what runs on: the service on the first, this program on the second, so that neither takes time from the
//! other. On a machine with one processor nothing is pinned.

use std::process::{Child, Command};
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this program was given, in order.
fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number)).collect()
}

fn move_to(processors: &[usize]) -> bool {
    let mut set = CpuSet::new();
    processors.iter().for_each(|number| set.set(*number));
    sched_setaffinity(None, &set).is_ok()
}

/// The service's processor and the client's, once they were taken.
static PLACES: OnceLock<[usize; 2]> = OnceLock::new();

/// Moves this thread, and those that it starts, to the client's processor, if there are two. To be called before any other
/// thread is started.
pub(crate) fn take_places() {
    let Some([service, client]) = allowed().first_chunk::<2>().copied() else { return };
    if move_to(&[client]) {
        let _ = PLACES.set([service, client]);
    }
}

/// Whether the two sides have a processor each.
pub(crate) fn is_pinned() -> bool {
    PLACES.get().is_some()
}

/// Where a process runs, once the places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the service's processor.
    Service,
    /// On the client's, beside this program.
    Client,
    /// On both.
    Anywhere,
}

/// Starts a process there.
pub(crate) fn start(command: &mut Command, place: Place) -> std::io::Result<Child> {
    match (PLACES.get(), place) {
        (None, _) => command.spawn(),
        (Some([service, _]), Place::Service) => on(&[*service], || command.spawn()),
        (Some([_, client]), Place::Client) => on(&[*client], || command.spawn()),
        (Some(both), Place::Anywhere) => on(both, || command.spawn()),
    }
}

/// Does something on the service's processor.
pub(crate) fn on_the_service<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match PLACES.get() {
        Some([service, _]) => on(&[*service], work),
        None => work(),
    }
}

/// Does something on a thread of its own there: a process inherits from the thread that starts it where it may run.
fn on<T: Send>(processors: &[usize], work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            assert!(move_to(processors), "a thread cannot be moved to the processors {processors:?}");
            work()
        });
        thread.join().expect("no panic on the other processor")
    })
}
