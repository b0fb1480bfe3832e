//! The command `s3xmount`.

use std::process::ExitCode;

fn main() -> ExitCode {
    s3xmount::cli::run(std::env::args_os())
}
