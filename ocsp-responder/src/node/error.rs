//! What can go wrong at a responder of its own, and what to do then.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::{Problem, responders};

use super::replica_dir::ReplicaDirError;

/// Why something was not done. Nothing in it is secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The CA refused, and says why.
    #[error("the CA refused: {}", problem_text(.0))]
    Problem(Box<Problem>),
    /// The CA's address is none.
    #[error("{url:?} is no address of a CA: {reason}. Write https://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection.
    #[error("{server} cannot be reached: {reason}. Check that it runs, and that the address is right")]
    Connect {
        /// The CA.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The CA is not the one that it should be.
    #[error(
        "{server} is not trusted: {reason}. Check `responder.server`; if the CA's root was rotated while this responder \
         was off, enrol it again"
    )]
    ServerNotTrusted {
        /// The CA.
        server: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// The CA ended the TLS handshake: it did not take the responder's certificate.
    #[error(
        "{server} refused the TLS handshake ({alert}): this responder's certificate is expired, or not from that CA. \
         Enrol it again"
    )]
    HandshakeRefused {
        /// The CA.
        server: String,
        /// The TLS alert (RFC 8446 6.2).
        alert: String,
    },
    /// The connection broke.
    #[error("the connection to {server} broke: {reason}")]
    Broken {
        /// The CA.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time.
    #[error("{server} did not answer within {} s", after.as_secs_f32())]
    Timeout {
        /// The CA.
        server: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// An answer that this version does not understand.
    #[error(
        "{server} answered {status} in a way that is not understood here: {reason}. Do both have the same version?"
    )]
    Answer {
        /// The CA.
        server: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// An answer that is too long.
    #[error("{server} sent more than {limit} octets, so the answer was not read. {remedy}")]
    TooLong {
        /// The CA.
        server: String,
        /// The limit in octets.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// What came over the feed makes no sense.
    #[error("the feed of {server}: {reason}")]
    Feed {
        /// The CA.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the CA says about its issuers cannot be trusted.
    #[error("the CA's list of issuers is not used: {0}")]
    Issuers(String),
    /// What the CA sent as a certificate.
    #[error("the certificate that the CA sent cannot be used: {0}")]
    Certificate(String),
    /// Nothing was enrolled here yet.
    #[error("{}: no responder is enrolled here. Get a code by `cardinal responder enrol NAME` at the CA, then run \
             `ocsp-responder enrol`", dir.display())]
    NotEnrolled {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory holds a responder already.
    #[error("{}: a responder is enrolled here already. Say --replace to enrol it anew", dir.display())]
    AlreadyEnrolled {
        /// The data directory.
        dir: PathBuf,
    },
    /// What the arguments say and what the configuration says.
    #[error("{0}")]
    Usage(String),
    /// A file of the responder.
    #[error("{}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the responder that does not hold what it should.
    #[error("{}: {reason}. Enrol this responder again, with --replace", path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A door that cannot be opened.
    #[error("`{key}` = {address}: {source}. Choose another address, or stop what listens there")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration.
    #[error(transparent)]
    Config(Box<config::Error>),
    /// Keys, certificates, their files.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A key, in memory or in a token.
    #[error(transparent)]
    Key(#[from] hsm::Error),
    /// The responder itself.
    #[error(transparent)]
    Responder(#[from] crate::Error),
    /// The replica on disk.
    #[error(transparent)]
    Replica(Box<ReplicaDirError>),
    /// A thread, signal or the like.
    #[error("{0}")]
    System(String),
}

impl NodeError {
    /// The problem that the CA described, if it did.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            NodeError::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether the CA knows this responder and does not want it, or does not know it: trying again soon is of no use.
    pub fn is_refusal(&self) -> bool {
        match self {
            NodeError::Problem(problem) => matches!(problem.status, 401 | 403),
            NodeError::HandshakeRefused { .. } | NodeError::ServerNotTrusted { .. } => true,
            _ => false,
        }
    }

    /// Whether the CA says, over a connection that was verified, that this responder was expelled or its certificate
    /// revoked: it must answer nothing any more. One that expired or is on hold is another matter.
    pub fn is_expulsion(&self) -> bool {
        let names = [responders::EXPELLED, responders::REVOKED];
        self.problem().is_some_and(|problem| problem.status == 401 && names.contains(&problem.name()))
    }

    /// The exit code of a command that ended with it; `ocsp-responder --help` lists them.
    pub fn exit_code(&self) -> u8 {
        use hsm::Error as Token;
        match self {
            NodeError::Usage(_) | NodeError::Config(_) | NodeError::Url { .. } => 2,
            NodeError::Problem(problem) if problem.status == 503 || problem.status == 429 => 4,
            NodeError::Problem(problem) if (400..500).contains(&problem.status) => 3,
            NodeError::NotEnrolled { .. } | NodeError::AlreadyEnrolled { .. } | NodeError::HandshakeRefused { .. } => 3,
            NodeError::Connect { .. } | NodeError::Timeout { .. } | NodeError::Broken { .. } => 4,
            NodeError::Key(
                Token::PinIncorrect { .. }
                | Token::PinRefusedBefore { .. }
                | Token::PinLocked { .. }
                | Token::PinFinalTry { .. }
                | Token::PinCountLow { .. }
                | Token::BothPinsIncorrect { .. },
            ) => 5,
            _ => 1,
        }
    }

    /// For [`Result::map_err`].
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| NodeError::File { path, source }
    }
}

impl From<config::Error> for NodeError {
    fn from(error: config::Error) -> Self {
        NodeError::Config(Box::new(error))
    }
}

impl From<ReplicaDirError> for NodeError {
    fn from(error: ReplicaDirError) -> Self {
        NodeError::Replica(Box::new(error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ended_or_is_on_hold_is_no_expulsion() {
        let is =
            |status, name| NodeError::Problem(Box::new(Problem::new(status, name, "a title", "why"))).is_expulsion();
        assert!(is(401, responders::EXPELLED) && is(401, responders::REVOKED));
        for other in [(401, "client-certificate"), (403, "client-certificate"), (503, responders::EXPELLED), (429, "")]
        {
            assert!(!is(other.0, other.1), "{other:?}");
        }
        let handshake = NodeError::HandshakeRefused { server: "https://ca".into(), alert: "expired".into() };
        assert!(!handshake.is_expulsion() && handshake.is_refusal());
    }
}
