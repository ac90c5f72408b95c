//! TLS as a client: which servers are trusted, and by which key the client shows who it is.
//!
//! * [`client`]: configurations for rustls, by the roots that are trusted and the certificate that is shown;
//! * [`pinned`]: a server that is known by nothing but the fingerprint of its root, as at an enrolment;
//! * [`files`]: certificates and keys in PEM files, read with care and put in place whole;
//! * [`blame`]: what TLS has to say about a connection that failed.
//!
//! Connections are the business of whoever runs them: nothing here is async, and nothing opens a socket.

pub mod blame;
pub mod client;
mod error;
pub mod files;
pub mod pinned;

pub use error::Error;
pub use pinned::{FINGERPRINT_OCTETS, PinnedRoot};
