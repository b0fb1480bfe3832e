//! The command `s3xmount`.

fn main() {}
