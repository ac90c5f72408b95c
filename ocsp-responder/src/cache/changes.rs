//! Tells whether a status can have changed since an answer was made of it, without looking for the answer.
//!
//! Each certificate shares a number with others, by the end of its serial number; every change of a status raises it,
//! after the change is to be seen and before it is reported as done. An answer carries the number that was read before
//! its status was. If that number is still the same, so is the status: wherever the answer is kept, and under however
//! many spellings, it is out of date at once (conformance: O6). If the number has changed, another certificate may have
//! changed it, and the status itself must be looked at.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pki::SerialNumber;

/// How many numbers there are.
const PARTS: usize = 1 << 14;

/// The numbers.
#[derive(Debug)]
pub(crate) struct Changes {
    parts: Box<[AtomicU32]>,
    /// Raised when everything may have changed.
    all: AtomicU64,
}

/// One whole state, with the issuers that are served and how: it ends when everything may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u64);

/// A state of the numbers that one certificate goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    all: State,
    part: u32,
}

impl Moment {
    /// The number that the certificate shares with others.
    pub(crate) fn part(&self) -> u32 {
        self.part
    }

    /// Whether everything may have changed since `earlier`.
    pub(crate) fn is_of_another_state(&self, earlier: &Moment) -> bool {
        self.all != earlier.all
    }
}

impl Changes {
    pub(crate) fn new() -> Self {
        Changes { parts: (0..PARTS).map(|_| AtomicU32::new(0)).collect(), all: AtomicU64::new(0) }
    }

    /// The state now. What is read after this call is no older than it says.
    pub(crate) fn moment(&self, serial: &SerialNumber) -> Moment {
        self.moment_of(self.state(), serial)
    }

    /// The whole state now. To be asked for before anything is read that belongs to it.
    pub(crate) fn state(&self) -> State {
        State(self.all.load(Ordering::Acquire))
    }

    /// The state now of one certificate's number, within a whole state of before.
    pub(crate) fn moment_of(&self, all: State, serial: &SerialNumber) -> Moment {
        Moment { all, part: self.part(serial).load(Ordering::Acquire) }
    }

    /// To be called after the status of a certificate was changed.
    pub(crate) fn changed(&self, serial: &SerialNumber) {
        self.part(serial).fetch_add(1, Ordering::AcqRel);
    }

    /// To be called after everything was changed.
    pub(crate) fn all_changed(&self) {
        self.all.fetch_add(1, Ordering::AcqRel);
    }

    fn part(&self, serial: &SerialNumber) -> &AtomicU32 {
        let number = match serial.as_bytes() {
            [.., before, last] => usize::from(*before) << 8 | usize::from(*last),
            [only] => usize::from(*only),
            [] => 0,
        };
        &self.parts[number % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(end: [u8; 2]) -> SerialNumber {
        SerialNumber::from_der_content(&[1, end[0], end[1]]).unwrap()
    }

    #[test]
    fn a_change_is_noticed_for_its_certificate_and_not_for_most_others() {
        let changes = Changes::new();
        let (one, other) = (serial([1, 2]), serial([1, 3]));
        let before = (changes.moment(&one), changes.moment(&other));
        changes.changed(&one);
        assert_ne!(changes.moment(&one).part(), before.0.part());
        assert!(!changes.moment(&one).is_of_another_state(&before.0));
        assert_eq!(changes.moment(&other), before.1);
    }

    #[test]
    fn a_change_of_everything_is_noticed_for_all() {
        let changes = Changes::new();
        let before = changes.moment(&serial([1, 2]));
        changes.all_changed();
        assert!(changes.moment(&serial([1, 2])).is_of_another_state(&before));
    }
}
