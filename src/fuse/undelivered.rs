//! Answers that nobody is there for any more.
//!
//! Whoever is to end while it waits is told that the operation was interrupted, and the operation goes on to its end. What
//! its answer would have handed to the kernel the kernel does not have then, and will never give back.

use std::future::Future;

use crate::fs::{Described, Filesystem, Found, Listed, Opened, Shown};
use crate::read::ReadBytes;

/// What an operation came to.
pub(super) trait Answer: Send + Sync + 'static {
    /// Takes back what the kernel would have been given with it.
    fn take_back(&self, _: &Filesystem) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl Answer for () {}
impl Answer for u64 {}
impl Answer for Shown {}
impl Answer for ReadBytes {}
impl Answer for Vec<u8> {}
impl Answer for Vec<String> {}
impl Answer for Vec<Listed> {}

/// A lookup.
impl Answer for Found {
    async fn take_back(&self, fs: &Filesystem) {
        if let Self::Present(shown) = self {
            fs.forget(shown.attributes.ino, 1);
        }
    }
}

/// A handle.
impl Answer for Opened {
    async fn take_back(&self, fs: &Filesystem) {
        // Its error is logged by whoever made it.
        fs.release(self.handle).await.unwrap_or_default();
    }
}

/// A lookup and a handle.
impl Answer for (Shown, Opened) {
    async fn take_back(&self, fs: &Filesystem) {
        self.1.take_back(fs).await;
        fs.forget(self.0.attributes.ino, 1);
    }
}

/// A lookup for each entry that shows something.
impl Answer for Vec<Described> {
    async fn take_back(&self, fs: &Filesystem) {
        for shown in self.iter().filter_map(|entry| entry.shown.as_ref()) {
            fs.forget(shown.attributes.ino, 1);
        }
    }
}
