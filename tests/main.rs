//! The one test binary: linking the SDK once is enough.

mod cli;
mod process;
