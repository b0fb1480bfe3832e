//! s3xmount mounts S3 buckets that belong to another AWS account as ordinary directories.

pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod daemon;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod error;
pub mod fs;
pub mod fuse;
pub mod name;
pub mod namespace;
pub mod read;
pub mod s3;
pub mod sys;
pub mod task;
pub mod write;
