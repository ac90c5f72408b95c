//! A relying service: the demo's, and a worked example for those who integrate a system of their own.
//!
//! It does what every system that takes cards for logins has to do, and nothing else:
//!
//! 1. TLS with a client certificate is demanded; the certificate must lead to the root, through one of the CAs that issue
//!    cards' authentication certificates ([`Options::issuers`]). A station's or a server's certificate leads to the same
//!    root, through another CA, and opens no door here.
//! 2. For each request the certificate's status is asked by OCSP ([`ocsp::check`]), with a nonce, so that no old answer
//!    passes for a new one. A system with more load keeps an answer, but not beyond its nextUpdate.
//! 3. Any doubt means no: an answer that does not come, does not verify, is about another certificate or too old.
//!    Whether the issuing CAs themselves still stand is not asked here: who takes one off the list of issuers closes the
//!    door for all its certificates.
//! 4. Who it is stands in the certificate's subject: serialNumber is the user id, and stays the same when names and cards
//!    change.
//!
//! Beside it, [`probe`] looks at what a CA publishes for such systems.
//!
//! `now` comes from a clock that is passed in; [`system_clock`] is the machine's.

mod clock;
mod error;
mod http;
mod identity;
pub mod ocsp;
pub mod probe;
mod server;
mod trust;

pub use clock::{Clock, system_clock};
pub use error::Error;
pub use identity::self_signed;
pub use server::{Options, RelyingServer};
