//! A worker thread: it owns one session, does one job after another, and gets itself a new session when the old one is
//! lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::Receiver;
use cryptoki::error::RvError;
use cryptoki::session::Session;

use crate::Error;
use crate::connection::Connection;
use crate::error::{Fault, ReturnCode};
use crate::login::Access;

/// How many sessions an operation gets in place of lost ones.
const RENEWALS: u32 = 2;

pub(crate) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

pub(crate) struct Worker {
    access: Arc<Access>,
    connection: Option<Connection>,
    state: State,
}

/// How the last operation left its session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// The session may hold a failed operation, which would make the next one CKR_OPERATION_ACTIVE.
    Doubtful,
    /// The token has closed it.
    Gone,
}

impl Worker {
    pub(crate) fn new(access: Arc<Access>, connection: Connection) -> Self {
        Worker { access, connection: Some(connection), state: State::Good }
    }

    /// Works until the queue is closed and empty, and gives the session back: the last one is needed to log out.
    pub(crate) fn work(mut self, jobs: &Receiver<Job>) -> Option<Session> {
        for job in jobs {
            if catch_unwind(AssertUnwindSafe(|| job(&mut self))).is_err() {
                tracing::error!(token = self.access.label(), "an operation panicked; its session is replaced");
                self.state = State::Doubtful;
            }
        }
        self.connection.map(|connection| connection.session)
    }

    /// Runs an operation. When the token or the session is lost, it gets a new session, logs in again, and runs once
    /// more; where that session is lost too, as when the token closes all of them at once while another worker opens its
    /// own, one last time. `operation` must be such that this does no harm, even if an earlier run did its work.
    pub(crate) fn run<T>(
        &mut self,
        mut operation: impl FnMut(&mut Connection, &str) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let access = Arc::clone(&self.access);
        let token = access.label();
        let mut renewals = 0;
        loop {
            let fault = match operation(self.connection()?, token) {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            self.state = state_after(&fault);
            let Some(code) = fault.code().filter(|code| is_lost(*code)) else {
                return Err(fault.named(token));
            };
            if renewals == RENEWALS {
                return Err(fault.lost(token));
            }
            renewals += 1;
            tracing::warn!(token, code = %ReturnCode(code), "the session is lost; opening another");
        }
    }

    fn connection(&mut self) -> Result<&mut Connection, Error> {
        let owners = self.access.owners();
        let mut current = self.connection.take();
        let usable = match (&mut current, self.state) {
            (Some(connection), State::Good) => connection.keep_up(self.access.generation(), owners),
            _ => false,
        };
        let gone = self.state != State::Doubtful;
        self.state = State::Good;
        let connection = match current {
            Some(connection) if usable => connection,
            old => {
                // The new session comes first: closing the token's last session logs out.
                let renewed = self.access.connect();
                if let Some(old) = old {
                    old.close(gone, owners);
                }
                renewed?
            }
        };
        Ok(self.connection.insert(connection))
    }
}

fn state_after(fault: &Fault) -> State {
    match fault.code() {
        Some(
            RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::DeviceRemoved | RvError::TokenNotPresent,
        ) => State::Gone,
        _ if matches!(fault, Fault::Error(_)) => State::Good,
        _ => State::Doubtful,
    }
}

/// Whether a new session, a new login and a new search for the key may help.
fn is_lost(code: RvError) -> bool {
    matches!(
        code,
        RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::UserNotLoggedIn
            | RvError::DeviceError
            | RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
    )
}
