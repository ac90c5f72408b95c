//! Stops an issuance at one of its steps, so that a test can do something meanwhile.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use server::steps::{Step, Steps};

use crate::PATIENCE;

/// Lets every step pass, but the one that it is closed at.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed_at: Option<Step>,
    /// How many threads stand at it.
    waiting: usize,
    passed: Vec<Step>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever comes to this step from now on waits there.
    pub fn close_at(&self, step: Step) {
        self.state().closed_at = Some(step);
    }

    /// Whoever waits goes on.
    pub fn open(&self) {
        self.state().closed_at = None;
        self.changed.notify_all();
    }

    /// Waits until `count` threads stand at the gate.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn reached_by(self: &Arc<Self>, count: usize) {
        let gate = Arc::clone(self);
        let reached = tokio::task::spawn_blocking(move || {
            let state = gate.state();
            let waited = gate.changed.wait_timeout_while(state, PATIENCE, |state| state.waiting < count);
            !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
        });
        assert!(reached.await.expect("a waiting thread"), "the step was not reached");
    }

    /// Waits until somebody stands at the gate.
    ///
    /// # Panics
    /// When nobody comes.
    pub async fn reached(self: &Arc<Self>) {
        self.reached_by(1).await;
    }

    /// The steps that were done, in their order.
    pub fn passed(&self) -> Vec<Step> {
        self.state().passed.clone()
    }
}

impl Steps for Gate {
    fn done(&self, step: Step) {
        let mut state = self.state();
        state.passed.push(step);
        if state.closed_at != Some(step) {
            return;
        }
        state.waiting += 1;
        self.changed.notify_all();
        // A test that failed does not open the gate any more: its process has to end all the same.
        let waited = self.changed.wait_timeout_while(state, PATIENCE, |state| state.closed_at == Some(step));
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting -= 1;
    }
}
