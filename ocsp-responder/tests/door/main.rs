//! The door under attack: who waits, who goes, and what each may cost. The clock of these tests passes only when nobody
//! has anything to do.

mod room;
mod street;
mod time;
