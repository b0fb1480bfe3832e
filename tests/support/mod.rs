//! The stage for the tests of the whole filesystem: two accounts, two buckets, and mounts of them.
//!
//! A [`World`] is the emulator, behind real sockets and the real SDK. A [`Mount`] is everything
//! that the daemon builds below the kernel, built as it does: alice assumes the role, two gateways,
//! a staging directory, a filesystem. What the kernel would do (walk a path, open, write in
//! pieces, flush, release) its methods do. The buckets are called `a` and `b` here, so
//! that `a/reports/readme.txt` is a path in a mount and an object in the world. [`real`] has the kernel too.
#![cfg(feature = "emulator")]
#![expect(clippy::unwrap_used, reason = "a surprise on the stage is a failure of the test")]

mod files;
mod mount;
mod names;
mod options;
pub(crate) mod real;
mod world;

use std::time::{Duration, Instant};

use s3xmount::error::{Kind, Result};

pub(crate) use self::files::{How, OpenFile};
pub(crate) use self::mount::Mount;
pub(crate) use self::options::Options;
pub(crate) use self::world::{THREE, World};

/// The kind of failure that an operation came to.
pub(crate) fn failure<T>(result: Result<T>) -> Kind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

/// Bytes that differ everywhere, and between fills.
pub(crate) fn pattern(fill: u8, length: usize) -> Vec<u8> {
    let block: Vec<u8> = (0..251).map(|i| i ^ fill).collect();
    let mut bytes = block.repeat(length / block.len() + 1);
    bytes.truncate(length);
    bytes
}

/// Asks again and again until the answer is yes; a minute of no is a failure.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) const MIB: usize = 1 << 20;

/// Whom new files belong to.
pub(crate) const OWNER: (u32, u32) = (1000, 100);
