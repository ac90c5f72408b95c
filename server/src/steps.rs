//! The steps of an issuance, for whoever watches them: the tests that kill the process between each pair.

/// Is told of each step, on the thread that does it.
pub trait Steps: Send + Sync {
    /// The step of this name is done.
    fn done(&self, step: Step);
}

/// The steps between a certification request and its reply.
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
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 6] =
        [Step::Begun, Step::Reserved, Step::Signed, Step::Pending, Step::Confirming, Step::Confirmed];

    /// The step's name.
    pub fn name(self) -> &'static str {
        match self {
            Step::Begun => "begun",
            Step::Reserved => "reserved",
            Step::Signed => "signed",
            Step::Pending => "pending",
            Step::Confirming => "confirming",
            Step::Confirmed => "confirmed",
        }
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Steps for Unwatched {
    fn done(&self, _: Step) {}
}
