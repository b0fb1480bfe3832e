//! s3xmount mounts S3 buckets that belong to another AWS account as ordinary directories.

pub mod budget;
pub mod clock;
pub mod error;
pub mod name;
pub mod namespace;
pub mod s3;
pub mod sys;
pub mod task;
