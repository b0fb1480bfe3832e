//! The one test binary: linking the SDK once is enough.

mod architecture;
mod assume_role;
mod base_identities;
mod blind;
mod cli;
mod doctor;
mod encryption;
mod endpoints;
mod failures;
mod foreign;
mod foreign_changes;
mod foreign_rights;
mod front_desk;
mod lacking_servers;
mod local_changes;
mod looking_ahead;
mod mount;
mod ownership;
mod policies;
mod process;
mod reading_ahead;
mod rights;
mod role_sessions;
mod support;
mod three_rights;
mod xattrs;
