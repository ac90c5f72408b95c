//! Errors and exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The service or its parts.
    #[error(transparent)]
    Server(#[from] server::Error),
    /// The station or its parts.
    #[error(transparent)]
    Station(#[from] station::Error),
    /// The demo's relying service.
    #[error(transparent)]
    Relying(#[from] relying::Error),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// A file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of profiles that breaks rules.
    #[error("{file} cannot be used; problems: {problems}\n{text}")]
    Profiles {
        /// The file.
        file: String,
        /// How many problems there are.
        problems: usize,
        /// Each, one to a line.
        text: String,
    },
    /// What came of a file.
    #[error("{}: {source}", path.display())]
    OfFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<Error>,
    },
    /// An argument that does not fit the others.
    #[error("{0}")]
    Usage(String),
    /// No service answers at its socket.
    #[error(
        "no service answers at {}: start it with `cardinal serve --config {}`, or name another configuration ({source})",
        socket.display(),
        config.display()
    )]
    NotRunning {
        /// Where it was looked for.
        socket: PathBuf,
        /// The configuration that says so.
        config: PathBuf,
        /// What happened.
        source: station::Error,
    },
    /// A card was refused by a relying service.
    #[error("the relying service refused the card (HTTP {status}): {body}")]
    LoginRefused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        body: String,
    },
    /// A probe found something wrong.
    #[error("{failed} of {checks} checks failed")]
    Probe {
        /// How many failed.
        failed: usize,
        /// How many there were.
        checks: usize,
    },
    /// A step of the demo did not come out as it should.
    #[error("the demo stopped: {0}")]
    Demo(String),
    /// A thread or process could not be started.
    #[error("{0}")]
    System(String),
}

impl Error {
    /// For [`Result::map_err`].
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::File { path, source }
    }

    /// 2: wrong arguments or configuration. 3: refused by a rule, or in this state. 4: not reachable, busy; try again.
    /// 5: a token refused its PIN; do not try again. 1: anything else. The list is in `cardinal --help`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let code = match self {
            Error::OfFile { source, .. } => return source.exit_code(),
            Error::Usage(_) | Error::Config(_) | Error::Profiles { .. } => 2,
            Error::Server(error) if error.is_configuration() => 2,
            Error::Server(error) if error.is_refusal() => 3,
            Error::Server(error) if error.is_refused_pin() => 5,
            Error::NotRunning { .. } => 4,
            Error::Relying(relying::Error::CrlUnreachable { .. } | relying::Error::Unreachable { .. }) => 4,
            Error::Relying(
                relying::Error::CrlUrl { .. }
                | relying::Error::Url { .. }
                | relying::Error::CaCertificate(_)
                | relying::Error::Certificate(_)
                | relying::Error::NotItsIssuer { .. },
            ) => 2,
            Error::LoginRefused { .. } => 3,
            Error::Station(error) => match error.problem() {
                Some(problem) if problem.status == 503 => 4,
                Some(problem) if (400..500).contains(&problem.status) => 3,
                Some(_) => 1,
                None => match error {
                    station::Error::Connect { .. } | station::Error::Timeout { .. } => 4,
                    station::Error::Config(_) => 2,
                    station::Error::HandshakeRefused { .. } => 3,
                    _ => 1,
                },
            },
            _ => 1,
        };
        ExitCode::from(code)
    }
}
