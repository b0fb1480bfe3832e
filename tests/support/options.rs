//! How a mount may differ from what people have by default.

use std::sync::Arc;
use std::time::Duration;

use s3xmount::credentials;
use s3xmount::read;
use s3xmount::s3::{Server, WriteRules};
use s3xmount::write;

/// What a test may want otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How long answers are believed, present or absent. Long, so that nothing expires by chance.
    pub(crate) lifetime: Duration,
    /// The budget of all buffers.
    pub(crate) memory_bytes: u64,
    /// How long a role session to ask for.
    pub(crate) duration: Duration,
    /// What time credentials are told it is.
    pub(crate) clock: credentials::Clock,
    /// Whether a denial of what worked makes a session suspect.
    pub(crate) suspect_denials: bool,
    /// What of the buckets is shown.
    pub(crate) prefix: &'static str,
    /// Whether changes are refused.
    pub(crate) read_only: bool,
    /// What the mount takes the emulator for.
    pub(crate) server: Server,
    /// Directories that are there whatever S3 says, in each bucket.
    pub(crate) directories: &'static [&'static str],
    /// What written objects carry, made from what they carry by default.
    pub(crate) rules: fn(WriteRules) -> WriteRules,
    /// What keeps on the disk what was read.
    pub(crate) cache: Option<Arc<read::BlockCache>>,
    /// How long changed attributes wait for others. Long, so that nothing is told S3 by chance.
    pub(crate) describe_after: Duration,
    /// Where they are written down, and moves too.
    pub(crate) journal: Option<std::path::PathBuf>,
    /// How files are committed, made from how they are by default.
    pub(crate) writing: fn(write::Options) -> write::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(3600),
            memory_bytes: 64 << 20,
            duration: Duration::from_secs(3600),
            clock: credentials::Clock::default(),
            suspect_denials: true,
            prefix: "",
            read_only: false,
            server: Server::Aws,
            directories: &[],
            rules: |rules| rules,
            cache: None,
            describe_after: Duration::from_secs(3600),
            journal: None,
            writing: |writing| writing,
        }
    }
}
