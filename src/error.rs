//! What an operation can come to, in the words of a filesystem.
//!
//! An [`Error`] has a [`Kind`], which says what the caller may do about it and which the
//! kernel's side turns into an errno, and a context, which is for people: operation, bucket,
//! key, S3 code, request id. Errors travel up unlogged and are logged once, where they end.
//! Cloning one is cheap, because a failed write session repeats its error to every caller.

use std::fmt;
use std::sync::Arc;

/// The outcome of an operation that may fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed: one variant for each different thing a caller might do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is nothing of that name.
    NotFound,
    /// There is something of that name already.
    Exists,
    /// The file has no such extended attribute.
    NoAttribute,
    /// A policy, in this account or the other, does not allow it.
    Denied,
    /// A component of the path is a file.
    NotDirectory,
    /// The operation wants a file and met a directory.
    IsDirectory,
    /// The directory still has entries.
    NotEmpty,
    /// Someone else replaced the object since we looked.
    Changed,
    /// Local staging space ran out, or the room that S3 has for an object's metadata.
    NoSpace,
    /// The file would be larger than an S3 object can be.
    TooLarge,
    /// The name is longer than the filesystem or S3 can hold.
    NameTooLong,
    /// The name is one that S3 cannot hold (not UTF-8).
    InvalidName,
    /// The arguments make no sense together.
    InvalidArgument,
    /// There is no byte there, or none of the kind that was asked for.
    NoSuchByte,
    /// The handle is unknown, or was not opened for this.
    BadHandle,
    /// The mount, or this bucket of it, is read-only.
    ReadOnly,
    /// S3 has no such thing.
    NotSupported,
    /// Policy of the filesystem, not of AWS: never allowed on this kind of entry.
    NotPermitted,
    /// The two names live in different buckets.
    CrossDevice,
    /// Another process has it.
    Busy,
    /// The mount is being taken down.
    ShuttingDown,
    /// Anything else: the network, a server fault, a bug.
    Io,
}

/// A failed operation: its [`Kind`], a sentence for people, and the cause below it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: Kind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    told: bool,
    passing: bool,
}

impl Error {
    /// Returns an error of `kind` that reads as `context`.
    pub fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, context: context.into(), source: None, told: false, passing: false }))
    }

    /// Returns an error of `kind` that reads as `context` and was caused by `source`.
    pub fn caused(
        kind: Kind,
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let (context, source) = (context.into(), Some(source.into()));
        Self(Arc::new(Inner { kind, context, source, told: false, passing: false }))
    }

    /// Returns this error with `context` in front of it, as the caller one level up sees it.
    pub fn context(self, context: impl Into<String>) -> Self {
        let (kind, told, passing) = (self.kind(), self.is_told(), self.is_passing());
        Self(Arc::new(Inner { kind, context: context.into(), source: Some(Box::new(self)), told, passing }))
    }

    /// Returns this error as one that people have been told of already, once for many operations that will meet it.
    pub fn told(self) -> Self {
        let (kind, passing) = (self.kind(), self.is_passing());
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Self(Arc::new(Inner { told: true, ..inner })),
            Err(shared) => Self(Arc::new(Inner {
                kind,
                context: "as was said".to_owned(),
                source: Some(Box::new(Self(shared))),
                told: true,
                passing,
            })),
        }
    }

    /// Whether people have been told of it already.
    pub fn is_told(&self) -> bool {
        self.0.told
    }

    /// Returns this error as one of a trouble that passes: the same may succeed some time later.
    pub fn passing(self) -> Self {
        let (kind, told) = (self.kind(), self.is_told());
        let context = self.to_string();
        Self(Arc::new(Inner { kind, context, source: None, told, passing: true }))
    }

    /// Whether the same may succeed some time later, without anybody changing anything: the network was down, S3 was
    /// busy, there were no credentials.
    pub fn is_passing(&self) -> bool {
        self.0.passing
    }

    /// What the caller may do about it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }
}

/// The whole chain of causes in one line, outermost first.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind())
    }
}

/// `source` is part of `Display` already, so it is not offered a second time.
impl std::error::Error for Error {}

/// A local I/O failure; a full disk keeps its meaning, everything else is [`Kind::Io`].
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::NoSpace,
            std::io::ErrorKind::FileTooLarge => Kind::TooLarge,
            _ => Kind::Io,
        };
        Self::caused(kind, "local file", error)
    }
}

/// The words of an error's causes, in one line: what a library adds on the way up says less.
///
/// `Debug` is never used for this: an error of the SDK holds the answer, and the answer may hold
/// keys.
pub fn innermost_words(error: &dyn std::error::Error) -> String {
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(first_line(&error.to_string()));
        cause = error.source();
    }
    words.retain(|words| !SAYS_NOTHING.contains(&words.as_str()));
    if words.is_empty() { first_line(&error.to_string()) } else { words.join(": ") }
}

/// The first line, cut to a readable length. What follows it in the answer to a wrong signature is
/// the canonical request, session token included.
pub fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(QUOTE_CHARS_MAX).collect()
}

const QUOTE_CHARS_MAX: usize = 300;

/// What the HTTP client says above what really happened.
const SAYS_NOTHING: &[&str] = &["io error", "client error (Connect)"];

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Self>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Layer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn of_an_error_of_a_library_what_happened_is_told() {
        let layers =
            ["dispatch failure", "io error", "client error (Connect)", "tcp connect error", "refused\nx"];
        let error = layers.into_iter().rev().fold(None, |cause, words| Some(Box::new(Layer(words, cause))));
        assert_eq!(
            error.map(|error| innermost_words(&*error)).as_deref(),
            Some("tcp connect error: refused")
        );
        assert_eq!(innermost_words(&Layer("alone", None)), "alone");
    }

    #[test]
    fn an_error_reads_outermost_first_and_keeps_its_kind() {
        let error = Error::new(Kind::Denied, "PutObject of a/b").context("closing b");
        assert_eq!(error.kind(), Kind::Denied);
        assert_eq!(error.to_string(), "closing b: PutObject of a/b");
    }

    #[test]
    fn a_full_disk_stays_a_full_disk() {
        let error = Error::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), Kind::NoSpace);
    }
}
