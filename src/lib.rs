//! s3xmount mounts S3 buckets that belong to another AWS account as ordinary directories.
//!
//! It assumes an IAM role in, or trusted by, that account, keeps the role session fresh, turns
//! file operations into S3 requests that carry the ACL the bucket owner requires, and remembers
//! what it learns about names for a bounded time.
//!
//! # The shape
//! ```text
//!     people                         the kernel
//!       │                                │
//!   ┌───▼────┐                      ┌────▼───┐
//!   │  cli   │                      │  fuse  │   the only module that knows fuser
//!   └───┬────┘                      └────┬───┘
//!       │        ┌──────────┐            │
//!       └───────►│  daemon  │───builds──►│
//!                └────┬─────┘       ┌────▼───┐
//!                     │             │   fs   │   a whole filesystem, without a kernel
//!                     │             └────┬───┘
//!                     │      ┌───────────┼───────────┐
//!                     │ ┌────▼─────┐ ┌───▼───┐ ┌─────▼───┐
//!                     │ │namespace │ │ read  │ │  write  │   three siblings
//!                     │ └────┬─────┘ └───┬───┘ └─────┬───┘
//!                     │      └───────────┼───────────┘
//!            ┌────────▼────┐        ┌────▼───┐
//!            │ credentials │        │   s3   │   the only module that knows the S3 SDK
//!            └────────┬────┘        └────┬───┘
//!                     └───── AWS ────────┘
//!
//!   base: error, name, budget, task, clock, secret, sys      emulator: stands apart
//! ```
//!
//! Read it as three boundaries. [`fuse`] is where the kernel's vocabulary stops, [`s3`] is where
//! Amazon's stops. Between them everything speaks ours: inodes, places, objects, ranges, commits.
//! A module imports what is below it, never sideways, never up; a test reads the `use` lines and
//! holds the tree to that.
//!
//! # How an operation flows
//! **A read** is answered on the kernel's thread when its bytes have arrived. Otherwise it becomes
//! a task: [`fs`] finds the handle; while somebody writes the file the [`write`](mod@write) session answers,
//! else the [`read`] reader does, with ranged GETs that are pinned to the version seen at open.
//!
//! **A write** is staged on the kernel's thread, so writes apply in order of arrival, and its
//! reply goes out at once; parts that are complete leave for S3 meanwhile. FLUSH commits: `close`
//! returns 0 when the object is in S3, whole, with the ACL, and replaced only the version it was
//! based on.
//!
//! **A lookup** asks pending changes, then the cache, then S3: HEAD of the key and LIST of the
//! prefix together, once for all who ask at the same time.
//!
//! **Credentials** are refreshed in the background before they expire, and published. Each attempt
//! of a request asks for them; an answer that refuses them nudges the refresh and is tried again.
//! Each bucket has an identity; equal ones share one set of credentials, different ones have nothing
//! to do with each other.
//!
//! **A question of the owner** (`status`, `credentials`, `login`) comes over a Unix socket to the front
//! desk of the running mount ([`control`]), which the [`daemon`] answers for.
//!
//! **A refusal** is explained by the [`doctor`], which makes a mount's requests one by one and names the
//! document that lacks a statement; whole documents are made by [`policy`].
//!
//! # What is deliberately absent
//! - a trait over S3, or a type parameter for a client: there is one implementation, and the
//!   emulator tests it through the real SDK;
//! - errno and HTTP status outside the two boundary folders;
//! - a configuration struct passed downward: each component takes its own small `Options`;
//! - global state, and environment reads outside [`config`];
//! - a clock inside a policy: windows, schedules, plans and recovery are functions of their
//!   arguments;
//! - a kernel thread that waits for the network;
//! - a write of an object's content whose precondition was not chosen.

pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod credentials;
pub mod daemon;
pub mod doctor;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod error;
pub mod fs;
pub mod fuse;
pub mod name;
pub mod namespace;
pub mod policy;
pub mod read;
pub mod s3;
pub mod secret;
pub mod sys;
pub mod task;
pub mod write;
