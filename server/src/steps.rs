//! The steps of issuances, rotations and CRL publications, for whoever watches them: the tests that kill the process between each pair.

/// Is told of each step, on the thread that does it.
pub trait Steps: Send + Sync {
    /// The step of this name is done.
    fn done(&self, step: Step);
}

/// The steps between a certification request and its reply, and those of rotations and CRL publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Decided, nothing written.
    Begun,
    /// Commit 1 is durable.
    Reserved,
    /// Both signatures are made.
    Signed,
    /// Commit 2 is durable.
    Pending,
    /// The confirmation is decided, nothing written.
    Confirming,
    /// The confirmation is durable.
    Confirmed,
    /// A point in a step of a rotation.
    Rotation {
        /// The step's name.
        step: &'static str,
        /// Where in it.
        point: Point,
    },
    /// A step of a CRL publication.
    Crl(CrlStep),
}

/// The steps of a CRL publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrlStep {
    /// Its number is durable.
    Numbered,
    /// All its lists are signed, and durable beside those that they replace.
    Written,
    /// One list has taken its place.
    Swapped,
    /// That it is out is durable.
    Published,
}

/// Where in a step of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// That it is begun is durable; nothing was done yet.
    Begun,
    /// Somewhere in the middle, which the step names itself.
    Within(&'static str),
    /// All is done, and that is not durable yet.
    Worked,
    /// That it is done is durable.
    Done,
}

impl Step {
    /// The step's name; those of rotations are called `rotation.STEP.POINT`, those of CRLs `crl.STEP`.
    pub fn name(self) -> String {
        let name = match self {
            Step::Begun => "begun",
            Step::Reserved => "reserved",
            Step::Signed => "signed",
            Step::Pending => "pending",
            Step::Confirming => "confirming",
            Step::Confirmed => "confirmed",
            Step::Crl(CrlStep::Numbered) => "crl.numbered",
            Step::Crl(CrlStep::Written) => "crl.written",
            Step::Crl(CrlStep::Swapped) => "crl.swapped",
            Step::Crl(CrlStep::Published) => "crl.published",
            Step::Rotation { step, point } => {
                let point = match point {
                    Point::Begun => "begun",
                    Point::Within(name) => name,
                    Point::Worked => "worked",
                    Point::Done => "done",
                };
                return format!("rotation.{step}.{point}");
            }
        };
        name.to_owned()
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Steps for Unwatched {
    fn done(&self, _: Step) {}
}
