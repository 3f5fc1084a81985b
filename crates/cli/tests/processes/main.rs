//! What many processes, kills and power cuts do to a repository on local disk, seen from outside: the command is run as
//! a process, killed, and traced.

#![cfg(test)]

mod durability;
mod processes;
#[path = "../../../../tests/support/mod.rs"]
mod support;
mod work;
