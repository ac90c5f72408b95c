//! What can go wrong at a station, and what to do then.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use api::Problem;

/// Why something was not done. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service refused, and says why.
    #[error("{}", problem_text(.0))]
    Problem(Box<Problem>),
    /// The server's address is none.
    #[error("{url:?} is no address of a server: {reason}. Write https://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection.
    #[error("{server} cannot be reached: {reason}. Check that it runs, and that the address is right")]
    Connect {
        /// The server.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The server is not the one that it should be.
    #[error(
        "{server} is not trusted: {reason}. Check the address; when the service has a new root certificate, enrol this \
         station again"
    )]
    ServerNotTrusted {
        /// The server.
        server: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// The server ended the TLS handshake: it did not take the client's certificate, or wants one.
    #[error(
        "{server} refused the TLS handshake ({alert}): the client's certificate is missing, expired, or not from a CA \
         that it trusts"
    )]
    HandshakeRefused {
        /// The server.
        server: String,
        /// The TLS alert (RFC 8446 6.2).
        alert: String,
    },
    /// The connection broke, and the request may have arrived.
    #[error(
        "the connection to {server} broke: {reason}. The request may have been carried out; look at the result before \
         it is made again"
    )]
    Broken {
        /// The server.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time; the request may have arrived.
    #[error(
        "{server} did not answer within {} s. The request may have been carried out; look at the result before it is \
         made again", after.as_secs_f32()
    )]
    Timeout {
        /// The server.
        server: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// An answer that this version does not understand.
    #[error(
        "{server} answered {status} in a way that is not understood here: {reason}. Do both have the same version?"
    )]
    Answer {
        /// The server.
        server: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// An answer that is too long to be one.
    #[error("{server} answered with more than {limit} octets, so the answer was not read. Ask for a smaller page")]
    AnswerTooLong {
        /// The server.
        server: String,
        /// The limit in octets.
        limit: usize,
    },
    /// A request that cannot be made.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// A file of the station.
    #[error("{}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key or certificate, or its file.
    #[error(transparent)]
    Tls(#[from] ::tls::Error),
    /// The directory holds a station already.
    #[error("{}: a station is enrolled here already. Say so explicitly to replace it", path.display())]
    AlreadyEnrolled {
        /// Its `station.toml`.
        path: PathBuf,
    },
    /// What the service sent as the station's certificate.
    #[error("the service's answer to the enrolment cannot be used: {0}. Get a new code, and enrol again")]
    Enrolment(String),
    /// The station's configuration.
    #[error(transparent)]
    Config(#[from] Box<config::Error>),
    /// The card or its module.
    #[error(transparent)]
    Card(#[from] hsm::Error),
    /// A card without a key and certificate for this purpose.
    #[error("card {card} has no {what}: issue its certificates first")]
    CardEmpty {
        /// The card's serial number.
        card: String,
        /// What it lacks.
        what: String,
    },
    /// A certificate on the card, or for it, that is not understood.
    #[error("card {card}: the {purpose} certificate cannot be used: {reason}")]
    Certificate {
        /// The card's serial number.
        card: String,
        /// `authentication` or `signing`.
        purpose: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What was read back is not what was written.
    #[error(
        "card {card}: the {purpose} certificate that was read back is not the one that was written, so nothing was \
         confirmed. Clean the contacts and take the issuance up again, or use another card"
    )]
    ReadBack {
        /// The card's serial number.
        card: String,
        /// `authentication` or `signing`.
        purpose: &'static str,
    },
    /// The service is still signing.
    #[error(
        "issuance {issuance} is still under way at the service. Try again in a moment, at the latest at {confirm_by}"
    )]
    UnderWay {
        /// The issuance.
        issuance: String,
        /// When it is undone.
        confirm_by: String,
    },
    /// Only an operator may see what the service knows of the card.
    #[error(
        "card {card} has new certificates, and no issuance of it is open: log an operator in and take it up again, to see \
         whether they were confirmed"
    )]
    SessionNeeded {
        /// The card's serial number.
        card: String,
    },
    /// The challenge is not for this station.
    #[error("the service takes this station for {theirs:?}, and it is {ours:?}: enrol it again")]
    OtherStation {
        /// The name in the challenge.
        theirs: String,
        /// The name in the configuration.
        ours: String,
    },
    /// The system's random number generator.
    #[error("the system's random number generator failed")]
    Random,
    /// A thread ended without a result.
    #[error("a thread ended without a result (see the log): {0}")]
    Thread(String),
}

impl Error {
    /// The problem that the service described, if it did.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Error::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the service says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.problem().is_some_and(|problem| problem.status == 404)
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        Error::Config(Box::new(error))
    }
}

fn problem_text(problem: &Problem) -> String {
    let mut text = format!("{} ({})", problem.title, problem.status);
    if !problem.detail.is_empty() {
        text = format!("{text}: {}", problem.detail);
    }
    if let Some(rule) = &problem.rule {
        text.push_str(&format!(" [rule {rule}]"));
    }
    text
}
