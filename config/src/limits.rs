//! How much an outsider can make the service do: sizes, counts, connections.

use crate::document::Document;
use crate::error::Error;

/// One list gives the keys, their meaning, their defaults, their bounds and the checked type.
macro_rules! limits {
    ($($(#[doc = $doc:literal])* $field:ident = $default:literal in $low:literal..=$high:literal,)*) => {
        crate::schema::section! {
            RawLimits { $($field: i64 = $default,)* }
        }

        /// The limits, each within sane bounds.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[doc = $doc])* pub $field: usize,)*
        }

        impl Limits {
            pub(crate) fn check(raw: &RawLimits, document: &Document) -> Result<Self, Error> {
                let limits = Self {
                    $($field: document.number(concat!("limits.", stringify!($field)), raw.$field, $low..=$high)?,)*
                };
                limits.check_rules(document)?;
                Ok(limits)
            }
        }
    };
}

limits! {
    /// Octets in the body of an API request.
    body_bytes = 65_536 in 4_096..=16_777_216,
    /// Octets in the head of an HTTP request.
    header_bytes = 16_384 in 4_096..=1_048_576,
    /// Octets in an OCSP request.
    ocsp_request_bytes = 4_096 in 256..=65_536,
    /// Certificates asked about in one OCSP request.
    ocsp_requests_per_message = 8 in 1..=256,
    /// Answers that the OCSP responder keeps ready.
    ocsp_cache_entries = 100_000 in 0..=10_000_000,
    /// Memory for those answers, in megabytes.
    ocsp_cache_megabytes = 256 in 1..=65_536,
    /// Rows in a page of a list, when the caller asks for no number.
    page_default = 50 in 1..=10_000,
    /// Rows in a page of a list, whatever the caller asks for.
    page_max = 200 in 1..=10_000,
    /// Entries in one answer of the status feed.
    feed_page = 1_000 in 1..=100_000,
    /// Responders that follow the status feed at one time.
    feed_followers = 256 in 1..=10_000,
    /// Responders that fetch a snapshot of all statuses at one time; more are told to come back.
    feed_snapshots = 4 in 1..=1_000,
    /// OCSP signers that one responder is certified in an hour, for each issuing CA.
    responder_signers_per_hour = 300 in 1..=100_000,
    /// Connections open at one time, at each door.
    connections = 1_024 in 1..=1_000_000,
    /// As many of them for one address (for IPv6: one /64); 0 for no limit of this kind.
    connections_per_address = 256 in 0..=1_000_000,
    /// API requests worked on at one time; more are told to come back.
    in_flight = 256 in 1..=100_000,
    /// Enrolment codes that may be open at one time.
    enrolment_codes = 100 in 1..=10_000,
}

impl Limits {
    fn check_rules(&self, document: &Document) -> Result<(), Error> {
        if self.page_default > self.page_max {
            return Err(document.rule_error(
                "limits.page_default",
                format!("`page_default` ({}) is at most `page_max` ({})", self.page_default, self.page_max),
                "lower `page_default` or raise `page_max`",
            ));
        }
        if self.in_flight > self.connections.saturating_mul(100) {
            return Err(document.rule_error(
                "limits.in_flight",
                "requests in flight are at most 100 for each connection",
                "lower `in_flight` or raise `connections`",
            ));
        }
        Ok(())
    }
}
