//! A token, logged in: a pool of sessions, each with a thread of its own, behind one bounded queue.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, TrySendError, bounded};
use cryptoki::session::Session;

use crate::connection::Connection;
use crate::error::Fault;
use crate::login::Access;
use crate::module::Claim;
use crate::worker::{Job, Worker};
use crate::{Error, Module, Pin, Pins, SlotDescription, TokenSelector, slot};

/// How much of a token is used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenOptions {
    /// Sessions, each with a thread; at least one. More than the token has cores only add latency.
    pub sessions: usize,
    /// Operations that may wait for a session before [`Error::Busy`]; at least one.
    pub queue: usize,
}

impl Default for TokenOptions {
    /// One session per core of this machine, and 256 that wait.
    fn default() -> Self {
        TokenOptions { sessions: thread::available_parallelism().map_or(1, usize::from), queue: 256 }
    }
}

/// An open token. It stays logged in until [`Token::close`], or until the last reference (keys hold one) is dropped.
///
/// Every operation waits for the token. One that finds the session or the device lost (CKR_SESSION_HANDLE_INVALID,
/// CKR_DEVICE_REMOVED and the like) is run once more with a new session and, where needed, a new login.
pub struct Token {
    access: Arc<Access>,
    queue: usize,
    running: RwLock<Option<Running>>,
}

struct Running {
    jobs: Sender<Job>,
    workers: Vec<JoinHandle<Option<Session>>>,
    _claim: Claim,
}

impl Token {
    /// Opens a token's sessions and logs in, once for all of them.
    ///
    /// A PIN that the token refuses is tried once and never again in this process, whoever opens the token
    /// (conformance: K4). Where a change of the PIN was interrupted, see [`crate::PinFile::open_token`].
    ///
    /// # Errors
    /// [`Error::TokenMissing`], [`Error::TokenAmbiguous`], [`Error::AlreadyOpen`]; [`Error::PinIncorrect`],
    /// [`Error::PinRefusedBefore`], [`Error::PinLocked`], [`Error::PinFinalTry`]; [`Error::Pkcs11`].
    pub fn open(
        module: &Arc<Module>,
        selector: &TokenSelector,
        pins: impl Into<Pins>,
        options: TokenOptions,
    ) -> Result<Arc<Token>, Error> {
        let (_, description) = slot::choose(module.list()?, selector)?;
        let claim = module.claim(&description)?;
        let queue = options.queue.max(1);
        let (jobs, waiting) = bounded::<Job>(queue);
        let access = Arc::new(Access::new(Arc::clone(module), description, pins.into()));
        let sessions = options.sessions.max(1);
        let connections = (0..sessions).map(|_| access.connect()).collect::<Result<Vec<Connection>, Error>>()?;
        let mut running = Running { jobs, workers: Vec::with_capacity(sessions), _claim: claim };
        for connection in connections {
            let (worker, jobs) = (Worker::new(Arc::clone(&access), connection), waiting.clone());
            let started = thread::Builder::new().name("pkcs11-session".into()).spawn(move || worker.work(&jobs));
            match started {
                Ok(worker) => running.workers.push(worker),
                Err(error) => {
                    let token = access.label().to_owned();
                    running.stop(&access);
                    return Err(Error::Thread { token, reason: error.to_string() });
                }
            }
        }
        tracing::info!(token = access.label(), sessions = running.workers.len(), "token opened");
        Ok(Arc::new(Token { access, queue, running: RwLock::new(Some(running)) }))
    }

    /// The token as it was when it was opened.
    pub fn description(&self) -> &SlotDescription {
        self.access.token()
    }

    /// Its label.
    pub fn label(&self) -> &str {
        self.access.label()
    }

    /// How many operations wait for a session now.
    pub fn queued(&self) -> usize {
        self.running.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, |running| running.jobs.len())
    }

    /// Finishes what waits, logs out and closes every session. Later calls by this token and its keys give
    /// [`Error::Closed`]; the next [`Token::open`] needs the PIN again. Closing twice does no harm.
    pub fn close(&self) {
        let running = self.running.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(running) = running {
            running.stop(&self.access);
        }
    }

    /// Changes the user's PIN, for the token and for later logins of this [`Token`].
    ///
    /// # Errors
    /// [`Error::OldPinDiffers`] without asking the token when `old` is not the PIN in use; [`Error::PinIncorrect`],
    /// [`Error::PinLocked`]; [`Error::Pkcs11`] when the new PIN is not to the token's taste; and
    /// [`Error::PinChangeUnknown`] when the token failed in the middle: the same call made again finds out.
    pub fn change_pin(&self, old: &Pin, new: &Pin) -> Result<(), Error> {
        let (access, old, new) = (Arc::clone(&self.access), old.clone(), new.clone());
        // As an `Error`, a lost session is not tried again: had the change been done, the old PIN would count as wrong.
        self.run(move |connection, _| {
            let slot = access.slot()?;
            Ok(access.change_pin(slot, &connection.session, &old, &new)?)
        })
    }

    /// The PIN in use: what the next login takes.
    pub fn pin(&self) -> Pin {
        self.access.pin()
    }

    /// Whether a change of the PIN failed in a way that leaves open whether the token has the new one.
    pub fn is_pin_in_doubt(&self) -> bool {
        self.access.is_pin_in_doubt()
    }

    pub(crate) fn pin_that_worked(&self) -> Option<Pin> {
        self.access.pin_that_worked()
    }

    pub(crate) fn forget_next_pin(&self) {
        self.access.forget_next_pin();
    }

    /// Random octets from the token.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Pkcs11`].
    pub fn generate_random(&self, length: u32) -> Result<Vec<u8>, Error> {
        self.run(move |connection, _| Ok(connection.session.generate_random_vec(length)?))
    }

    /// Has a worker run `operation`, and waits for it; see [`Worker::run`] for what the operation must bear.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Connection, &str) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = bounded(1);
        let job: Job = Box::new(move |worker| {
            // Nobody waits for the answer only if the caller's thread is gone.
            let _ = reply.send(worker.run(operation));
        });
        let closed = || Error::Closed { token: self.label().to_owned() };
        {
            let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
            let running = running.as_ref().ok_or_else(closed)?;
            running.jobs.try_send(job).map_err(|refused| match refused {
                TrySendError::Full(_) => Error::Busy { token: self.label().to_owned(), queue: self.queue },
                TrySendError::Disconnected(_) => closed(),
            })?;
        }
        answer.recv().map_err(|_| Error::Module {
            token: self.label().to_owned(),
            reason: "the operation ended without an answer (see the log)".into(),
        })?
    }

    pub(crate) fn void_handles(&self) {
        self.access.void_handles();
    }
}

impl Running {
    fn stop(self, access: &Access) {
        let Running { jobs, workers, _claim } = self;
        drop(jobs);
        let sessions: Vec<Session> = workers.into_iter().filter_map(|worker| worker.join().ok().flatten()).collect();
        if let Some(session) = sessions.first()
            && let Err(error) = session.logout()
        {
            tracing::warn!(token = access.label(), %error, "logging out failed; closing the sessions does it too");
        }
        drop(sessions);
        tracing::info!(token = access.label(), "token closed");
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("description", self.description()).finish_non_exhaustive()
    }
}
