//! What TLS has to say about a connection that failed.

use std::error::Error as StdError;
use std::io;

/// Why TLS failed, and whose fault it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The server ended the handshake by this alert (RFC 8446 6.2): it did not take the client's certificate, mostly.
    Alert(String),
    /// The server's certificate is not trusted, for this reason.
    Server(String),
    /// What the client's own key said about its failure.
    Key(String),
    /// Anything else.
    Other(String),
}

/// The part of an error, or of what caused it, that TLS has to say something about.
pub fn blame(error: &(dyn StdError + 'static)) -> Option<Blame> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inside.and_then(|inside| inside.downcast_ref::<rustls::Error>());
        match tls.or_else(|| error.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => return Some(Blame::Alert(format!("{alert:?}"))),
            Some(error @ (rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)) => {
                return Some(Blame::Server(error.to_string()));
            }
            Some(rustls::Error::General(reason)) => return Some(Blame::Key(reason.clone())),
            Some(error) => return Some(Blame::Other(error.to_string())),
            None => cause = error.source(),
        }
    }
    None
}

/// An error with what caused it, in one line.
pub fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    #[test]
    fn the_fault_is_found_below_what_was_put_around_it() {
        let wrapped = |error: rustls::Error| io::Error::other(error);
        let alert = wrapped(rustls::Error::AlertReceived(AlertDescription::CertificateExpired));
        assert_eq!(blame(&alert), Some(Blame::Alert("CertificateExpired".into())));
        let untrusted = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(matches!(blame(&untrusted), Some(Blame::Server(_))));
        assert!(matches!(blame(&wrapped(untrusted)), Some(Blame::Server(_))));
        assert_eq!(blame(&wrapped(rustls::Error::General("busy".into()))), Some(Blame::Key("busy".into())));
        assert_eq!(blame(&io::Error::other("refused")), None);
    }
}
