//! The responder, row by row of conformance.md, and asked by real clients.

mod answers;
mod caching;
mod clients;
mod clocks;
mod http;
mod overtaken;
mod spellings;
mod support;
mod time;
