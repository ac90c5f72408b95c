//! What can go wrong, and what to do then.

use std::io;
use std::net::SocketAddr;

use pki::certificate::CertificateError;
use pki::ocsp::{RequestError, ResponseError};

/// Why the service did not start, or a status is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {source}. Choose another port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Keys or certificates that TLS cannot use.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// A certificate that cannot be read, or was not issued by who is said to have issued it.
    #[error("the certificate cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    /// None of the CA certificates that were given issued the certificate.
    #[error("none of the given CA certificates issued it: give that of {issuer}")]
    NotItsIssuer {
        /// The issuer that it names.
        issuer: String,
    },
    /// The certificate does not say where to ask, and nothing is configured.
    #[error("the certificate names no OCSP responder over http; configure its address")]
    NoResponder,
    /// The responder's address is none.
    #[error("{url:?} is no address of an OCSP responder: it must be http://HOST:PORT/PATH (RFC 6960 A.1)")]
    Url {
        /// What was given.
        url: String,
    },
    /// The request cannot be built.
    #[error("the OCSP request cannot be built: {0}")]
    Request(#[from] RequestError),
    /// The responder does not answer.
    #[error("the OCSP responder {url} does not answer: {reason}")]
    Unreachable {
        /// Its address.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The answer must not be relied upon.
    #[error("the OCSP answer of {url} is refused: {source}")]
    Response {
        /// The responder's address.
        url: String,
        /// Why.
        source: ResponseError,
    },
    /// The CRL's address is none.
    #[error(
        "{url:?} is no address of a CRL: it must be http://HOST:PORT/PATH, as in a certificate (RFC 5280 4.2.1.13)"
    )]
    CrlUrl {
        /// What was given.
        url: String,
    },
    /// A CRL cannot be fetched.
    #[error("the CRL {url} cannot be fetched: {reason}")]
    CrlUnreachable {
        /// Its address.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// A file of CA certificates that holds something else.
    #[error("no CA certificates, in PEM or DER: {0}")]
    CaCertificate(String),
    /// The system's random number generator.
    #[error("the system's random number generator failed")]
    Random,
}
