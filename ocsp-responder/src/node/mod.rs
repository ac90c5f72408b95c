//! The responder as a process of its own: it follows a CA's feed over the network and answers from what it keeps.
//!
//! * [`replica_dir`]: the replica on disk, from which it starts when the CA is away.

pub mod replica_dir;
