//! The doors: listening sockets, and what each lets in.

pub mod admin;
pub mod api;
pub(crate) mod download;
mod keys;
pub mod operations;
pub mod public;
mod responders;
mod rotations;
